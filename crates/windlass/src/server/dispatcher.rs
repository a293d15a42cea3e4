//! Claims jobs for the free slots and a small prefetch, and hands them on. One loop for all queues.
//! The suspect (a job whose next crash is its last) is claimed only when nothing else is held.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tracing::{debug, warn};

use super::{
    core::{Core, Life},
    events::EventKind,
    run::Run,
};
use crate::{
    decide::queues::QueuePlan,
    job::{Kind, KindFilter, KindRule, Monotonic},
    store::{ClaimRequest, Claimed, WakeUps},
};

/// What has not started this long after its claim is given back.
pub(crate) const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// How long a server that stops goes on asking what an unanswered claim gave it.
const LAST_CLAIM: Duration = Duration::from_secs(3);
/// No claims while this many reports wait: the store falls behind.
const MAX_REPORTS: usize = 4096;

pub(crate) async fn run(core: Arc<Core>, plan: QueuePlan) {
    let mut wakeups = core.store().wakeups();
    let mut dispatcher = Dispatcher {
        patience: Duration::from_millis(500 + core.env.random() % 2000),
        core,
        plan,
        sequence: 0,
        suspect: Suspect::None,
        look_again: Monotonic(0),
        no_prefetch_until: Monotonic(0),
        capped: false,
    };
    while dispatcher.core.life() < Life::Quiet {
        // Note the counter before we look, or a job enqueued in between would wait a full poll.
        wakeups.mark_seen();
        match dispatcher.turn().await {
            Turn::Again => {}
            Turn::Full(wait) => dispatcher.wait_for_room(wait).await,
            Turn::Nothing => dispatcher.wait_for_jobs(&mut wakeups).await,
            Turn::Failed => {
                let pause = dispatcher.core.env.jittered(RELEASE_AFTER);
                dispatcher.core.sleep_until(Life::Quiet, pause).await;
            }
        }
    }
}

struct Dispatcher {
    core: Arc<Core>,
    plan: QueuePlan,
    sequence: u64,
    suspect: Suspect,
    /// How long a suspect waits before this server makes itself free for it; differs between servers.
    patience: Duration,
    /// When to look whether the suspect that this server makes itself free for still waits.
    look_again: Monotonic,
    no_prefetch_until: Monotonic,
    /// The last request left out kinds that are at their limit, or that only a free slot may take: when a handler ends,
    /// look again.
    capped: bool,
}

/// Whether this server is for a suspect alone; then it claims nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspect {
    None,
    /// One waits, and this server makes itself free for it.
    Awaited,
    Running,
}

/// What the server has room for.
struct Room {
    /// The most jobs to take.
    want: u32,
    /// Of them at most so many that are not quick.
    free: u32,
    quick: Arc<BTreeSet<Kind>>,
}

impl Room {
    fn slots(free: u32) -> Self {
        Self { want: free, free, quick: Arc::default() }
    }
}

/// What became of a claim whose jobs have been handed out.
struct Claims {
    found: bool,
    suspect_waiting: Option<Duration>,
}

enum Turn {
    /// Something was claimed; there may be more.
    Again,
    /// There is no room; look again when a slot is free, or after this long.
    Full(Duration),
    /// There was nothing to claim.
    Nothing,
    /// The store is away.
    Failed,
}

impl Dispatcher {
    async fn turn(&mut self) -> Turn {
        self.release_overdue();
        let idle = self.core.held.is_empty();
        match (self.suspect, idle) {
            (Suspect::Running, false) => return Turn::Full(RELEASE_AFTER),
            (Suspect::Awaited, false) => return self.await_suspect().await,
            (Suspect::Awaited, true) => return self.claim_suspect().await,
            // Whoever waited for the suspect is next, so that suspects do not starve the others.
            (Suspect::Running, true) => self.suspect = Suspect::None,
            (Suspect::None, _) => {}
        }
        let room = self.room();
        if room.want == 0 {
            return Turn::Full(RELEASE_AFTER);
        }
        let request = self.request(room);
        let Some(Claims { found, suspect_waiting }) = self.claim(&request).await else { return Turn::Failed };
        match suspect_waiting {
            // Idle and nothing else to do: at once. Otherwise after some patience, so that not all servers stop.
            Some(waiting) if (idle && !found) || waiting > self.patience => {
                self.suspect = Suspect::Awaited;
                Turn::Again
            }
            _ if found => Turn::Again,
            _ => Turn::Nothing,
        }
    }

