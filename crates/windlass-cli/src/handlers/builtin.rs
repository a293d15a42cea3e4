//! Handlers that need no program: for trying things out, for tests and for measuring.

use std::time::Duration;

use serde::Deserialize;
use windlass::{Decode, JobContext, JobError, Router};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Builtin {
    /// Ends well at once.
    Noop,
    /// Ends well after the payload's `ms`, or 100 ms.
    Sleep,
    /// Fails.
    Fail,
    /// Panics.
    Panic,
    /// Takes the whole process down.
    Abort,
}

/// A job whose payload nobody reads.
pub(crate) struct Unread;

impl Decode for Unread {
    fn decode(_: &JobContext) -> Result<Self, JobError> {
        Ok(Unread)
    }
}

/// Adds a builtin under a pattern.
pub(crate) fn add(router: Router, pattern: &str, builtin: Builtin) -> Router {
    match builtin {
        Builtin::Noop => router.at(pattern, noop),
        Builtin::Sleep => router.at(pattern, sleep),
        Builtin::Fail => router.at(pattern, fail),
        Builtin::Panic => router.at(pattern, panic),
        Builtin::Abort => router.at(pattern, abort),
    }
}

pub(crate) async fn noop(_: Unread) -> windlass::Result {
    Ok(())
}

/// Read leniently: a payload without `ms` is fine.
#[derive(Deserialize)]
struct Nap {
    #[serde(default = "default_nap")]
    ms: u64,
}

fn default_nap() -> u64 {
    100
}

async fn sleep(_: Unread, ctx: JobContext) -> windlass::Result {
    let payload = ctx.payload();
    let is_object = payload.trim_ascii_start().starts_with(b"{");
    let ms = if is_object {
        serde_json::from_slice::<Nap>(payload).map_err(|error| JobError::undecodable(&error))?.ms
    } else {
        default_nap()
    };
    tokio::select! {
        biased;
        () = ctx.client().env().sleep(Duration::from_millis(ms)) => Ok(()),
        cause = ctx.cancelled() => Err(format!("woken up: {cause:?}").into()),
    }
}

async fn fail(_: Unread) -> windlass::Result {
    Err("the builtin handler `fail` always fails".into())
}

async fn panic(_: Unread) -> windlass::Result {
    panic!("the builtin handler `panic` always panics")
}

async fn abort(_: Unread) -> windlass::Result {
    std::process::abort()
}
