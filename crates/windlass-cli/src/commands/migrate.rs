//! `windlass migrate`: the tables of a store, apart from opening it: looked at, made, brought up to date, taken away, or
//! only printed, for those who let somebody else run the SQL.

use clap::{Args, ValueEnum};
use serde::Serialize;
use windlass::{
    Error,
    store::{Held, Migration, Schema, SchemaStatus},
};

use crate::{
    exit::{Exit, Failure},
    output::{pairs, write},
    store::{App, not_opened},
};

const EXAMPLES: &str = "\
Examples:
  windlass migrate status
  windlass migrate up --dry-run
  windlass migrate up --sql > windlass.sql     psql -v ON_ERROR_STOP=1 -f windlass.sql
  windlass migrate down --yes                  takes the tables back by a version, with what is in them

A store migrates by itself when it is opened, unless its URL says migrate=off (Postgres).";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// What to do; with --dry-run or --sql: up, unless another is said
    #[arg(value_enum)]
    action: Option<Action>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the SQL, as one transaction, and do nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,
    /// down: to this version, 0 to take everything away [default: one back]
    #[arg(long, value_name = "VERSION")]
    to: Option<i64>,
    /// down: also while jobs are there or servers work; they are lost
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Make the tables, or bring them up to date
    Up,
    /// Take them back to an earlier version
    Down,
    /// Which version is there, and which this program would make
    Status,
}

/// What was done, or would be.
#[derive(Serialize)]
struct Document<'a> {
    place: &'a str,
    from: i64,
    to: i64,
    /// The steps up to it; none on the way back.
    steps: &'a [Migration],
    dry_run: bool,
    /// What the way back takes with it.
    lost: Option<Held>,
}

#[derive(Serialize)]
struct Text {
    sql: String,
}

pub(crate) async fn run(app: &App, flags: &Flags) -> anyhow::Result<Exit> {
    let action = action(flags)?;
    let url = app.shared_url()?;
    let schema = Schema::look(url).await.map_err(|error| not_opened(url, &Error::Store(error)))?;
    match action {
        Action::Status => status(app, schema.status()),
        Action::Up => up(app, &schema, flags).await,
        Action::Down => down(app, &schema, flags).await,
    }
}

fn action(flags: &Flags) -> Result<Action, Failure> {
    let up = (flags.sql || flags.dry_run).then_some(Action::Up);
    let none = || Failure::usage("say what to do: `windlass migrate up`, `down` or `status`");
    let action = flags.action.or(up).ok_or_else(none)?;
    if action != Action::Down && (flags.yes || flags.to.is_some()) {
        return Err(Failure::usage("--to and --yes are for `windlass migrate down`"));
    }
    if action == Action::Status && (flags.sql || flags.dry_run) {
        return Err(Failure::usage("`windlass migrate status` does nothing; --sql and --dry-run are for up and down"));
    }
    Ok(action)
}

fn status(app: &App, status: &SchemaStatus) -> anyhow::Result<Exit> {
    app.out.document(status, || words(status))?;
    Ok(if status.min_compatible > status.known { Exit::Corrupt } else { Exit::Ok })
}

fn words(status: &SchemaStatus) -> String {
    let SchemaStatus { version, min_compatible, known, .. } = status;
    let there = if *version == 0 { "none: there is no store".into() } else { version.to_string() };
    let pending: Vec<String> = status.pending.iter().map(|step| format!("{} ({})", step.version, step.name)).collect();
    let next = if min_compatible > known {
        "upgrade this program: it cannot work on this store"
    } else if !pending.is_empty() {
        "windlass migrate up"
    } else if version > known {
        "nothing; a newer program shares the store, so upgrade this one, too"
    } else {
        "nothing"
    };
    pairs(&[
        ("store", status.place.clone()),
        ("version", there),
        ("oldest program that can go on", min_compatible.to_string()),
        ("version of this program", known.to_string()),
        ("pending", if pending.is_empty() { "none".into() } else { pending.join(", ") }),
        ("to do", next.into()),
    ])
}

async fn up(app: &App, schema: &Schema, flags: &Flags) -> anyhow::Result<Exit> {
    let status = schema.status();
    // Of a newer program there is nothing to bring up.
    let to = status.known.max(status.version);
    if flags.sql {
        return text(app, schema.sql(to, false)?);
    }
    // It says as well whether there is a way.
    schema.sql(to, false)?;
    if !flags.dry_run {
        schema.migrate(to, false).await?;
    }
    let (place, steps) = (&*status.place, &*status.pending);
    let document = Document { place, from: status.version, to, steps, dry_run: flags.dry_run, lost: None };
    app.out.document(&document, || {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        match (names.is_empty(), flags.dry_run) {
            (true, _) => format!("{place} is up to date, at version {to}"),
            (false, true) => {
                format!("would bring {place} from version {} to {to}: {}", status.version, names.join(", "))
            }
            (false, false) => format!("{place} is at version {to} now: {}", names.join(", ")),
        }
    })?;
    Ok(Exit::Ok)
}

async fn down(app: &App, schema: &Schema, flags: &Flags) -> anyhow::Result<Exit> {
    let status = schema.status();
    let to = flags.to.unwrap_or((status.version - 1).max(0));
    if to > status.version {
        return Err(Failure::usage(format!("version {to} is not below {}", status.version)).into());
    }
    let sql = schema.sql(to, flags.yes)?;
    if flags.sql {
        return text(app, sql);
    }
    let held = schema.held().await?;
    if !flags.dry_run {
        if (held.jobs > 0 || held.servers > 0) && !flags.yes {
            return Err(refused(&held, to).into());
        }
        schema.migrate(to, flags.yes).await?;
    }
    let place = &*status.place;
    let document = Document { place, from: status.version, to, steps: &[], dry_run: flags.dry_run, lost: Some(held) };
    app.out.document(&document, || {
        let lost = if to == 0 { format!("; with it go {}", lost(&held)) } else { String::new() };
        match (to == status.version, flags.dry_run) {
            (true, _) => format!("nothing to do: {place} is at version {to}"),
            (false, true) => format!("would take {place} from version {} back to {to}{lost}", status.version),
            (false, false) => format!("{place} is back at version {to}{lost}"),
        }
    })?;
    Ok(Exit::Ok)
}

fn lost(held: &Held) -> String {
    format!("{} jobs (those that have ended among them) and all statistics", held.jobs)
}

fn refused(held: &Held, to: i64) -> Failure {
    let message = if held.servers > 0 {
        format!("{} servers work on this store, which holds {} jobs; nothing was changed", held.servers, held.jobs)
    } else {
        format!("this store holds {} jobs; nothing was changed", held.jobs)
    };
    let loses = if to == 0 { "loses all of it" } else { "may lose what the earlier version has no place for" };
    Failure::new(Exit::Conflict, "conflict", message).help(format!(
        "shut the servers down; --yes goes back all the same, and {loses}; --dry-run says what would be done"
    ))
}

fn text(app: &App, sql: String) -> anyhow::Result<Exit> {
    if app.out.json {
        app.out.document(&Text { sql }, String::new)?;
    } else {
        write(sql.trim_end())?;
    }
    Ok(Exit::Ok)
}