    /// Nothing else is held: takes the suspect.
    async fn claim_suspect(&mut self) -> Turn {
        let request = ClaimRequest { suspect: true, ..self.request(Room::slots(1)) };
        let Some(Claims { found, .. }) = self.claim(&request).await else { return Turn::Failed };
        self.suspect = if found { Suspect::Running } else { Suspect::None };
        if found { Turn::Again } else { Turn::Full(Duration::from_millis(100)) }
    }

    /// Claims nothing until everything that is held has ended; and looks now and then whether the suspect still waits,
    /// since another server may have taken it.
    async fn await_suspect(&mut self) -> Turn {
        let now = self.core.env.monotonic();
        if now >= self.look_again {
            self.look_again = now.after(RELEASE_AFTER);
            let request = self.request(Room::slots(0));
            match self.claim(&request).await {
                None => return Turn::Failed,
                Some(claims) if claims.suspect_waiting.is_none() => {
                    self.suspect = Suspect::None;
                    return Turn::Again;
                }
                Some(_) => {}
            }
        }
        Turn::Full(RELEASE_AFTER)
    }

    /// How many jobs to ask for: as many as slots are free, and a prefetch of about 50 ms of work of kinds without a
    /// limit of their own.
    fn room(&self) -> Room {
        let core = &self.core;
        if core.reports.len() >= MAX_REPORTS {
            return Room::slots(0);
        }
        let (slots, taken) = (core.config.slots, core.queue.taken());
        let most = if core.env.monotonic() < self.no_prefetch_until { 0 } else { core.config.prefetch };
        let kinds = rooms(core);
        let unlimited =
            |kind: &Kind| kinds.rule_for(kind.as_str()).is_some_and(|rule| kinds.rules[rule].room.is_none());
        let prefetch = core.pace.lock().prefetch(slots, most, unlimited);
        let free = slots.saturating_sub(taken);
        if prefetch.quick.is_empty() {
            return Room::slots(free);
        }
        Room { want: slots.saturating_add(prefetch.jobs).saturating_sub(taken), free, quick: prefetch.quick }
    }

    fn request(&mut self, room: Room) -> ClaimRequest {
        self.sequence += 1;
        let core = &self.core;
        let kinds = rooms(core);
        self.capped = room.free == 0 || kinds.rules.iter().any(|rule| rule.room == Some(0));
        ClaimRequest {
            server: core.id,
            sequence: self.sequence,
            limit: room.want,
            slots: room.free,
            quick: room.quick,
            shares: self.plan.shares(room.want),
            kinds,
            lease: core.config.lease,
            suspect: false,
        }
    }

