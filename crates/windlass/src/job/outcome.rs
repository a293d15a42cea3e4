//! How a run ended, and what follows from it.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DEFAULTS, Timestamp};

/// What a finished run does to its job. Decided by [`decide::verdict`](crate::decide), applied by the store.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// The job ended well.
    Complete,
    /// The attempt failed; the job runs again after this long.
    RetryIn(Duration),
    /// Put off by this long; no attempt is burned.
    Snooze(Duration),
    /// Given back unrun, to the front of the line; nothing is burned.
    Release,
    /// The job is dead.
    Bury(DeadReason),
    /// The job is cancelled, with the reason that was given.
    Cancel(Arc<str>),
}

/// Why a job is dead.
///
/// ```
/// assert_eq!(windlass::DeadReason::Exhausted.as_str(), "exhausted"); // as it stands in a record's `reason`
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadReason {
    /// Its last attempt failed.
    Exhausted,
    /// It took its process down too often.
    Poison,
    /// No live server has handled its kind for a day.
    UnknownKind,
    /// Its payload is not what its handler reads.
    Undecodable,
    /// Its deadline passed.
    Deadline,
    /// A handler or an operator said that it will never work.
    Buried,
}

impl DeadReason {
    /// The name, as it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            DeadReason::Exhausted => "exhausted",
            DeadReason::Poison => "poison",
            DeadReason::UnknownKind => "unknown_kind",
            DeadReason::Undecodable => "undecodable",
            DeadReason::Deadline => "deadline",
            DeadReason::Buried => "buried",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of error an attempt met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// The handler returned an error.
    Error,
    /// The handler panicked.
    Panic,
    /// The attempt ran longer than its timeout.
    Timeout,
    /// The job's deadline passed.
    Deadline,
    /// The process that ran it vanished.
    Crash,
    /// The payload is not what the handler reads.
    Undecodable,
    /// The handler or an operator buried it.
    Buried,
    /// It was cancelled.
    Cancelled,
    /// No server handles its kind.
    UnknownKind,
}

/// One line of a job's error history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// What kind of error.
    pub class: ErrorClass,
    /// The whole source chain, joined by `: `; at most 8 KiB, without NUL characters.
    pub message: String,
}

impl ErrorEntry {
    /// An entry whose message is cut to 8 KiB and rid of NUL characters, which some stores refuse.
    pub fn new(at: Timestamp, attempt: u32, class: ErrorClass, message: impl Into<String>) -> Self {
        Self { at, attempt, class, message: clean(message.into()) }
    }

    /// Adds `entry` to a history that keeps the newest ten.
    pub fn push(history: &mut Vec<ErrorEntry>, entry: ErrorEntry) {
        if history.len() >= DEFAULTS.errors_kept {
            history.drain(..=history.len() - DEFAULTS.errors_kept);
        }
        history.push(entry);
    }
}

/// The text without NUL characters and cut to the limit of an error message.
pub(crate) fn clean(text: String) -> String {
    cut(text, DEFAULTS.error_bytes)
}

/// The text without NUL characters, which some stores refuse, and with at most `limit` bytes.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > limit {
        let end = (0..=limit - 3).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(attempt: u32) -> ErrorEntry {
        ErrorEntry::new(Timestamp::default(), attempt, ErrorClass::Error, "x")
    }

    #[test]
    fn the_history_keeps_the_newest_ten() {
        let mut history = Vec::new();
        (1..=25).for_each(|attempt| ErrorEntry::push(&mut history, entry(attempt)));
        let attempts: Vec<_> = history.iter().map(|entry| entry.attempt).collect();
        assert_eq!(attempts, (16..=25).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_a_nul_is_replaced() {
        let message = clean("é\0".repeat(9000));
        assert!(message.len() <= DEFAULTS.error_bytes);
        assert!(message.ends_with('…') && !message.contains('\0'));
    }
}
