//! A slot: runs one job after the other. One value goes through named steps: find the handler, run it, judge, report.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt;
use tracing::{debug, error, warn};

use super::{
    context::JobContext,
    core::{Core, Life},
    dispatcher::RELEASE_AFTER,
    events::EventKind,
    outcome::{JobError, Outcome},
    run::{Phase, Run, StopCause},
};
use crate::{
    decide::{
        breaker::says,
        retry::RetryPolicy,
        verdict::{Ran, Tally, Then, verdict},
    },
    env::BoxFuture,
    job::{DEFAULTS, ErrorClass},
    store::{Failure, Finish},
};

/// Takes jobs and runs them until the server ends.
pub(crate) async fn slot(core: Arc<Core>) {
    while core.life() < Life::Stopping {
        let run = match core.queue.try_pop() {
            Some(run) => run,
            None => tokio::select! {
                biased;
                () = core.reached(Life::Stopping) => return,
                run = core.queue.pop() => run,
            },
        };
        core.execute(run).await;
        core.queue.done();
        // Handlers that never wait would keep the thread from everybody else.
        tokio::task::consume_budget().await;
    }
}

impl Core {
    async fn execute(&self, run: Arc<Run>) {
        if !self.has_its_thread(&run).await || !self.may_start(&run) {
            // A seat that was taken for nothing.
            drop(run.stand_up());
            return;
        }
        // Also what a dropped handler does when it is dropped must not take the slot with it.
        let called = AssertUnwindSafe(self.call_handler(&run)).catch_unwind().await;
        let ran = called.unwrap_or_else(|panic| failed(ErrorClass::Panic, panic_message(&*panic)));
        if run.advance(Phase::Started, Phase::Ended) {
            // The breaker hears of it before there is room for the next job.
            self.report(run.clone(), ran);
        } else {
            self.leaked.fetch_sub(1, Ordering::AcqRel);
            if run.stop_cause() != Some(StopCause::LeaseLost) {
                self.tell(EventKind::Stale, &run.claimed, None);
            }
            debug!(job.id = %run.claimed.spec.id, "a handler that had ignored its end came back; its outcome is dropped");
        }
        if run.stand_up().is_some_and(|seat| seat.leave(run.rule)) {
            warn!(job.id = %run.claimed.spec.id, job.kind = %run.claimed.spec.kind,
                "a blocking handler ignores its end; its thread is leaked until it comes back");
        } else {
            self.let_go_of_rule(&run);
        }
    }

    /// Takes the thread of a handler that blocks. A run that finds none within a second is given back: another server
    /// may have one.
    async fn has_its_thread(&self, run: &Arc<Run>) -> bool {
        if !run.rule.is_some_and(|rule| self.config.terms[rule].blocking) {
            return true;
        }
        let seat = tokio::select! {
            biased;
            seat = self.seats.take() => seat,
            _ = self.sleep_until(Life::Stopping, RELEASE_AFTER) => None,
        };
        match seat {
            Some(seat) => run.sit(seat),
            None => {
                self.release(run.clone());
                return false;
            }
        }
        true
    }

    /// Starts the run, unless it was released or lost while it waited for the slot.
    fn may_start(&self, run: &Arc<Run>) -> bool {
        let now = self.env.monotonic();
        if run.phase() != Phase::Queued {
            return false;
        }
        if run.stop_cause() == Some(StopCause::LeaseLost) {
            self.drop_lost(run, Phase::Queued);
            return false;
        }
        if !self.held.is_fresh(run, now) {
            // By our own clock the lease may have lapsed. Whoever has it now, we do not start: what is still ours is
            // given back in front of the line.
            self.release(run.clone());
            return false;
        }
        if !self.guards.admits(run) {
            self.release(run.clone());
            return false;
        }
        run.start(now, now.after(self.time_for(run)), self.config.grace)
    }

    pub(crate) fn drop_lost(&self, run: &Arc<Run>, from: Phase) {
        if run.advance(from, Phase::Ended) {
            self.held.settle([run]);
            if from == Phase::Queued {
                self.judged(run, None);
                self.let_go_of_rule(run);
            }
            self.tell(EventKind::Stale, &run.claimed, None);
        }
    }

