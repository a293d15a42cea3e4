//! Random histories on one store: no change of state is outside the table, and nothing is lost or counted twice.

use std::collections::BTreeMap;

use super::bench::{Bench, SECOND};
use crate::{
    decide::operate::Action,
    env::Env,
    job::{
        Cause, DeadReason, GroupKey, GroupMember, JobFilter, JobId, JobOptions, Lease, QueueName, Start, State, Verdict,
    },
    store::{Finished, Flush, Flushed, Prune},
    testing::ManualClock,
};

/// The same chance for every store, whatever randomness the store itself draws.
fn chance() -> Env {
    ManualClock::seeded(7).env()
}

/// Does one random thing and says what may have caused a change of state.
async fn act(bench: &Bench, random: u64, jobs: &mut Vec<JobId>, held: &mut Vec<Lease>) -> Option<Cause> {
    match random % 9 {
        0 => {
            let start = if random & 64 == 0 { Start::Now } else { Start::In(SECOND * (random >> 8 & 7) as u32) };
            let options = JobOptions::new().retention(SECOND * (random >> 16 & 1) as u32 * 5);
            let mut job = bench.job(if random >> 24 & 3 == 0 { options.group("g") } else { options });
            job.start = start;
            jobs.push(bench.add_job(job).await);
            None
        }
        1 | 2 => {
            held.extend(bench.claim(2).await.iter().map(|job| job.lease()));
            Some(Cause::Claim)
        }
        3 | 4 => finish(bench, held, random >> 8).await,
        5 => {
            bench.pass(SECOND * (random >> 8 & 7) as u32).await;
            bench.promote().await;
            Some(Cause::Promote)
        }
        6 => {
            bench.rescue().await;
            Some(Cause::Rescue)
        }
        7 => {
            flush(bench, jobs).await;
            Some(Cause::Flush)
        }
        _ => {
            let job = jobs.get((random >> 16) as usize % jobs.len().max(1)).cloned()?;
            let actions = [
                Action::Cancel { reason: "x".into() },
                Action::Redrive,
                Action::Redrive,
                Action::Bury,
                Action::RunNow,
                Action::Delete,
                Action::Reschedule { start: Start::In(SECOND) },
            ];
            bench.operate(&job, actions[(random >> 8) as usize % actions.len()].clone()).await;
            Some(Cause::Operate)
        }
    }
}

/// Makes a job of up to three that wait in the group.
async fn flush(bench: &Bench, jobs: &mut Vec<JobId>) {
    let group = GroupKey::new(QueueName::trusted("default"), "g");
    let read = bench.store.members(&group, 3).await.expect("members");
    if !read.is_empty() {
        let into = bench.job(JobOptions::new());
        let flush = Flush { group, members: read.iter().map(GroupMember::read).collect(), into };
        let flushed = bench.store.flush(&flush).await.expect("flush");
        assert!(matches!(flushed, Flushed::Into(_)), "nobody else flushes: {flushed:?}");
        jobs.push(flush.into.spec.id.clone());
    }
}

async fn finish(bench: &Bench, held: &[Lease], random: u64) -> Option<Cause> {
    let lease = held.get(random as usize % held.len().max(1)).cloned()?;
    let verdicts = [
        Verdict::Complete,
        Verdict::RetryIn(SECOND),
        Verdict::Snooze(SECOND),
        Verdict::Release,
        Verdict::Bury(DeadReason::Exhausted),
        Verdict::Cancel("x".into()),
    ];
    let verdict = verdicts[(random >> 8) as usize % verdicts.len()].clone();
    let cause = if verdict == Verdict::Release { Cause::Release } else { Cause::Finish };
    if let Finished::Applied(state) = bench.finish(lease, verdict).await {
        assert!(State::Running.may_become(state, cause), "running became {state}");
    }
    Some(cause)
}

async fn states(bench: &Bench) -> BTreeMap<JobId, State> {
    let (mut states, mut after) = (BTreeMap::new(), None);
    loop {
        let page = bench.store.list(&JobFilter::default(), after, 500).await.expect("list");
        states.extend(page.items.iter().map(|job| (job.id().clone(), job.state)));
        match page.next {
            Some(next) => after = Some(next),
            None => return states,
        }
    }
}

pub async fn no_change_of_state_is_outside_the_table(bench: Bench) {
    let (chance, mut jobs, mut held) = (chance(), Vec::new(), Vec::new());
    let mut before = states(&bench).await;
    let mut changes = 0;
    for step in 0..300 {
        let cause = act(&bench, chance.random(), &mut jobs, &mut held).await;
        let after = states(&bench).await;
        for (id, from) in &before {
            let Some(to) = after.get(id).filter(|to| *to != from) else { continue };
            let cause = cause.expect("an enqueue changes no other job");
            assert!(from.may_become(*to, cause), "step {step}: {from} became {to} by {cause:?}");
            changes += 1;
        }
        before = after;
    }
    assert!(changes > 50, "the history was too quiet to show anything: {changes}");
}

pub async fn enqueued_is_the_sum_of_all_states_and_what_was_removed(bench: Bench) {
    let (chance, mut jobs, mut held) = (chance(), Vec::new(), Vec::new());
    for step in 0..300 {
        act(&bench, chance.random(), &mut jobs, &mut held).await;
        if step % 20 == 0 {
            bench.store.prune(&Prune::Expired, 3).await.expect("prune");
        }
        let census = bench.census().await;
        let there: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
        assert_eq!((census.enqueued, there + census.removed), (jobs.len() as u64, jobs.len() as u64), "step {step}");
    }
    let (census, states) = (bench.census().await, states(&bench).await);
    assert!(census.removed > 0, "the history was too quiet to show anything");
    for state in State::ALL {
        let counted: u64 = census.queues.iter().map(|queue| queue.by_state[state.code() as usize]).sum();
        assert_eq!(counted, states.values().filter(|there| **there == state).count() as u64, "{state}");
    }
}

pub async fn every_job_of_a_history_can_be_brought_to_its_end(bench: Bench) {
    let (chance, mut jobs, mut held) = (chance(), Vec::new(), Vec::new());
    for _ in 0..300 {
        act(&bench, chance.random(), &mut jobs, &mut held).await;
    }
    // From here on one server takes all that is left, suspects one by one, and completes it.
    for _ in 0..10 {
        bench.pass(20 * SECOND).await;
        bench.rescue().await;
        bench.promote().await;
        flush(&bench, &mut jobs).await;
        loop {
            let request = bench.request(50);
            let mut taken = bench.take(&request).await;
            if taken.is_empty() {
                let suspect = crate::store::ClaimRequest { suspect: true, ..bench.request(1) };
                taken = bench.take(&suspect).await;
            }
            if taken.is_empty() {
                break;
            }
            for job in taken {
                assert_ne!(bench.finish(job.lease(), Verdict::Complete).await, Finished::Stale);
            }
        }
    }
    let left: Vec<_> = states(&bench).await.into_iter().filter(|(_, state)| !state.is_terminal()).collect();
    assert_eq!(left, [], "these jobs are stuck");
}