    /// Claims, and repeats the very same request while the outcome is unknown: the store answers with the same jobs.
    async fn claim(&self, request: &ClaimRequest) -> Option<Claims> {
        let core = &self.core;
        let mut wait = Duration::from_millis(50);
        let mut give_up = None;
        loop {
            let before = core.env.monotonic();
            match core.store().claim(request).await {
                Ok(claim) => {
                    core.claimed();
                    let claims = Claims { found: !claim.jobs.is_empty(), suspect_waiting: claim.suspect_waiting };
                    self.hand_out(claim.jobs, before);
                    return Some(claims);
                }
                Err(error) if error.is_retryable() => {
                    core.store_up.store(false, Ordering::Relaxed);
                    warn!(%error, "the store is away; trying again");
                    let pause = core.env.jittered(wait);
                    if core.sleep_until(Life::Stopping, pause).await {
                        // What the claim took would lapse with nobody, and cost each job a crash: ask for it, to give
                        // it back.
                        let now = core.env.monotonic();
                        if now >= *give_up.get_or_insert(now.after(LAST_CLAIM)) {
                            return None;
                        }
                        core.env.sleep(pause).await;
                    }
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
                Err(error) => {
                    core.refused(&error);
                    return None;
                }
            }
        }
    }

    fn hand_out(&self, jobs: Vec<Claimed>, before: Monotonic) {
        let core = &self.core;
        core.taken.note(jobs.iter().map(|job| &job.spec.queue), core.look_ahead());
        if jobs.is_empty() {
            return;
        }
        let now = core.env.wall();
        let run = |claimed: Claimed| {
            let kind = claimed.spec.kind.as_str();
            let rule = core.config.kinds.rule_for(kind);
            if let Some(rule) = rule {
                core.by_rule[rule].fetch_add(1, Ordering::AcqRel);
            }
            core.guards.claimed(rule, before);
            let timeout = core.config.timeout(kind, claimed.spec.timeout);
            let shared = core.routes.extensions.clone();
            core.tell_at(now, EventKind::Claimed, &claimed, None);
            Arc::new(Run::new(claimed, core.client.clone(), rule, timeout, before, shared, core.desk.clone()))
        };
        let runs: Vec<Arc<Run>> = jobs.into_iter().map(run).collect();
        core.held.add(runs.clone(), before.after(core.config.lease));
        if core.life() >= Life::Stopping {
            return runs.into_iter().for_each(|run| core.release(run));
        }
        core.queue.push_all(runs, core.config.slots);
    }

    fn release_overdue(&mut self) {
        let now = self.core.env.monotonic();
        let overdue = self.core.queue.take_overdue(Monotonic(now.0 - crate::job::micros(RELEASE_AFTER)));
        if !overdue.is_empty() {
            debug!(jobs = overdue.len(), "prefetched jobs did not start within a second; given back");
            // The runs are longer than they looked: ask for no more than the slots can start.
            self.no_prefetch_until = now.after(RELEASE_AFTER * 5);
            overdue.into_iter().for_each(|run| self.core.release(run));
        }
    }

    /// This long, but no longer than until the first job in line is overdue.
    fn before_overdue(&self, wait: Duration) -> Duration {
        let oldest = self.core.queue.oldest();
        oldest.map_or(wait, |at| wait.min(at.after(RELEASE_AFTER).since(self.core.env.monotonic())))
    }

    async fn wait_for_room(&self, wait: Duration) {
        let wait = self.before_overdue(wait);
        tokio::select! {
            biased;
            () = self.core.queue.room.notified() => {}
            () = self.core.reports.emptied.notified() => {}
            _ = self.core.sleep_until(Life::Quiet, wait) => {}
        }
    }

    async fn wait_for_jobs(&self, wakeups: &mut WakeUps) {
        let core = &self.core;
        let poll = core.env.jittered(core.config.poll);
        let to_breaker = core.guards.next_change(core.env.monotonic()).unwrap_or(poll);
        let wait = self.before_overdue(poll.min(to_breaker));
        tokio::select! {
            biased;
            () = wakeups.changed() => {}
            () = core.queue.room.notified(), if self.capped => {}
            _ = core.sleep_until(Life::Quiet, wait) => {}
        }
    }
}

/// The rules, with as many jobs as each has room for: by its limit, its breaker, and the threads if its handler blocks.
/// Several handlers that block are each offered all free threads; what they get beyond them waits in a slot, and is
/// given back after a second.
fn rooms(core: &Core) -> KindFilter {
    let now = core.env.monotonic();
    let held = |rule: usize| core.by_rule[rule].load(Ordering::Acquire);
    let blocking = core.config.terms.iter().enumerate().filter(|(_, terms)| terms.blocking);
    let threads = core.seats.total().saturating_sub(blocking.map(|(rule, _)| held(rule)).sum());
    let room = |(place, rule): (usize, &KindRule)| {
        let limit = rule.room.map(|limit| limit.saturating_sub(held(place)));
        let threads = core.config.terms[place].blocking.then_some(threads);
        let rooms = [limit, threads, core.guards.room(place, now)];
        KindRule { pattern: rule.pattern.clone(), room: rooms.into_iter().flatten().min() }
    };
    KindFilter { rules: core.config.kinds.rules.iter().enumerate().map(room).collect() }
}
