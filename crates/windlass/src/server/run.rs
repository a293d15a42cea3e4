//! One claimed job on its way through a server: what was claimed, whether and why it is told to stop, and what its
//! handler leaves behind.

use std::{
    any::{Any, TypeId},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::{blocking::Seat, reporter::Desk, said::Said};
use crate::{
    client::Client,
    error::Error,
    job::{Monotonic, NewJob, News, micros},
    store::{Claimed, Report},
};

/// Why a run is told to stop.
///
/// ```
/// use windlass::{JobContext, RawJob, StopCause};
/// async fn wait(_: RawJob, ctx: JobContext) -> windlass::Result {
///     match ctx.cancelled().await {
///         StopCause::Cancelled(reason) => println!("cancelled: {reason}"),
///         other => println!("stopped: {other:?}"),
///     }
///     Ok(())
/// }
/// # let _: windlass::Router = windlass::Router::new().at("wait", wait);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// Somebody asked for the job to be cancelled.
    Cancelled(Arc<str>),
    /// It ran longer than its timeout.
    Timeout,
    /// Its deadline passed.
    Deadline,
    /// Another run of the job counts now; this one's outcome is dropped.
    LeaseLost,
    /// The server shuts down and its time is up.
    Shutdown,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Claimed, and waits for a slot.
    Queued = 0,
    /// In its handler.
    Started = 1,
    /// Its handler is done or was never called; the report is on its way.
    Ended = 2,
    /// Its handler ignored its end; the report was made without it.
    Leaked = 3,
}

pub(crate) struct Run {
    pub(crate) claimed: Claimed,
    pub(crate) client: Client,
    /// The rule under which it was claimed, whose room it takes.
    pub(crate) rule: Option<usize>,
    /// The thread of a blocking handler, from before its start to the end of the run.
    seat: Mutex<Option<Arc<Seat>>>,
    pub(crate) timeout: Duration,
    pub(crate) claimed_at: Monotonic,
    phase: AtomicU8,
    started_at: AtomicI64,
    /// When its timeout or its deadline is over.
    ends_at: AtomicI64,
    stop: Mutex<Stop>,
    stopping: AtomicBool,
    /// When a handler that goes on is leaked; i64::MAX while it may run.
    leaked_at: AtomicI64,
    committed: AtomicBool,
    settled: AtomicBool,
    left: Mutex<Left>,
    pub(crate) shared: Arc<Extensions>,
    /// Where the reporter hears that there is something to report.
    pub(crate) desk: Arc<Desk>,
}

#[derive(Default)]
struct Stop {
    cause: Option<StopCause>,
    token: Option<CancellationToken>,
}

/// What the handler leaves for the finish.
#[derive(Default)]
pub(crate) struct Left {
    pub(crate) then: Vec<NewJob>,
    pub(crate) result: Option<Bytes>,
    pub(crate) own: Option<Extensions>,
    /// What the run has said, if it has said anything.
    said: Option<Box<Said>>,
    /// It has ended and says nothing more. Kept here, so that a run that never says anything costs nothing.
    silent: bool,
}

/// Values by their type.
#[derive(Clone, Default)]
pub(crate) struct Extensions(FxHashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Extensions {
    pub(crate) fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// Those of `other`, too; ours go before them.
    pub(crate) fn merge(&mut self, other: Extensions) {
        for (of_type, value) in other.0 {
            self.0.entry(of_type).or_insert(value);
        }
    }

    pub(crate) fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }
}

impl Run {
    pub(crate) fn new(
        claimed: Claimed,
        client: Client,
        rule: Option<usize>,
        timeout: Duration,
        claimed_at: Monotonic,
        shared: Arc<Extensions>,
        desk: Arc<Desk>,
    ) -> Self {
        Self {
            claimed,
            client,
            rule,
            seat: Mutex::default(),
            timeout,
            claimed_at,
            phase: AtomicU8::new(Phase::Queued as u8),
            started_at: AtomicI64::new(0),
            ends_at: AtomicI64::new(i64::MAX),
            stop: Mutex::default(),
            stopping: AtomicBool::new(false),
            leaked_at: AtomicI64::new(i64::MAX),
            committed: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            left: Mutex::default(),
            shared,
            desk,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Queued,
            1 => Phase::Started,
            2 => Phase::Ended,
            _ => Phase::Leaked,
        }
    }

