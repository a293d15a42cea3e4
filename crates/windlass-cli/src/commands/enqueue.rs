//! `windlass enqueue`: one job, or a batch of them (`batch.rs`).

use std::time::Duration;

use clap::Args;
use windlass::{Client, JobRecord, Status, Timestamp};

use super::{
    batch, payload,
    request::{Answer, NO_PAYLOAD, Plain, Request, UniqueFor, header},
};
use crate::{
    exit::{Exit, Failure},
    store::App,
    units,
};

const EXAMPLES: &str = "\
Examples:
  windlass enqueue email:send --payload '{\"to\":\"a@example.com\"}' --queue critical
  windlass enqueue report --payload @report.json --process-in 1h --retention 7d
  windlass enqueue sync --unique until_done --unique-by account.id --payload '{\"account\":{\"id\":7}}'
  windlass enqueue ping --wait 30s
  printf '{\"kind\":\"ping\"}\\n{\"kind\":\"ping\",\"process_in\":\"5m\"}\\n' | windlass enqueue --batch -

Durations are whole numbers with a unit: 500ms 10s 5m 1h 2d. Times are RFC 3339 in UTC: 2026-03-01T12:00:00Z.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// The name that chooses the handler, e.g. email:send
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    kind: Option<String>,
    /// The payload as JSON, @FILE to read one, - for stdin [default: {}]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: Option<String>,
    #[command(flatten)]
    plain: Plain,
    /// After this moment it is not started any more
    #[arg(long, value_name = "TIME")]
    deadline: Option<Timestamp>,
    /// Not before this moment
    #[arg(long, value_name = "TIME", conflicts_with = "process_in")]
    process_at: Option<Timestamp>,
    /// Not before this long
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    process_in: Option<Duration>,
    /// Its id, instead of a new one; an id that is there makes this a duplicate
    #[arg(long)]
    id: Option<String>,
    /// A header; repeat it
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Refuse a second one: idempotency:TTL or until_done
    #[arg(long, value_name = "RULE")]
    unique: Option<UniqueFor>,
    /// A field of the payload to be unique by, dots go deeper; repeat it [default: the whole payload]
    #[arg(long, value_name = "FIELD", requires = "unique")]
    unique_by: Vec<String>,
    /// Gather it with others of its group
    #[arg(long)]
    group: Option<String>,
    /// Wait this long for its end and print the finished job
    #[arg(long, value_name = "DURATION", value_parser = units::duration, conflicts_with = "batch")]
    wait: Option<Duration>,
    /// Enqueue a job for each line of JSON: the flags' names with _, e.g. {"kind":"a","max_retry":3}
    #[arg(long, value_name = "FILE|-")]
    batch: Option<String>,
}

/// A job that somebody waits for stays readable at least this long.
const WAITED_RETENTION: Duration = Duration::from_secs(60);

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    if let Some(source) = &flags.batch {
        flags.refuse_job_flags()?;
        return batch::run(app, source).await;
    }
    let wait = flags.wait;
    let mut request = flags.into_request()?;
    if wait.is_some() {
        request.plain.retention = Some(request.plain.retention.unwrap_or_default().max(WAITED_RETENTION));
    }
    // What is refused must not leave an empty store behind.
    let (job, expected) = request.into_job(&windlass::Env::system())?;
    Client::builder().open("memory:").await?.prepare(job.clone())?;
    let client = app.shared().await?;
    let enqueued = client.enqueue(job).await?;
    if let Some(limit) = wait {
        let job = wait_for(&client, enqueued.id(), Some(limit)).await?;
        return super::job::print_ended(app, &job);
    }
    let mut answer = Answer::new(&enqueued, &expected);
    if answer.state.is_none() && !answer.duplicate {
        answer.state = client.get(enqueued.id()).await?.map(|job| job.state);
    }
    app.out.document(&answer, || {
        let state = crate::output::or_dash(answer.state);
        if answer.duplicate {
            format!("{} is there already ({state})", answer.id)
        } else {
            format!("{} {state}", answer.id)
        }
    })?;
    Ok(Exit::Ok)
}

/// Waits for a job's end, up to a limit.
pub(crate) async fn wait_for(
    client: &Client,
    id: &windlass::JobId,
    limit: Option<Duration>,
) -> anyhow::Result<JobRecord> {
    let over = async {
        match limit {
            Some(limit) => client.env().sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        job = super::follow::to_its_end(client, id) => Ok(job?),
        () = over => {
            let limit = units::show(limit.unwrap_or_default());
            let failure = Failure::timeout(format!("job `{id}` has not ended within {limit}"));
            Err(failure.help(format!("it goes on; `windlass job wait {id}` waits again")).into())
        }
    }
}

/// Whether the job's end is a failure.
pub(crate) fn exit_of(job: &JobRecord) -> Exit {
    if job.state.status() == Status::Completed { Exit::Ok } else { Exit::Failed }
}

impl Flags {
    /// With --batch, everything about a job stands in its line.
    fn refuse_job_flags(&self) -> Result<(), Failure> {
        let given = self.payload.is_some()
            || self.deadline.is_some()
            || self.process_at.is_some()
            || self.process_in.is_some()
            || self.id.is_some()
            || self.unique.is_some()
            || self.group.is_some()
            || self.plain != Plain::default()
            || !self.headers.is_empty();
        let refusal = || Failure::usage("with --batch, what is said of a job stands in its line, not in flags");
        if given { Err(refusal()) } else { Ok(()) }
    }

    fn into_request(self) -> anyhow::Result<Request> {
        Ok(Request {
            kind: self.kind.unwrap_or_default(),
            payload: payload::read(self.payload.as_deref().unwrap_or(NO_PAYLOAD))?,
            plain: self.plain,
            deadline: self.deadline,
            process_at: self.process_at,
            process_in: self.process_in,
            id: self.id,
            headers: self.headers,
            unique: self.unique,
            unique_by: self.unique_by,
            group: self.group,
        })
    }
}
