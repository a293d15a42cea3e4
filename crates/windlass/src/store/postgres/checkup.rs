//! What is looked at when a store is opened, and by `doctor`: refuses what cannot work, advises on what may lose jobs.

use std::time::Duration;

use tokio_postgres::Row;

use super::{Shared, link::sql, rows};
use crate::store::{Check, Level, Result, StoreError};

/// The oldest server that has all that the functions use.
const OLDEST: i32 = 130_000;

pub(super) async fn checkup(store: &Shared) -> Result<Vec<Check>> {
    checks(&store.link.row(sql!("checkup"), &[]).await?)
}

/// The CPU time of the server's processes. None: it does not say, or not to this user.
pub(super) async fn cpu(store: &Shared) -> Result<Option<Duration>> {
    let row = store.link.row("SELECT windlass.server_cpu() AS micros", &[]).await?;
    let micros: Option<i64> = rows::get(&row, "micros")?;
    Ok(micros.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros))
}

/// Refuses a server that cannot hold a store.
pub(super) fn refuse(checks: &[Check]) -> Result<()> {
    match checks.iter().find(|check| check.level == Level::Fail) {
        None => Ok(()),
        Some(check) => {
            let advice = check.advice.as_deref().unwrap_or_default();
            Err(StoreError::Unsupported(format!("{}; {advice}", check.found)))
        }
    }
}

fn checks(row: &Row) -> Result<Vec<Check>> {
    let (version, number): (&str, i32) = (rows::get(row, "version")?, rows::get(row, "number")?);
    let server = if number < OLDEST {
        Check::fail("version", format!("PostgreSQL {version}"), "use PostgreSQL 13 or newer")
    } else if rows::get(row, "standby")? {
        let found = format!("PostgreSQL {version}, a standby");
        Check::fail("version", found, "name the primary in the URL: a copy takes no jobs")
    } else {
        Check::ok("version", format!("PostgreSQL {version}"))
    };
    let encoding: &str = rows::get(row, "encoding")?;
    let encoding = if encoding == "UTF8" {
        Check::ok("encoding", "UTF8")
    } else {
        Check::fail("encoding", format!("the database is in {encoding}"), "use a database in UTF8")
    };
    Ok(vec![server, encoding, durability(rows::get(row, "synchronous_commit")?, rows::get(row, "fsync")?)])
}

fn durability(synchronous_commit: &str, fsync: &str) -> Check {
    if fsync == "off" {
        let advice = "a power cut may destroy the database: set fsync = on, unless it is for tests";
        Check::warn("durability", "fsync is off", advice)
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
        assert_eq!(durability("on", "on").level, Level::Ok);
        assert_eq!(durability("off", "on").level, Level::Warn);
        assert_eq!(durability("on", "off").level, Level::Warn);
    }
}
