//! What is looked at when a store is opened: refuses what cannot work, advises on what may lose jobs.

use std::time::Duration;

use tracing::warn;

use super::{Shared, checkup, lease, reply};
use crate::store::{Result, StoreError, redis::link::field};

/// The oldest version whose commands the scripts use.
const OLDEST: (u32, u32) = (6, 2);

pub(in super::super) async fn check(store: &Shared) -> Result<()> {
    let info = reply::text(store.link.run(&redis::cmd("INFO")).await?)?;
    refuse_old(&info)?;
    if field(&info, "role") == Some("slave") {
        return Err(StoreError::Unsupported("this Redis is a replica; give the address of its primary".into()));
    }
    for check in checkup::look(&info) {
        if let Some(advice) = check.advice {
            warn!(advice = %advice, "this Redis: {}", check.found);
        }
    }
    lease::pulse(store, Duration::ZERO, false).await.map(drop)
}

fn refuse_old(info: &str) -> Result<()> {
    let version = field(info, "redis_version").unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let version_numbers = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version_numbers < OLDEST {
        return Err(StoreError::Unsupported(format!("this Redis is {version}; windlass needs 6.2 or newer")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        assert!(refuse_old("redis_version:6.0.16\r\n").is_err());
        assert!(refuse_old("# Server\r\nredis_version:7.0.15\r\nrole:master\r\n").is_ok());
        assert!(refuse_old("").is_err());
    }
}
