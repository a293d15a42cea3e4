//! Plain data: what a job is, what happened to it, and what a caller may ask for. No logic beyond checks of input,
//! no clock, no store.

mod filter;
mod group;
pub(crate) mod id;
mod news;
mod options;
mod outcome;
mod pattern;
mod record;
mod state;
mod time;
mod unique;

use thiserror::Error;

pub(crate) use self::time::micros;
pub use self::{
    filter::{Cursor, JobFilter, JobPage},
    group::{GroupInfo, GroupKey, GroupMember, MAX_MEMBERS},
    id::{JobId, Kind, LockName, MAX_NAME_BYTES, QueueName, ServerId},
    news::{Line, LogLine, News, Progress},
    options::{DEFAULTS, Defaults, JobOptions, PRIORITIES, UniqueBy},
    outcome::{DeadReason, ErrorClass, ErrorEntry, Verdict},
    pattern::{KindFilter, KindRule, Pattern},
    record::{Fence, JobRecord, JobSpec, Lease, NewJob, Start, Unique, UniqueKey, UniqueMode},
    state::{Cause, State, Status, TRANSITIONS},
    time::{Monotonic, Timestamp},
};

/// A value that a job may not have. Refused at enqueue, before anything is stored.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidJob {
    /// A name is empty, too long or holds a character that it may not hold.
    #[error("the {field} {problem}")]
    #[allow(missing_docs)]
    Name { field: &'static str, problem: &'static str },
    /// The priority is out of range.
    #[error("the priority {0} is out of range; it goes from -100 to 100, higher first")]
    Priority(i32),
    /// The payload is over the client's limit.
    #[error(
        "the payload has {bytes} bytes and the limit is {limit}; store the data elsewhere and enqueue a reference to it, or raise the client's limit"
    )]
    #[allow(missing_docs)]
    PayloadTooLarge { bytes: usize, limit: usize },
    /// The payload does not serialize.
    #[error("the payload does not serialize: {0}")]
    Payload(String),
    /// The value that the job is unique by does not serialize.
    #[error("the unique key does not serialize: {0}")]
    UniqueKey(String),
    /// A timeout of zero would end every attempt before it starts.
    #[error("the timeout is zero; leave it out for the default of 30 minutes")]
    Timeout,
    /// A job cannot both wait in a group and be exclusive.
    #[error("a job of a group cannot be exclusive; make the job that its group becomes exclusive instead")]
    ExclusiveInGroup,
    /// More tags or headers than a job may have.
    #[error("a job has at most {0} tags and {0} headers")]
    TooManyExtras(usize),
    /// A header's value is too long.
    #[error("the value of header `{name}` is longer than {limit} bytes")]
    #[allow(missing_docs)]
    HeaderTooLarge { name: String, limit: usize },
}
