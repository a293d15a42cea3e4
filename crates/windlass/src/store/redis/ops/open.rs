//! What is looked at when a store is opened: refuses what cannot work, advises on what may lose jobs.

use std::time::Duration;

use tracing::warn;

use super::{Shared, lease, reply};
use crate::store::{
    Check, Level, Result, StoreError,
    redis::checkup::{self, checks, refuse},
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
    let mut found = checks(&reply::text(store.link.run(&redis::cmd("INFO")).await?)?);
    found.push(hints(store).await?);
    Ok(found)
}

/// Whether the user may publish under the prefix, tried where nobody listens. Scripts publish what is a hint, and do not
/// fail for it.
async fn hints(store: &Shared) -> Result<Check> {
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(format!("{}wake", store.store_key())).arg("");
    match store.link.run(&publish).await {
        Ok(_) => Ok(checkup::hints(true)),
        Err(StoreError::Invalid(_)) => Ok(checkup::hints(false)),
        Err(error) => Err(error),
    }
}
