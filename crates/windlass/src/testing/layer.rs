//! A store around another store: what a [`Layer`] does not change goes through as it is.
//! For faults, recordings and mutants; each overrides the few calls that it is about.

use std::{any::Any, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    decide::operate::Action,
    job::{
        Cursor, Fence, GroupKey, GroupMember, JobFilter, JobId, JobPage, JobRecord, KindFilter, Lease, LockName,
        NewJob, Pattern, QueueName, ServerId, Timestamp,
    },
    store::{
        Backend, CancelLog, Census, Check, Claim, ClaimRequest, Cluster, Enqueued, ExtendRequest, Finish, Finished,
        Flush, Flushed, ForeignSchedule, GroupPage, Groups, Hold, Inspect, LockPage, LockReply, LockRequest, Locks,
        Operate, Operated, PromoteRules, Promoted, Prune, Pruned, Report, Reported, RescueRules, Rescued, Result,
        ScheduleChange, ScheduleChanged, ScheduleKey, ScheduleLine, Schedules, ServerInfo, Store, StoredSchedules,
        Tallies, WakeUps,
    },
};

macro_rules! layer {
    (@stores Store { $(fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $answer:ty;)* } $($rest:tt)*) => {
        #[async_trait]
        impl<L: Layer> Store for Layered<L> {
            $(async fn $name(&self $(, $arg: $type)*) -> Result<$answer> {
                self.0.$name($($arg),*).await
            })*

            fn wakeups(&self) -> WakeUps {
                self.0.wakeups()
            }
        }
        layer!(@stores $($rest)*);
    };
    (@stores $trait:ident { $(fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $answer:ty;)* } $($rest:tt)*) => {
        #[async_trait]
        impl<L: Layer> $trait for Layered<L> {
            $(async fn $name(&self $(, $arg: $type)*) -> Result<$answer> {
                self.0.$name($($arg),*).await
            })*
        }
        layer!(@stores $($rest)*);
    };
    (@stores) => {};
    ($($trait:ident { $(fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $answer:ty;)* })*) => {
        /// A part of a store's calls, done otherwise. Wrapped in [`Layered`] it is a store.
        #[allow(missing_docs, reason = "the store traits document each call")]
        #[async_trait]
        pub trait Layer: Send + Sync + 'static {
            /// The store beneath.
            fn inner(&self) -> &dyn Backend;

            fn wakeups(&self) -> WakeUps {
                self.inner().wakeups()
            }

            $($(
                async fn $name(&self $(, $arg: $type)*) -> Result<$answer> {
                    self.inner().$name($($arg),*).await
                }
            )*)*
        }

        layer!(@stores $($trait { $(fn $name(&self $(, $arg: $type)*) -> $answer;)* })*);
    };
}

layer! {
    Store {
    fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Enqueued>;
    fn claim(&self, request: &ClaimRequest) -> Claim;
    fn extend(&self, request: &ExtendRequest) -> Vec<Lease>;
    fn finish(&self, batch: Vec<Finish>) -> Vec<Finished>;
    fn report(&self, reports: Vec<Report>) -> Vec<Reported>;
    fn promote(&self, rules: &PromoteRules) -> Promoted;
    fn rescue(&self, rules: &RescueRules) -> Rescued;
    fn cancelled(&self, after: Option<u64>) -> CancelLog;
    }
    Inspect {
    fn get(&self, id: &JobId) -> Option<JobRecord>;
    fn list(&self, filter: &JobFilter, after: Option<Cursor>, limit: u32) -> JobPage;
    fn census(&self) -> Census;
    fn outstanding(&self, queues: &[QueueName], kinds: &KindFilter, groups: &[Pattern]) -> u64;
    fn tallies(&self, since: Timestamp) -> Tallies;
    fn servers(&self) -> Vec<ServerInfo>;
    fn checkup(&self) -> Vec<Check>;
    fn cpu(&self) -> Option<Duration>;
    }
    Operate {
    fn operate(&self, id: &JobId, action: &Action) -> Operated;
    fn pause(&self, queue: &QueueName, paused: bool) -> bool;
    fn prune(&self, what: &Prune, limit: u32) -> Pruned;
    }
    Groups {
    fn groups(&self, queue: Option<QueueName>, after: Option<GroupKey>, limit: u32) -> GroupPage;
    fn members(&self, group: &GroupKey, limit: u32) -> Vec<GroupMember>;
    fn flush(&self, flush: &Flush) -> Flushed;
    fn ask_flush(&self, group: &GroupKey) -> bool;
    fn delete_members(&self, group: &GroupKey, limit: u32) -> u32;
    }
    Locks {
    fn acquire_lock(&self, request: &LockRequest) -> LockReply;
    fn extend_lock(&self, hold: &Hold, ttl: Duration) -> bool;
    fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> bool;
    fn locks(&self, after: Option<LockName>, limit: u32) -> LockPage;
    fn break_lock(&self, name: &LockName) -> u32;
    }
    Schedules {
    fn change_schedule(&self, change: &ScheduleChange) -> ScheduleChanged;
    fn schedules(&self, after: Option<ScheduleKey>, limit: u32) -> StoredSchedules;
    fn schedules_named(&self, name: &str) -> StoredSchedules;
    fn schedule_history(&self, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Vec<ScheduleLine>;
    fn foreign_schedules(&self) -> Vec<ForeignSchedule>;
    }
    Cluster {
    fn beat(&self, server: &ServerInfo) -> ();
    fn leave(&self, server: ServerId) -> ();
    fn sweep_unknown(&self, after: Duration, limit: u32) -> u32;
    }
}

/// A [`Layer`] as a store.
///
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use windlass::{
///     JobId, JobRecord, StoreError,
///     store::{Backend, memory::MemoryStore},
///     testing::{Layer, Layered, ManualClock},
/// };
///
/// /// A store that cannot show a job.
/// struct Blind(Arc<dyn Backend>);
///
/// #[async_trait]
/// impl Layer for Blind {
///     fn inner(&self) -> &dyn Backend {
///         &*self.0
///     }
///     async fn get(&self, _: &JobId) -> Result<Option<JobRecord>, StoreError> {
///         Err(StoreError::Unavailable("blind".into()))
///     }
/// }
///
/// let store = Layered(Blind(Arc::new(MemoryStore::new(ManualClock::new().env()))));
/// assert_eq!(store.name(), "memory");
/// ```
#[derive(Debug)]
pub struct Layered<L>(pub L);

impl<L: Layer> Backend for Layered<L> {
    fn name(&self) -> &'static str {
        self.0.inner().name()
    }

    fn durability(&self) -> String {
        self.0.inner().durability()
    }

    fn as_any(&self) -> &dyn Any {
        self.0.inner().as_any()
    }

    fn place(&self) -> String {
        self.0.inner().place()
    }
}
