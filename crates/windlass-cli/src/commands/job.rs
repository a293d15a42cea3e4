//! `windlass job`: looks at jobs and operates them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use windlass::{Client, Cursor, JobFilter, JobId, JobRecord, JobState, Kind, QueueName, Start, Status, Timestamp};

use super::{enqueue, payload};
use crate::{
    exit::Exit,
    output::{List, or_dash, pairs, table},
    store::App,
    units,
};

const EXAMPLES: &str = "\
Examples:
  windlass job list --state dead --kind email:send
  windlass job inspect 0192f0c1-2f3a-7abc-8def-0123456789ab
  windlass job redrive 0192f0c1-2f3a-7abc-8def-0123456789ab
  windlass job wait invoice-42 --timeout 30s";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List jobs, oldest first, a page at a time
    List(ListFlags),
    /// Show all that is known of a job
    Inspect { id: JobId },
    /// End a job; a running one is told to stop
    Cancel {
        id: JobId,
        /// Shown as the job's reason
        #[arg(long, default_value = "cancelled by an operator")]
        reason: String,
    },
    /// Send a dead or cancelled job back in line, with all its attempts
    Redrive { id: JobId },
    /// Make a waiting job dead
    Bury { id: JobId },
    /// Remove a job that does not run
    Delete { id: JobId },
    /// Put a scheduled or retrying job in line now
    Run { id: JobId },
    /// Give a job another payload, or another time
    Edit(EditFlags),
    /// Wait until a job has ended, and print it
    Wait {
        id: JobId,
        /// Give up after this long (exit 7) [default: never]
        #[arg(long, value_name = "DURATION", value_parser = units::duration)]
        timeout: Option<Duration>,
    },
}

#[derive(Args, Debug)]
struct ListFlags {
    /// Only in this state; repeat it, or separate with commas
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', conflicts_with = "status")]
    states: Vec<JobState>,
    /// Only with this status: pending, running, completed or failed
    #[arg(long)]
    status: Option<Status>,
    #[arg(long)]
    kind: Option<String>,
    #[arg(long)]
    queue: Option<String>,
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    tag: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where a page said `next`
    #[arg(long, value_name = "NEXT", allow_negative_numbers = true)]
    cursor: Option<i64>,
}

#[derive(Args, Debug)]
struct EditFlags {
    id: JobId,
    /// The new payload
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true, required_unless_present_any = ["process_at", "process_in"])]
    payload: Option<String>,
    /// Not before this moment
    #[arg(long, value_name = "TIME", conflicts_with = "process_in")]
    process_at: Option<Timestamp>,
    /// Not before this long
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    process_in: Option<Duration>,
}

/// What an action did.
#[derive(Serialize)]
struct Done<'a> {
    id: &'a JobId,
    /// The state that the job is in now; none: it has been removed.
    state: Option<JobState>,
    removed: bool,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    let (id, state) = match flags.action {
        Action::List(flags) => return list(app, &client, flags).await,
        Action::Inspect { id } => {
            let job = client.inspect(&id).await?;
            print(app, &job)?;
            return Ok(Exit::Ok);
        }
        Action::Wait { id, timeout } => return print_ended(app, &enqueue::wait_for(&client, &id, timeout).await?),
        Action::Cancel { id, reason } => (id.clone(), Some(client.cancel(&id, reason).await?)),
        Action::Redrive { id } => (id.clone(), Some(client.redrive(&id).await?)),
        Action::Bury { id } => (id.clone(), Some(client.bury(&id).await?)),
        Action::Run { id } => (id.clone(), Some(client.run_now(&id).await?)),
        Action::Edit(flags) => (flags.id.clone(), Some(edit(&client, flags).await?)),
        Action::Delete { id } => {
            client.delete(&id).await?;
            (id, None)
        }
    };
    let done = Done { id: &id, state, removed: state.is_none() };
    app.out.document(&done, || match state {
        Some(JobState::Running) => format!("{id} is running and has been told to stop"),
        Some(state) => format!("{id} is {state}"),
        None => format!("{id} has been removed"),
    })?;
    Ok(Exit::Ok)
}

async fn edit(client: &Client, flags: EditFlags) -> anyhow::Result<JobState> {
    let payload = flags.payload.as_deref().map(payload::read).transpose()?;
    if let Some(payload) = &payload {
        payload::parse(payload)?;
    }
    let start = flags.process_at.map(Start::At).or(flags.process_in.map(Start::In));
    // What can be refused in more states comes first.
    let mut state = JobState::Pending;
    if let Some(start) = start {
        state = client.reschedule(&flags.id, start).await?;
    }
    if let Some(payload) = payload {
        state = client.edit(&flags.id, payload).await?;
    }
    Ok(state)
}

/// How many pages of the store are looked at for one page of an answer.
const PAGES: usize = 100;

