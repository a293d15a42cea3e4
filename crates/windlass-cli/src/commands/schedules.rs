//! `windlass schedule` on a store: looks at the schedules that it keeps, adds, pauses, runs and removes them.

use clap::Args;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use windlass::{
    Client, Env, JobId, QueueName, RawJob, ScheduleEvent, ScheduleInfo, ScheduleNews, Timestamp,
    store::{ForeignSchedule, ScheduleKey},
};

use super::{
    payload,
    request::{NO_PAYLOAD, Plain},
};
use crate::{
    exit::{Exit, Failure},
    output::{or_dash, table},
    schedule::Rules,
    store::App,
};

#[derive(Args, Debug)]
pub(crate) struct ListFlags {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where a page said `next`
    #[arg(long, value_name = "NEXT", value_parser = cursor)]
    cursor: Option<ScheduleKey>,
    /// The entries of other schedulers instead: on Redis those of Go's Asynq, which change them alone
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    foreign: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AddFlags {
    /// Its name; one that is there already is changed
    name: String,
    /// The kind of the job that each tick enqueues
    #[arg(long)]
    kind: String,
    /// The payload as JSON, @FILE to read one, - for stdin [default: {}]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: Option<String>,
    #[command(flatten)]
    job: Plain,
    #[command(flatten)]
    rules: Rules,
}

#[derive(Args, Debug)]
pub(crate) struct HistoryFlags {
    name: String,
    /// How many events at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where a page said `next`
    #[arg(long, value_name = "NEXT")]
    cursor: Option<u64>,
}

#[derive(Serialize)]
struct Page<'a, T> {
    items: &'a [T],
    next: Option<String>,
}

#[derive(Serialize)]
struct Switched<'a> {
    name: &'a str,
    paused: bool,
}

#[derive(Serialize)]
struct Ran<'a> {
    name: &'a str,
    id: JobId,
}

#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
    removed: bool,
}

/// An entry of another scheduler.
#[derive(Serialize)]
struct Foreign {
    id: String,
    scheduler: String,
    spec: String,
    kind: String,
    queue: Option<String>,
    next: Option<Timestamp>,
    last: Option<Timestamp>,
    origin: &'static str,
}

impl From<ForeignSchedule> for Foreign {
    fn from(entry: ForeignSchedule) -> Self {
        let ForeignSchedule { id, scheduler, spec, kind, queue, next, last, .. } = entry;
        Self { id, scheduler, spec, kind, queue: queue.map(|queue| queue.to_string()), next, last, origin: "asynq" }
    }
}

async fn list_foreign(app: &App, client: &Client) -> anyhow::Result<Exit> {
    let items: Vec<Foreign> = client.foreign_schedules().await?.into_iter().map(Foreign::from).collect();
    app.out.document(&Page { items: &items, next: None }, || {
        let row = |entry: &Foreign| {
            let queue = entry.queue.clone().unwrap_or_else(|| "-".into());
            let (next, last) = (or_dash(entry.next), or_dash(entry.last));
            vec![entry.id.clone(), queue, entry.kind.clone(), entry.spec.clone(), next, last, entry.scheduler.clone()]
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        table(&["ID", "QUEUE", "KIND", "SPEC", "NEXT", "LAST", "SCHEDULER"], &rows)
    })?;
    Ok(Exit::Ok)
}

pub(crate) async fn list(app: &App, flags: ListFlags) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    if flags.foreign {
        return list_foreign(app, &client).await;
    }
    let page = client.schedules(flags.cursor.as_ref(), flags.limit).await?;
    let document = Page { items: &page.items, next: page.next.as_ref().map(text) };
    app.out.document(&document, || {
        let rows: Vec<_> = page.items.iter().map(row).collect();
        let more = document.next.as_ref().map(|next| format!("\nmore: --cursor {next}")).unwrap_or_default();
        table(&["NAME", "QUEUE", "KIND", "SPEC", "ZONE", "NEXT", "LAST", "MISSED", "STATE"], &rows) + &more
    })?;
    Ok(Exit::Ok)
}

fn row(info: &ScheduleInfo) -> Vec<String> {
    let (record, definition) = (&info.record, &info.record.definition);
    let state = match (record.paused, info.orphaned) {
        (true, _) => "paused",
        (false, true) => "orphaned",
        (false, false) if !info.attended => "no worker",
        (false, false) => "ticks",
    };
    let missed: u64 = record.missed.values().sum();
    vec![
        record.name.to_string(),
        record.queue().to_string(),
        definition.job.kind.to_string(),
        definition.spec.to_string(),
        info.zone().to_string(),
        or_dash(info.next),
        or_dash(record.last),
        missed.to_string(),
        state.to_owned(),
    ]
}