    /// How long this run may take: its timeout, or until its deadline.
    fn time_for(&self, run: &Run) -> Duration {
        let to_deadline = run.claimed.spec.deadline.map_or(Duration::MAX, |at| at.since(self.env.wall()));
        run.timeout.min(to_deadline)
    }

    async fn call_handler(&self, run: &Arc<Run>) -> Ran {
        let spec = &run.claimed.spec;
        if spec.deadline.is_some_and(|deadline| deadline <= self.env.wall()) {
            return Ran::TooLate;
        }
        if let Some(StopCause::Cancelled(reason)) = run.stop_cause() {
            return Ran::Cancelled(reason);
        }
        let Some(endpoint) = self.routes.find(spec.kind.as_str()) else {
            // The claim asks for our kinds only, so a store that gives another one gets it back.
            return Ran::Interrupted;
        };
        self.tell(EventKind::Started, &run.claimed, None);
        let ctx = JobContext(run.clone());
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| endpoint(ctx.clone())));
        let ended = match called {
            Ok(future) => self.drive(run, future).await,
            Err(panic) => Ended::Panicked(panic_message(&*panic)),
        };
        self.judge(ended, &ctx)
    }

    /// Polls the handler until it ends or has to: by itself, by a panic, or a grace after it was told to stop.
    async fn drive(&self, run: &Arc<Run>, future: BoxFuture<Outcome>) -> Ended {
        let mut handler = AssertUnwindSafe(future).catch_unwind();
        // Most jobs end at the first poll or wait only for themselves; timers and tokens cost only those that wait.
        let first = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut handler).poll(cx))).await;
        if let Poll::Ready(ended) = first {
            return ended.into();
        }
        let token = run.token();
        tokio::select! {
            biased;
            ended = &mut handler => return ended.into(),
            () = token.cancelled() => {}
            // Counted from its start: the first poll may have taken long.
            () = self.env.sleep(run.ends_at().since(self.env.monotonic())) => {
                run.time_is_over(self.env.monotonic(), self.config.grace);
            }
        }
        let grace = match run.stop_cause() {
            Some(StopCause::Shutdown) => self.config.grace.min(Duration::from_secs(2)),
            _ => self.config.grace,
        };
        tokio::select! {
            biased;
            ended = &mut handler => ended.into(),
            () = self.env.sleep(grace) => Ended::Dropped,
        }
    }

    /// What the end of a handler means. A run that was told to stop counts as stopped, whatever it returned: a
    /// handler that leaves early often says `Ok`. Only a finish in its own transaction stands.
    fn judge(&self, ended: Ended, ctx: &JobContext) -> Ran {
        let run = &ctx.0;
        if run.is_committed() {
            return Ran::Done;
        }
        match run.stop_cause() {
            Some(StopCause::Cancelled(reason)) => return Ran::Cancelled(reason),
            Some(StopCause::Timeout) => {
                return failed(ErrorClass::Timeout, format!("ran longer than its timeout of {:?}", run.timeout));
            }
            Some(StopCause::Deadline) => {
                return failed(ErrorClass::Deadline, "its deadline passed while it ran".into());
            }
            Some(StopCause::Shutdown) if !matches!(ended, Ended::Returned(Outcome::Done(_))) => {
                return Ran::Interrupted;
            }
            _ => {}
        }
        match ended {
            Ended::Returned(Outcome::Done(result)) => {
                run.left(|left| left.result = result.or(left.result.take()));
                check_result(run)
            }
            Ended::Returned(Outcome::Committed) => Ran::Done,
            Ended::Returned(Outcome::Failed(error)) => self.judge_error(&error, ctx),
            Ended::Panicked(message) => failed(ErrorClass::Panic, message),
            Ended::Dropped => Ran::Interrupted,
        }
    }

    fn judge_error(&self, error: &JobError, ctx: &JobContext) -> Ran {
        if let Some(hook) = &self.config.on_error {
            guarded("the error hook", || hook(error.error(), ctx));
        }
        let is_failure = self.config.is_failure.as_ref();
        let judged = is_failure.and_then(|judge| guarded("the judge of failures", || judge(error.error())));
        let counts = judged.unwrap_or(true);
        let class = match (error.class, error.then) {
            (ErrorClass::Error, Then::Bury) => ErrorClass::Buried,
            (class, _) => class,
        };
        Ran::Failed { class, message: error.message(), then: error.then, counts }
    }

    /// The report of a run that has ended.
    pub(crate) fn report(&self, run: Arc<Run>, ran: Ran) {
        let lost = run.stop_cause() == Some(StopCause::LeaseLost) && !run.is_committed();
        self.judged(&run, if lost { None } else { says(&ran) });
        if run.is_committed() {
            run.fall_silent();
            self.held.settle([&run]);
            self.tell(EventKind::Finished, &run.claimed, Some(crate::job::State::Completed));
            return;
        }
        if lost {
            self.held.settle([&run]);
            self.tell(EventKind::Stale, &run.claimed, None);
            warn!(job.id = %run.claimed.spec.id, job.kind = %run.claimed.spec.kind,
                "lease lost; the outcome of this run is dropped");
            return;
        }
        let finish = self.finish_of(&run, ran);
        self.reports.push(run, finish);
    }

    pub(crate) fn finish_of(&self, run: &Run, ran: Ran) -> Finish {
        let job = &run.claimed;
        let tally = Tally { failures: job.failures, max_retry: job.spec.max_retry, seed: job.spec.id.seed() };
        let policy = self.config.policy(job.spec.kind.as_str());
        let verdict = guarded("the retry policy", || verdict(tally, &ran, policy))
            .unwrap_or_else(|| verdict(tally, &ran, &RetryPolicy::default()));
        let verdict = self.within_budget(run, verdict);
        let error = match ran {
            // A snooze is no error: ten thousand of them would leave no room for one.
            Ran::Failed { then: Then::Snooze(_), .. } => None,
            Ran::Failed { class, message, .. } => Some(Failure { class, message: message.into() }),
            Ran::Cancelled(reason) => Some(Failure { class: ErrorClass::Cancelled, message: reason }),
            Ran::TooLate => {
                Some(Failure { class: ErrorClass::Deadline, message: "its deadline passed before it started".into() })
            }
            _ => None,
        };
        let done = verdict == crate::job::Verdict::Complete;
        let mut news = run.fall_silent();
        if done && job.spec.retention.is_zero() {
            // Of a job that goes at once nobody reads what it said.
            news.clear();
        }
        let (then, result) = run.left(|left| (std::mem::take(&mut left.then), left.result.take()));
        Finish {
            lease: job.lease(),
            verdict,
            error,
            result: result.filter(|_| done),
            then: if done { then } else { Vec::new() },
            ran: self.env.monotonic().since(run.started_at()),
            news,
        }
    }
}