async fn list(app: &App, client: &Client, flags: ListFlags) -> anyhow::Result<Exit> {
    let limit = flags.limit as usize;
    let mut cursor = flags.cursor.map(Cursor);
    let filter = filter(flags)?;
    let mut items: Vec<JobRecord> = Vec::new();
    // A store looks at a bounded number of jobs a page, so a rare one may need several.
    for _ in 0..PAGES {
        let page = client.list(&filter, cursor, (limit - items.len()) as u32).await?;
        items.extend(page.items);
        cursor = page.next;
        if cursor.is_none() || items.len() >= limit {
            break;
        }
    }
    app.out.document(&List { items: &items, next: cursor }, || {
        let more = cursor.map(|next| format!("\nmore: --cursor {}", next.0));
        let row = |job: &JobRecord| {
            let due = job.run_at.or(job.completed_at);
            let text = [job.id().to_string(), job.spec.kind.to_string(), job.spec.queue.to_string()];
            let facts = [job.state.to_string(), job.attempt.to_string(), job.created_at.to_string(), or_dash(due)];
            text.into_iter().chain(facts).collect()
        };
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        let headings = ["ID", "KIND", "QUEUE", "STATE", "ATTEMPT", "CREATED", "DUE OR ENDED"];
        table(&headings, &rows) + &more.unwrap_or_default()
    })?;
    Ok(Exit::Ok)
}

fn filter(flags: ListFlags) -> anyhow::Result<JobFilter> {
    let mut filter = JobFilter::default();
    if let Some(status) = flags.status {
        filter = filter.status(status);
    }
    filter.states.extend(flags.states);
    filter.kind = flags.kind.map(Kind::new).transpose()?;
    filter.queue = flags.queue.map(QueueName::new).transpose()?;
    filter.tenant = flags.tenant;
    filter.tag = flags.tag;
    Ok(filter)
}

/// Prints a job that has ended; a failed one makes the command fail.
pub(crate) fn print_ended(app: &App, job: &JobRecord) -> anyhow::Result<Exit> {
    print(app, job)?;
    Ok(enqueue::exit_of(job))
}

fn print(app: &App, job: &JobRecord) -> anyhow::Result<()> {
    app.out.document(job, || words(job))
}

/// A job for people.
fn words(job: &JobRecord) -> String {
    let spec = &job.spec;
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    let mut lines = vec![
        ("id", spec.id.to_string()),
        ("kind", spec.kind.to_string()),
        ("queue", spec.queue.to_string()),
        ("state", job.state.to_string()),
        ("attempt", format!("{} (at most {} retries)", job.attempt, spec.max_retry)),
        ("payload", shown(&spec.payload)),
        ("priority", spec.priority.to_string()),
        ("timeout", units::show(spec.timeout)),
        ("retention", units::show(spec.retention)),
        ("created", job.created_at.to_string()),
    ];
    let headers: Vec<String> = spec.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let optional = [
        ("reason", job.reason.as_ref().map(ToString::to_string)),
        ("asked to end", job.cancel_requested.as_ref().map(ToString::to_string)),
        ("tenant", spec.tenant.as_ref().map(ToString::to_string)),
        ("tags", (!spec.tags.is_empty()).then(|| spec.tags.join(", "))),
        ("headers", (!headers.is_empty()).then(|| headers.join(", "))),
        ("unique key", spec.unique.map(|unique| unique.key.to_string())),
        ("group", spec.group.as_ref().map(ToString::to_string)),
        ("exclusive", spec.exclusive.as_ref().map(ToString::to_string)),
        ("waits for", job.waits_for.as_ref().map(ToString::to_string)),
        ("went into", job.flushed_into.as_ref().map(ToString::to_string)),
        ("deadline", spec.deadline.map(|at| at.to_string())),
        ("failures", (job.failures > 0).then(|| job.failures.to_string())),
        ("crashes", (job.crashes > 0).then(|| job.crashes.to_string())),
        ("snoozes", (job.snoozes > 0).then(|| job.snoozes.to_string())),
        ("due", job.run_at.map(|at| at.to_string())),
        ("started", job.started_at.map(|at| at.to_string())),
        ("ended", job.completed_at.map(|at| at.to_string())),
        ("lease until", job.lease_until.map(|at| at.to_string())),
        ("server", job.server.map(|server| server.to_string())),
        ("progress", job.progress.as_ref().map(|now| format!("{:.0} % {}", now.fraction * 100.0, now.message))),
        ("checkpoint", job.checkpoint.as_deref().map(shown)),
        ("result", job.result.as_deref().map(shown)),
    ];
    lines.extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
    let error = |error: &windlass::ErrorEntry| {
        let class = serde_json::to_string(&error.class).unwrap_or_default();
        ("error", format!("{} attempt {} {}: {}", error.at, error.attempt, class.trim_matches('"'), error.message))
    };
    lines.extend(job.errors.iter().map(error));
    let said = |line: &windlass::LogLine| ("log", format!("{} attempt {}: {}", line.at, line.attempt, line.line));
    lines.extend(job.log.iter().map(said));
    pairs(&lines)
}
