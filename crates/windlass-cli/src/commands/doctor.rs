//! `windlass doctor`: looks at the store and at those who work on it, and says what to do. Repairs nothing.

use clap::Args;
use serde::Serialize;
use windlass::store::{Check, Level};

use crate::{
    exit::{Exit, Failure},
    store::App,
};

const CHECKS: &str = "\
Checks:
  reachable  the store answers              servers  somebody works on what waits
  writable   it takes a write               queues   no paused queue has jobs in line
  clock      this host's and the store's    handled  every job that waits has a live server for its kind
  ledger     what came in is there or gone  groups   no group stays as it is
  and of the store itself, on SQLite: version, wal, disk, durability, integrity;
  on Redis: version, role, cluster, eviction, memory, durability, hints;
  on Postgres: version, role, encoding, durability, schema, connections, autovacuum, vacuum, horizon,
  indexes, fold, counters

Exit codes:
  0 no check failed (a warning is no failure)   1 a check failed";

#[derive(Args, Debug)]
#[command(after_help = CHECKS)]
pub(crate) struct Flags {}

#[derive(Serialize)]
struct Document {
    checks: Vec<Check>,
}

pub(crate) async fn run(app: &App, _: Flags) -> anyhow::Result<Exit> {
    let checks = match app.existing().await {
        Ok(client) => client.checkup().await,
        Err(error) => vec![not_opened(error)?],
    };
    let failed = checks.iter().any(|check| check.level == Level::Fail);
    let document = Document { checks };
    app.out.document(&document, || words(&document.checks))?;
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

/// A store that cannot be opened is what a doctor is asked about; a URL that makes no sense is not.
fn not_opened(error: anyhow::Error) -> anyhow::Result<Check> {
    let failure = Failure::of(&error);
    match failure.exit {
        Exit::Unavailable | Exit::Corrupt => {
            Ok(Check::fail("reachable", failure.message, failure.help.unwrap_or_default()))
        }
        _ => Err(error),
    }
}

fn words(checks: &[Check]) -> String {
    let level = |level| match level {
        Level::Ok => "ok",
        Level::Warn => "WARN",
        _ => "FAIL",
    };
    let lines = checks.iter().map(|check| {
        let advice = check.advice.as_ref().map(|advice| format!("                  -> {advice}\n"));
        format!("{:<4}  {:<10}  {}\n{}", level(check.level), check.name, check.found, advice.unwrap_or_default())
    });
    lines.collect()
}
