//! What a worker tells its parent: the events of its server, one JSON line each, on the worker's standard output.

use std::io::Write;

use serde::{Deserialize, Serialize};
use windlass::{Event, EventKind, JobState};

/// One event of a job, as the parent reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) event: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<JobState>,
}

impl Told {
    pub(super) fn is(&self, event: EventKind) -> bool {
        serde_json::to_value(event).is_ok_and(|name| name == *self.event)
    }

    /// Whether the job's life ended with this event.
    pub(super) fn is_end(&self) -> bool {
        self.state.is_some_and(JobState::is_terminal)
    }
}

/// Takes events without blocking the server; a thread of its own writes them. It ends with its last sender.
pub(super) fn writer() -> std::sync::mpsc::Sender<Event> {
    let (sender, events) = std::sync::mpsc::channel::<Event>();
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        for event in events {
            let Ok(mut line) = serde_json::to_vec(&event) else { continue };
            line.push(b'\n');
            // A parent that is gone reads nothing; the end of our standard input says so too.
            if out.write_all(&line).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    });
    sender
}
