//! windlass

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod decide;
mod env;
mod error;
mod job;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::{
    decide::{
        operate::Action,
        retry::{Jitter, RetryPolicy},
    },
    env::{BoxFuture, Env, Host},
    error::Error,
    job::{
        Cause, Cursor, DEFAULTS, DeadReason, Defaults, ErrorClass, ErrorEntry, Fence, InvalidJob, JobFilter, JobId,
        JobOptions, JobPage, JobRecord, JobSpec, Kind, KindFilter, KindRule, Lease, MAX_NAME_BYTES, Monotonic, NewJob,
        PRIORITIES, Pattern, QueueName, ServerId, Start, State, Status, TRANSITIONS, Timestamp, Unique, UniqueBy,
        UniqueKey, UniqueMode, Verdict,
    },
    store::{Enqueued, StoreError},
};
