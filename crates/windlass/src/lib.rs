//! Background jobs for Rust: a job is in a store before `enqueue` returns, runs at least once whatever process dies
//! meanwhile, and of all its runs one outcome counts.
//!
//! ```
//! use windlass::{Client, Job, Router, Server};
//!
//! #[derive(serde::Serialize, serde::Deserialize, Job)]
//! #[job(kind = "email:send", max_retry = 5, retention = "1h")]
//! struct SendEmail {
//!     to: String,
//! }
//!
//! async fn send_email(mail: SendEmail) -> windlass::Result {
//!     println!("mail to {}", mail.to); // an error would be recorded, and the job tried again with backoff
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let client = Client::open("memory:").await?; // or sqlite:jobs.db, with the feature `sqlite`
//!     let server = Server::new(&client, Router::new().job(send_email)).start().await?;
//!     let queued = client.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
//!     let job = client.wait(queued.id()).await?;
//!     assert_eq!(job.state, windlass::JobState::Completed);
//!     server.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # Where to find what
//!
//! | to | see |
//! | --- | --- |
//! | define a job | [`Job`], its derive, [`JobOptions`], [`UniqueBy`], [`RawJob`] |
//! | enqueue, wait, look, operate | [`Client`] |
//! | write handlers | [`Router`], [`JobContext`], [`State`], [`Extension`], [`Json`], [`ResultExt`] |
//! | run jobs | [`Server`], [`RunningServer`], [`RetryPolicy`] |
//! | work in this process alone | [`WorkerPool`], [`JobQueue`], [`retry`], [`periodic`], [`Cron`] |
//! | know when a recurring rule is due | [`ScheduleSpec`], [`DueRules`], [`TickId`], [`tz_version`] |
//! | look at a store's health | [`Client::checkup`], [`Monitor`] |
//! | know all defaults | [`DEFAULTS`] |
//! | know the life of a job | [`JobState`], [`TRANSITIONS`], [`DeadReason`] |
//! | write a store | [`store`] and the feature `conformance` |
//!
//! # Guarantees
//!
//! After `enqueue` has returned `Ok`, the job ends completed, dead, cancelled or deleted by an operator, at the store's
//! level of durability ([`store::Backend::durability`]). A handler can run again after a crash; only the holder of the
//! newest lease can finish the job. A killed worker's jobs run elsewhere within 15 seconds at the default settings. A
//! crash is counted apart from failures and burns no attempt.
//!
//! # Features
//!
//! | feature | brings |
//! | --- | --- |
//! | `macros` (default) | `#[derive(Job)]`, `#[check_handler]` |
//! | `tower` | layers of the tower ecosystem around handlers: `middleware::tower` |
//! | `msgpack` | payloads as MessagePack: `codec::MsgPack` |
//! | `sqlite` | `sqlite:` stores, and jobs in rusqlite transactions |
//! | `redis` | `redis://` stores, shared with Go's Asynq |
//! | `postgres` | `postgres://` stores, and jobs in tokio-postgres transactions |
//! | `sqlx-0_9`, `sqlx-0_8` | jobs in sqlx's transactions on Postgres, of version 0.9 (Rust 1.94) or 0.8 |
//! | `sqlx-sqlite-0_9` | jobs in sqlx 0.9's transactions on SQLite |
//! | `testing` | time that tests move, the simulated host, faults |
//! | `conformance` | the suite that every store must pass; exempt from semver, as are the traits in [`store`] |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

extern crate self as windlass;

mod checkup;
mod client;
pub mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod cron;
pub mod decide;
mod env;
mod error;
#[cfg(doctest)]
mod guide;
mod job;
mod job_queue;
mod lock;
mod maintain;
mod periodic;
pub mod pool;
mod retry;
mod server;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

/// Wraps handlers: [`from_fn`](middleware::from_fn) makes a layer of an async function.
///
/// A middleware sees every run of the handlers that were added before it, may give them extensions
/// ([`JobContext::insert`]), and may change or replace their outcome.
pub mod middleware {
    pub use crate::server::router::{Layer, Next, from_fn};
    #[cfg(feature = "tower")]
    pub use crate::server::tower::{Call, HandlerError, Handlers, Tower, tower};
}

#[doc(hidden)]
pub use self::server::handler::check as __check;
pub use self::{
    client::{Client, ClientBuilder, Enqueue, Job, RawJob, Returns, Update, Updates, With},
    cron::{Cron, RunningCron},
    decide::{
        breaker::{Breaker, BreakerInfo, BreakerState},
        budget::RetryBudget,
        group::GroupRules,
        operate::Action,
        retry::{Jitter, RetryPolicy},
        schedule::{
            Flavor, Fold, Gap, ScheduleSpec, SpecError, SpecWarning,
            due::{CatchUp, DueRules},
            overlap::Overlap,
            tick::TickId,
            tz_version,
        },
    },
    env::{Blocking, BoxFuture, Env, Host, Work},
    error::{Error, FailedJob},
    job::{
        Cause, Cursor, DEFAULTS, DeadReason, Defaults, ErrorClass, ErrorEntry, Fence, GroupInfo, GroupKey, GroupMember,
        InvalidJob, JobFilter, JobId, JobOptions, JobPage, JobRecord, JobSpec, Kind, KindFilter, KindRule, Lease, Line,
        LockName, LogLine, MAX_MEMBERS, MAX_NAME_BYTES, Monotonic, NewJob, News, PRIORITIES, Pattern, Progress,
        QueueName, ServerId, Start, State as JobState, Status, TRANSITIONS, Timestamp, Unique, UniqueBy, UniqueKey,
        UniqueMode, Verdict,
    },
    job_queue::{JobQueue, JobQueueBuilder, QueueError},
    lock::{Leader, Lock, LockGuard, LockOptions},
    periodic::{Periodic, Ticker, periodic},
    pool::WorkerPool,
    retry::{GaveUp, Retry, RetryError, retry},
    server::{
        Health, Monitor, RunningServer, Server,
        context::{Extension, FromJob, FromRef, JobContext, State},
        events::{Event, EventKind},
        group::Group,
        handler::{BlockingHandler, Decode, Handler},
        outcome::{BoxError, IntoOutcome, JobError, Json, MarkedError, Outcome, Output, Result, ResultExt},
        router::Router,
        run::StopCause,
        shutdown_signal,
        steps::{Each, Steps},
    },
    store::{Committed, Enqueued, StoreError},
};
#[cfg(feature = "macros")]
pub use windlass_macros::{Job, check_handler};