/// Calls what a user has given us. A panic in it is reported, and ends neither the job nor the server.
pub(crate) fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let called = std::panic::catch_unwind(AssertUnwindSafe(call));
    called.map_err(|panic| error!(panic = panic_text(&*panic), "{what} panicked")).ok()
}

/// A result that is to be kept and is too large: the job has ended, but not as its callers expect.
fn check_result(run: &Run) -> Ran {
    let bytes = run.left(|left| left.result.as_ref().map_or(0, bytes::Bytes::len));
    if bytes <= DEFAULTS.result_bytes || run.claimed.spec.retention.is_zero() {
        return Ran::Done;
    }
    let limit = DEFAULTS.result_bytes;
    let message =
        format!("its result has {bytes} bytes and at most {limit} are kept; keep it elsewhere and return a link");
    Ran::Failed { class: ErrorClass::Buried, message, then: Then::Bury, counts: true }
}

/// How a handler ended.
enum Ended {
    Returned(Outcome),
    Panicked(String),
    Dropped,
}

impl From<std::thread::Result<Outcome>> for Ended {
    fn from(ended: std::thread::Result<Outcome>) -> Self {
        match ended {
            Ok(outcome) => Ended::Returned(outcome),
            Err(panic) => Ended::Panicked(panic_message(&*panic)),
        }
    }
}

pub(crate) fn failed(class: ErrorClass, message: String) -> Ran {
    Ran::Failed { class, message, then: Then::Retry, counts: true }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    format!("the handler panicked: {}", panic_text(panic))
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
