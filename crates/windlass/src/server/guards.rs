//! The breakers and retry budgets of a running server, one of each for each rule of its claims that has one.
//! What they do is decided in `decide/breaker.rs` and `decide/budget.rs`; this holds them and asks them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::{builder::Config, core::Core, events::EventKind, run::Run};
use crate::{
    decide::{
        breaker::{BreakerInfo, BreakerState, Circuit},
        budget::Purse,
    },
    job::{Monotonic, Timestamp, Verdict},
};

pub(crate) struct Guards {
    rules: Vec<Guard>,
    /// A breaker has changed since somebody last asked.
    news: AtomicBool,
}

struct Guard {
    circuit: Option<Mutex<Circuit>>,
    purse: Option<Mutex<Purse>>,
}

impl Guards {
    pub(crate) fn new(config: &Config, now: Monotonic) -> Self {
        let rules = config.terms.iter().map(|terms| Guard {
            circuit: terms.breaker.map(|breaker| Mutex::new(Circuit::new(breaker))),
            purse: terms.budget.map(|budget| Mutex::new(Purse::new(budget, now))),
        });
        Self { rules: rules.collect(), news: AtomicBool::new(false) }
    }

    fn circuit(&self, rule: Option<usize>) -> Option<&Mutex<Circuit>> {
        self.rules.get(rule?)?.circuit.as_ref()
    }

    /// How many jobs of a rule its breaker lets a claim take; none: as many as there are.
    pub(crate) fn room(&self, rule: usize, now: Monotonic) -> Option<u32> {
        let mut circuit = self.circuit(Some(rule))?.lock();
        let was = circuit.state(now);
        let (open, room) = (circuit.until().is_some(), circuit.room(now));
        if open && was == BreakerState::HalfOpen {
            self.news.store(true, Ordering::Release);
        }
        room
    }

    pub(crate) fn claimed(&self, rule: Option<usize>, at: Monotonic) {
        if let Some(circuit) = self.circuit(rule) {
            circuit.lock().claimed(at);
        }
    }

    /// Whether a job that was claimed may start: not if its breaker opened meanwhile.
    pub(crate) fn admits(&self, run: &Run) -> bool {
        self.circuit(run.rule).is_none_or(|circuit| circuit.lock().admits(run.claimed_at))
    }

    /// When the next open breaker lets a job through, from now.
    pub(crate) fn next_change(&self, now: Monotonic) -> Option<Duration> {
        let circuits = self.rules.iter().filter_map(|guard| guard.circuit.as_ref());
        circuits.filter_map(|circuit| Some(circuit.lock().until()?.since(now))).min()
    }

    /// Whether a breaker has changed since the last call.
    pub(crate) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::AcqRel)
    }
}

impl Core {
    /// A run is over, or was given back; `well` is what it says about its kind.
    pub(crate) fn judged(&self, run: &Run, well: Option<bool>) {
        let Some(guard) = run.rule.and_then(|rule| self.guards.rules.get(rule)) else { return };
        if guard.circuit.is_none() && guard.purse.is_none() {
            // The clock costs more than all the rest of this.
            return;
        }
        let now = self.env.monotonic();
        if let (Some(purse), Some(_), 0) = (&guard.purse, well, run.claimed.failures) {
            purse.lock().first_run(now);
        }
        let changed = guard.circuit.as_ref().and_then(|circuit| circuit.lock().ended(now, run.claimed_at, well));
        let (kind, id) = (&run.claimed.spec.kind, &run.claimed.spec.id);
        match changed {
            Some(BreakerState::Open) => {
                warn!(job.kind = %kind, job.id = %id, "most runs of the kind fail; its breaker opens");
                self.tell(EventKind::BreakerOpened, &run.claimed, None);
            }
            Some(_) => {
                info!(job.kind = %kind, job.id = %id, "the kind works again; its breaker closes");
                self.tell(EventKind::BreakerClosed, &run.claimed, None);
            }
            None => return,
        }
        self.guards.news.store(true, Ordering::Release);
    }

    /// The verdict, with the wait of a retry that is over its budget lengthened.
    pub(crate) fn within_budget(&self, run: &Run, verdict: Verdict) -> Verdict {
        let purse = run.rule.and_then(|rule| self.guards.rules.get(rule)?.purse.as_ref());
        match (verdict, purse) {
            (Verdict::RetryIn(wait), Some(purse)) => {
                Verdict::RetryIn(wait.max(purse.lock().retry(self.env.monotonic())))
            }
            (verdict, _) => verdict,
        }
    }

    /// The breakers as others see them.
    pub(crate) fn breakers(&self) -> Vec<BreakerInfo> {
        let (now, wall) = (self.env.monotonic(), self.env.wall());
        let rules = self.config.kinds.rules.iter().zip(&self.guards.rules);
        rules
            .filter_map(|(rule, guard)| {
                let circuit = guard.circuit.as_ref()?.lock();
                let state = circuit.state(now);
                let until = circuit.until().filter(|_| state == BreakerState::Open);
                let until: Option<Timestamp> = until.map(|until| wall.after(until.since(now)));
                Some(BreakerInfo::new(rule.pattern.to_string(), state, until))
            })
            .collect()
    }
}
