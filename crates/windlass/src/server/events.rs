//! What happens to the jobs of a server, told to whoever listens: metrics, logs, tests.

use std::sync::Arc;

use serde::{Serialize, ser::SerializeMap};

use crate::{
    job::{Fence, JobId, ServerId, State, Timestamp},
    store::Claimed,
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EventKind {
    /// This server took the job.
    Claimed,
    /// Its handler was called.
    Started,
    /// Its outcome was accepted by the store.
    Finished,
    /// This server lost the lease; the outcome was dropped, or will be.
    Stale,
    /// This server found the job's lease lapsed and put it back in line (or buried it).
    Rescued,
    /// This server gave the job back unrun, or unfinished at shutdown.
    Released,
    /// The job's run failed, and with it the breaker of its kind opened in this server.
    #[serde(rename = "breaker_opened")]
    BreakerOpened,
    /// The job was a trial and ended well: the breaker of its kind closed in this server.
    #[serde(rename = "breaker_closed")]
    BreakerClosed,
}

/// One event of one job. Serializes as a line of `windlass work --events`.
///
/// ```
/// use windlass::{EventKind, Server};
/// # fn example(server: Server) -> Server {
/// server.on_event(|event| {
///     if event.event == EventKind::Finished {
///         println!("{} {} is {:?}", event.kind, event.id, event.state);
///     }
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Event {
    pub at: Timestamp,
    pub event: EventKind,
    pub id: JobId,
    pub kind: Arc<str>,
    pub queue: Arc<str>,
    pub attempt: u32,
    pub fence: Fence,
    pub server: ServerId,
    /// Where the job is now, when it was finished, rescued or released.
    pub state: Option<State>,
}

impl Event {
    pub(crate) fn of(at: Timestamp, event: EventKind, job: &Claimed, server: ServerId, state: Option<State>) -> Self {
        Self {
            at,
            event,
            id: job.spec.id.clone(),
            kind: job.spec.kind.shared(),
            queue: job.spec.queue.shared(),
            attempt: job.attempt,
            fence: job.fence,
            server,
            state,
        }
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &self.at)?;
        map.serialize_entry("event", &self.event)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("kind", &*self.kind)?;
        map.serialize_entry("queue", &*self.queue)?;
        map.serialize_entry("attempt", &self.attempt)?;
        map.serialize_entry("fence", &self.fence)?;
        map.serialize_entry("server", &self.server)?;
        if let Some(state) = self.state {
            map.serialize_entry("state", &state)?;
        }
        map.end()
    }
}