    /// Begins the run, unless it was given up while it waited for its slot.
    pub(crate) fn start(&self, now: Monotonic, ends_at: Monotonic, grace: Duration) -> bool {
        self.started_at.store(now.0, Ordering::Relaxed);
        self.ends_at.store(ends_at.0, Ordering::Relaxed);
        self.leaked_at.fetch_min(ends_at.after(grace).0, Ordering::Relaxed);
        self.advance(Phase::Queued, Phase::Started)
    }

    /// Moves from one phase to the next, unless somebody else has: the one who moves it makes the report.
    pub(crate) fn advance(&self, from: Phase, to: Phase) -> bool {
        self.phase.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(crate) fn started_at(&self) -> Monotonic {
        Monotonic(self.started_at.load(Ordering::Relaxed))
    }

    pub(crate) fn ends_at(&self) -> Monotonic {
        Monotonic(self.ends_at.load(Ordering::Relaxed))
    }

    /// Tells the run that its time is over: by its deadline, if that came first.
    pub(crate) fn time_is_over(&self, now: Monotonic, grace: Duration) {
        let deadline = self.ends_at() < self.started_at().after(self.timeout);
        self.stop(if deadline { StopCause::Deadline } else { StopCause::Timeout }, now, grace);
    }

    /// Tells the run to stop; the first cause counts, and this says whether it was. What goes on `grace` later is
    /// leaked.
    pub(crate) fn stop(&self, cause: StopCause, now: Monotonic, grace: Duration) -> bool {
        let mut stop = self.stop.lock();
        if stop.cause.is_some() {
            return false;
        }
        stop.cause = Some(cause);
        self.stopping.store(true, Ordering::Release);
        self.leaked_at.fetch_min(now.0.saturating_add(micros(grace)), Ordering::Relaxed);
        if let Some(token) = &stop.token {
            token.cancel();
        }
        true
    }

    pub(crate) fn stop_cause(&self) -> Option<StopCause> {
        if self.is_stopping() { self.stop.lock().cause.clone() } else { None }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Made when somebody first asks, since most jobs end before anybody does.
    pub(crate) fn token(&self) -> CancellationToken {
        let mut stop = self.stop.lock();
        let token = stop.token.get_or_insert_default().clone();
        if stop.cause.is_some() {
            token.cancel();
        }
        token
    }

    pub(crate) fn leaked_at(&self) -> Monotonic {
        Monotonic(self.leaked_at.load(Ordering::Relaxed))
    }

    pub(crate) fn set_committed(&self) {
        self.committed.store(true, Ordering::Release);
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }

    /// True for the first caller: the store has answered for this run.
    pub(crate) fn settle_once(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    pub(crate) fn said<T>(&self, with: impl FnOnce(&mut Said) -> T) -> T {
        let left = &mut *self.left.lock();
        let said = left.said.get_or_insert_default();
        if left.silent {
            said.close();
        }
        with(said)
    }

    /// What the reporter is to report of it; a repeat of what it reported last, or what there is by now.
    pub(crate) fn reports(&self, repeat: bool) -> Vec<Report> {
        if self.is_committed() {
            return Vec::new();
        }
        let news = self.said(|said| said.for_a_report(repeat));
        news.into_iter().map(|news| Report { lease: self.claimed.lease(), news }).collect()
    }

    /// The store has answered for what the run said, up to this number.
    pub(crate) fn answered(&self, number: u64, answer: Result<(), Error>) {
        self.said(|said| said.answered(number, answer));
    }

    /// What goes with the finish, since no answer has come for it.
    pub(crate) fn unanswered(&self) -> Vec<News> {
        self.left.lock().said.as_mut().map(|said| said.for_the_finish()).unwrap_or_default()
    }

    /// The run has ended and says nothing from here on. What goes with the finish is taken in the same step, so that
    /// nothing is lost in between.
    pub(crate) fn fall_silent(&self) -> Vec<News> {
        let mut left = self.left.lock();
        left.silent = true;
        let Some(said) = &mut left.said else { return Vec::new() };
        let last = said.for_the_finish();
        said.close();
        last
    }

    pub(crate) fn sit(&self, seat: Arc<Seat>) {
        *self.seat.lock() = Some(seat);
    }

    pub(crate) fn seat(&self) -> Option<Arc<Seat>> {
        self.seat.lock().clone()
    }

    pub(crate) fn stand_up(&self) -> Option<Arc<Seat>> {
        self.seat.lock().take()
    }

    pub(crate) fn left<T>(&self, with: impl FnOnce(&mut Left) -> T) -> T {
        with(&mut self.left.lock())
    }
}