pub(crate) async fn add(app: &App, flags: AddFlags) -> anyhow::Result<Exit> {
    let bytes = payload::read(flags.payload.as_deref().unwrap_or(NO_PAYLOAD))?;
    payload::parse(&bytes)?;
    let job = RawJob::new(&*flags.kind, bytes).with(|_| flags.job.options());
    let schedule = flags.rules.schedule(&flags.name, job).map_err(Failure::usage)?;
    // What is refused must not leave an empty store behind.
    Client::open("memory:").await?.add_schedule(schedule.clone()).await?;
    let added = app.existing().await?.add_schedule(schedule).await?;
    for warning in added.record.rule().iter().flat_map(|rule| rule.lint(Env::system().wall())) {
        eprintln!("windlass: warning: {warning}");
    }
    app.out.document(&added, || {
        let name = &added.record.name;
        match added.next {
            _ if added.record.paused => format!("schedule {name} is changed, and paused"),
            Some(next) => format!("schedule {name} ticks next at {next}, by any worker that runs"),
            None => format!("schedule {name} never ticks"),
        }
    })?;
    Ok(Exit::Ok)
}

pub(crate) async fn switch(app: &App, name: &str, paused: bool) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    if paused {
        client.pause_schedule(name).await?;
    } else {
        client.resume_schedule(name).await?;
    }
    app.out.document(&Switched { name, paused }, || {
        format!("schedule {name} {}", if paused { "is paused: its ticks are left out" } else { "ticks" })
    })?;
    Ok(Exit::Ok)
}

pub(crate) async fn run_now(app: &App, name: &str) -> anyhow::Result<Exit> {
    let id = app.existing().await?.run_schedule_now(name).await?;
    let document = Ran { name, id };
    app.out.document(&document, || format!("job {} is enqueued, beside the ticks of {name}", document.id))?;
    Ok(Exit::Ok)
}

pub(crate) async fn remove(app: &App, name: &str) -> anyhow::Result<Exit> {
    app.existing().await?.remove_schedule(name).await?;
    app.out.document(&Removed { name, removed: true }, || {
        format!("schedule {name} is removed; a program or a configuration that declares it brings it back as it starts")
    })?;
    Ok(Exit::Ok)
}

pub(crate) async fn history(app: &App, flags: &HistoryFlags) -> anyhow::Result<Exit> {
    let page = app.existing().await?.schedule_history(&flags.name, flags.cursor, flags.limit).await?;
    let document = Page { items: &page.items, next: page.next.map(|next| next.to_string()) };
    app.out.document(&document, || {
        let rows: Vec<_> = page.items.iter().map(event_row).collect();
        let more = document.next.as_ref().map(|next| format!("\nmore: --cursor {next}")).unwrap_or_default();
        table(&["AT", "EVENT", "TICK", "WHAT"], &rows) + &more
    })?;
    Ok(Exit::Ok)
}

fn event_row(event: &ScheduleEvent) -> Vec<String> {
    let tick = |tick: &Timestamp| tick.to_string();
    let (name, tick, what) = match &event.what {
        ScheduleNews::Declared { origin } => ("declared", String::new(), word(origin)),
        ScheduleNews::Changed { origin } => ("changed", String::new(), word(origin)),
        ScheduleNews::Paused => ("paused", String::new(), String::new()),
        ScheduleNews::Resumed => ("resumed", String::new(), String::new()),
        ScheduleNews::Started { tick: at, job } => ("started", tick(at), job.to_string()),
        ScheduleNews::Buffered { tick: at } => ("buffered", tick(at), String::new()),
        ScheduleNews::Missed { reason, count, exact } => {
            let least = if *exact { "" } else { "at least " };
            ("missed", String::new(), format!("{least}{count}: {}", word(reason)))
        }
        ScheduleNews::RunNow { job } => ("run_now", String::new(), job.to_string()),
        _ => ("unknown", String::new(), String::new()),
    };
    vec![event.at.to_string(), name.to_owned(), tick, what]
}

/// As it stands in documents.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A place in the list as one word: names may hold anything that a shell would read otherwise.
fn text(key: &ScheduleKey) -> String {
    BASE64URL_NOPAD.encode(format!("{}\n{}", key.queue, key.name).as_bytes())
}

fn cursor(text: &str) -> Result<ScheduleKey, String> {
    let wrong = || format!("`{text}` is no place in a list of schedules; take the `next` of a page as it is");
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| wrong())?;
    let names = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (queue, name) = names.split_once('\n').ok_or_else(wrong)?;
    Ok(ScheduleKey::new(QueueName::new(queue).map_err(|error| error.to_string())?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_leads_back_to_its_schedule() {
        let key = ScheduleKey::new(QueueName::new("a b").unwrap(), "x/\"y\" ünd");
        assert_eq!(cursor(&text(&key)), Ok(key));
        assert!(cursor("?").is_err() && cursor("YQ").is_err());
    }
}
