//! What is looked at when a store is opened: refuses what cannot work, advises on what may lose jobs.

use std::time::Duration;

use tracing::warn;

use super::{Shared, lease, reply};
use crate::store::{
    Check, Level, Result,
    redis::checkup::{checks, refuse},
};

pub(in super::super) async fn check(store: &Shared) -> Result<()> {
    let found = checkup(store).await?;
    refuse(&found)?;
    for check in found.iter().filter(|check| check.level > Level::Ok) {
        warn!(check = check.name, "{}; {}", check.found, check.advice.as_deref().unwrap_or_default());
    }
    lease::pulse(store, Duration::ZERO, false).await.map(drop)
}

pub(in super::super) async fn checkup(store: &Shared) -> Result<Vec<Check>> {
    Ok(checks(&reply::text(store.link.run(&redis::cmd("INFO")).await?)?))
}
