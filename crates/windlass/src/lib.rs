//! Background jobs for Rust: one API and one proven set of semantics on several stores.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

extern crate self as windlass;

mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod decide;
mod env;
mod error;
mod job;
mod maintain;
mod server;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

/// Wraps handlers: [`from_fn`](middleware::from_fn) makes a layer of an async function.
pub mod middleware {
    pub use crate::server::router::{FromFn, Next, from_fn};
}

#[doc(hidden)]
pub use self::server::handler::check as __check;
pub use self::{
    client::{Client, ClientBuilder, Enqueue, Job, RawJob, With},
    decide::{
        operate::Action,
        retry::{Jitter, RetryPolicy},
    },
    env::{BoxFuture, Env, Host},
    error::Error,
    job::{
        Cause, Cursor, DEFAULTS, DeadReason, Defaults, ErrorClass, ErrorEntry, Fence, InvalidJob, JobFilter, JobId,
        JobOptions, JobPage, JobRecord, JobSpec, Kind, KindFilter, KindRule, Lease, MAX_NAME_BYTES, Monotonic, NewJob,
        PRIORITIES, Pattern, QueueName, ServerId, Start, State as JobState, Status, TRANSITIONS, Timestamp, Unique,
        UniqueBy, UniqueKey, UniqueMode, Verdict,
    },
    server::{
        Health, RunningServer, Server,
        context::{Extension, FromJob, FromRef, JobContext, State},
        events::{Event, EventKind},
        handler::{Decode, Handler},
        outcome::{BoxError, IntoOutcome, JobError, Json, MarkedError, Outcome, Output, Result, ResultExt},
        router::Router,
        run::StopCause,
        shutdown_signal,
    },
    store::{Committed, Enqueued, StoreError},
};
#[cfg(feature = "macros")]
pub use windlass_macros::{Job, check_handler};
