//! What is looked at when a store is opened, and by `doctor`: refuses what cannot work, advises on what may lose jobs.
//! `health.rs` goes on with the tables.

use std::time::Duration;

use tokio_postgres::Row;

use super::{
    Shared, health,
    link::{Link, sql},
    rows,
};
use crate::store::{Check, Level, Result, StoreError};

/// The oldest server that has all that the functions use.
const OLDEST: i32 = 130_000;

/// What to do about a server that only reads.
pub(super) const NAME_THE_PRIMARY: &str = "name the primary in the URL, or all hosts: a copy takes no jobs";

pub(super) async fn checkup(store: &Shared) -> Result<Vec<Check>> {
    let mut checks = at_open(&store.link).await?;
    checks.extend(health::look(store).await?);
    Ok(checks)
}

/// What is looked at before anything else.
pub(super) async fn at_open(link: &Link) -> Result<Vec<Check>> {
    let row = link.row(sql!("checkup"), &[]).await?;
    if is_above_read_committed(rows::get(&row, "isolation")?) {
        link.say_level();
    }
    checks(&row)
}

/// The CPU time of the server's processes. None: it does not say, or not to this user.
pub(super) async fn cpu(store: &Shared) -> Result<Option<Duration>> {
    let row = store.link.row("SELECT windlass.server_cpu() AS micros", &[]).await?;
    let micros: Option<i64> = rows::get(&row, "micros")?;
    Ok(micros.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros))
}

/// Refuses a server that cannot hold a store. A standby may become the primary, so that is no refusal for ever.
pub(super) fn refuse(checks: &[Check]) -> Result<()> {
    let Some(check) = checks.iter().find(|check| check.level == Level::Fail) else { return Ok(()) };
    let said = format!("{}; {}", check.found, check.advice.as_deref().unwrap_or_default());
    Err(if check.name == "role" { StoreError::Unavailable(said) } else { StoreError::Unsupported(said) })
}

fn checks(row: &Row) -> Result<Vec<Check>> {
    let setting = |name| rows::get::<&str>(row, name);
    Ok(vec![
        version(setting("version")?, rows::get(row, "number")?),
        role(rows::get(row, "standby")?),
        encoding(setting("encoding")?),
        isolation(setting("isolation")?),
        durability(setting("synchronous_commit")?, setting("fsync")?, setting("full_page_writes")?),
    ])
}

fn version(version: &str, number: i32) -> Check {
    let found = format!("PostgreSQL {version}, windlass {}", env!("CARGO_PKG_VERSION"));
    if number < OLDEST {
        return Check::fail("version", found, "use PostgreSQL 13 or newer");
    }
    Check::ok("version", found)
}

fn role(standby: bool) -> Check {
    if standby { Check::fail("role", "a standby", NAME_THE_PRIMARY) } else { Check::ok("role", "a primary") }
}

fn encoding(encoding: &str) -> Check {
    if encoding == "UTF8" {
        return Check::ok("encoding", "UTF8");
    }
    let found = format!("the database is in {encoding}");
    Check::fail("encoding", found, "use one in UTF8: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0")
}

fn is_above_read_committed(default: &str) -> bool {
    !matches!(default, "read committed" | "read uncommitted")
}

fn isolation(default: &str) -> Check {
    let found = format!("default_transaction_isolation is {default}");
    if is_above_read_committed(default) {
        return Check::ok("isolation", format!("{found}; our calls ask for READ COMMITTED, which costs them a little"));
    }
    Check::ok("isolation", found)
}

fn durability(synchronous_commit: &str, fsync: &str, full_page_writes: &str) -> Check {
    if fsync == "off" {
        let advice = "a power cut may destroy the database: set fsync = on, unless it is for tests";
        Check::warn("durability", "fsync is off", advice)
    } else if full_page_writes == "off" {
        let advice =
            "a power cut may destroy pages: set full_page_writes = on, unless the file system writes them whole";
        Check::warn("durability", "full_page_writes is off", advice)
    } else if synchronous_commit == "off" {
        let advice = "jobs of the last moments are lost when the server crashes: set synchronous_commit = on for them";
        Check::warn("durability", "synchronous_commit is off", advice)
    } else {
        Check::ok("durability", format!("synchronous_commit is {synchronous_commit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lose_jobs_is_advised_on() {
        assert_eq!(durability("on", "on", "on").level, Level::Ok);
        for (synchronous_commit, fsync, full_page_writes) in
            [("off", "on", "on"), ("on", "off", "on"), ("on", "on", "off")]
        {
            assert_eq!(durability(synchronous_commit, fsync, full_page_writes).level, Level::Warn);
        }
    }

    #[test]
    fn a_server_before_13_and_a_database_not_in_utf8_are_refused_and_a_standby_is_for_now() {
        assert!(refuse(&[version("13.0", 130_000), role(false), encoding("UTF8")]).is_ok());
        let old = refuse(&[version("12.22", 120_022)]);
        assert!(
            matches!(&old, Err(StoreError::Unsupported(text)) if text.contains("PostgreSQL 13 or newer")),
            "{old:?}"
        );
        for other in ["SQL_ASCII", "LATIN1"] {
            let refused = refuse(&[encoding(other)]);
            assert!(matches!(&refused, Err(StoreError::Unsupported(text)) if text.contains(other)), "{refused:?}");
        }
        let standby = refuse(&[role(true)]);
        assert!(matches!(&standby, Err(StoreError::Unavailable(text)) if text.contains("primary")), "{standby:?}");
    }
}
