//! Removing what retention lets go: in chunks, never a job whose life is not over.

use super::bench::{Bench, DAY, HOUR, REACHABLE, SECOND, report};
use crate::{
    job::{DeadReason, JobId, JobOptions, State, Verdict},
    store::{Prune, Pruned},
};

async fn prune(bench: &Bench, what: &Prune, limit: u32) -> Pruned {
    bench.store.prune(what, limit).await.expect("prune")
}

async fn expired(bench: &Bench) -> u64 {
    prune(bench, &Prune::Expired, 100).await.removed
}

fn older(than: std::time::Duration, states: &[State]) -> Prune {
    Prune::Older { than, states: states.to_vec() }
}

async fn is_gone(bench: &Bench, id: &JobId) -> bool {
    bench.get(id).await.is_none()
}

pub async fn a_completed_job_is_kept_for_its_retention(bench: Bench) {
    let short = bench.run(JobOptions::new().retention(HOUR), Verdict::Complete).await;
    let long = bench.run(JobOptions::new().retention(3 * HOUR), Verdict::Complete).await;
    bench.clock.advance(HOUR - SECOND);
    assert_eq!(expired(&bench).await, 0);
    bench.clock.advance(2 * SECOND);
    assert_eq!(expired(&bench).await, 1);
    assert!(is_gone(&bench, &short).await && !is_gone(&bench, &long).await);
}

pub async fn dead_and_cancelled_jobs_are_kept_for_ninety_days(bench: Bench) {
    let dead = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Buried)).await;
    let cancelled = bench.run(JobOptions::new().retention(HOUR), Verdict::Cancel("x".into())).await;
    bench.clock.advance(90 * DAY - SECOND);
    assert_eq!(expired(&bench).await, 0);
    bench.clock.advance(2 * SECOND);
    assert_eq!(expired(&bench).await, 2);
    assert!(is_gone(&bench, &dead).await && is_gone(&bench, &cancelled).await);
}

pub async fn a_redriven_job_does_not_expire(bench: Bench) {
    let job = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Buried)).await;
    bench.operate(&job, crate::decide::operate::Action::Redrive).await;
    bench.clock.advance(91 * DAY);
    assert_eq!(expired(&bench).await, 0);
    assert_eq!(bench.state(&job).await, State::Pending);
}

pub async fn no_prune_touches_a_job_whose_life_is_not_over(bench: Bench) {
    let mut live = Vec::new();
    for state in REACHABLE.into_iter().filter(|state| !state.is_terminal()) {
        live.push((bench.bring_to(state, JobOptions::new()).await.0, state));
    }
    bench.clock.advance(1000 * DAY);
    assert_eq!(expired(&bench).await, 0);
    let everything = older(std::time::Duration::ZERO, &State::ALL);
    assert_eq!(prune(&bench, &everything, 100).await, Pruned { removed: 0, more: false });
    for (job, state) in live {
        assert_eq!(bench.state(&job).await, state);
    }
}

pub async fn older_jobs_go_by_state_and_by_when_they_ended(bench: Bench) {
    let (old, _) = bench.bring_to(State::Dead, JobOptions::new()).await;
    let (other, _) = bench.bring_to(State::Completed, JobOptions::new()).await;
    bench.clock.advance(HOUR);
    let (recent, _) = bench.bring_to(State::Dead, JobOptions::new()).await;
    bench.clock.advance(SECOND);
    assert_eq!(prune(&bench, &older(HOUR, &[State::Dead, State::Cancelled]), 100).await.removed, 1);
    assert!(is_gone(&bench, &old).await);
    assert!(!is_gone(&bench, &other).await && !is_gone(&bench, &recent).await);
    assert_eq!(prune(&bench, &older(SECOND, &[]), 100).await.removed, 0);
    assert_eq!(prune(&bench, &older(SECOND, &[State::Completed, State::Dead]), 100).await.removed, 2);
}

pub async fn older_than_nothing_is_all_that_ended(bench: Bench) {
    for state in REACHABLE {
        bench.bring_to(state, JobOptions::new()).await;
    }
    assert_eq!(prune(&bench, &older(std::time::Duration::ZERO, &State::ALL), 100).await.removed, 3);
}

pub async fn a_prune_goes_in_chunks_and_says_when_there_is_more(bench: Bench) {
    for _ in 0..25 {
        bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Buried)).await;
    }
    bench.clock.advance(DAY);
    let what = older(HOUR, &[State::Dead]);
    assert_eq!(prune(&bench, &what, 10).await, Pruned { removed: 10, more: true });
    bench.clock.advance(90 * DAY);
    assert_eq!(prune(&bench, &Prune::Expired, 10).await, Pruned { removed: 10, more: true });
    assert_eq!(prune(&bench, &Prune::Expired, 10).await, Pruned { removed: 5, more: false });
}

/// More than Asynq keeps of its archived tasks.
pub async fn thousands_of_dead_jobs_are_all_kept_and_can_be_redriven(bench: Bench) {
    let (count, step) = (10_500, 500);
    let mut first = None;
    for _ in 0..count / step {
        bench.enqueue((0..step).map(|_| bench.job(JobOptions::new())).collect()).await;
        let claimed = bench.claim(step).await;
        first.get_or_insert_with(|| claimed[0].spec.id.clone());
        let bury = |job: &crate::store::Claimed| report(job.lease(), Verdict::Bury(DeadReason::Poison));
        bench.store.finish(claimed.iter().map(bury).collect()).await.expect("finish");
        bench.clock.advance(SECOND);
        assert!(bench.rescue().await.is_empty());
    }
    let dead = |census: crate::store::Census| census.queues[0].by_state[State::Dead.code() as usize];
    assert_eq!(dead(bench.census().await), u64::from(count));
    let first = first.expect("a job");
    let record = bench.record(&first).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Dead, Some("poison")));
    bench.operate(&first, crate::decide::operate::Action::Redrive).await;
    assert_eq!(bench.claim_one().await.spec.id, first);
    let all = prune(&bench, &older(std::time::Duration::ZERO, &[State::Dead]), count).await;
    assert_eq!(all, Pruned { removed: u64::from(count) - 1, more: false });
    assert_eq!(dead(bench.census().await), 0);
}

pub async fn thousands_that_expire_at_once_go_in_steps_between_which_others_work(bench: Bench) {
    let (count, step) = (3000, 500);
    let jobs = (0..count).map(|_| bench.job(JobOptions::new().retention(HOUR))).collect();
    bench.enqueue(jobs).await;
    let reports = bench.claim(count).await.iter().map(|job| report(job.lease(), Verdict::Complete)).collect();
    bench.store.finish(reports).await.expect("finish");
    bench.clock.advance(2 * HOUR);
    for done in 1..=count / step {
        let more = done < count / step;
        assert_eq!(prune(&bench, &Prune::Expired, step).await, Pruned { removed: step.into(), more });
        let fresh = bench.add(JobOptions::new()).await;
        let claimed = bench.claim_one().await;
        assert_eq!(claimed.spec.id, fresh);
        bench.finish(claimed.lease(), Verdict::Complete).await;
    }
    assert_eq!(prune(&bench, &Prune::Expired, step).await, Pruned { removed: 0, more: false });
}

pub async fn what_was_pruned_counts_as_removed(bench: Bench) {
    for _ in 0..3 {
        bench.run(JobOptions::new().retention(SECOND), Verdict::Complete).await;
    }
    bench.clock.advance(HOUR);
    assert_eq!(expired(&bench).await, 3);
    let census = bench.census().await;
    assert_eq!((census.enqueued, census.removed), (3, 3));
    assert_eq!(census.queues.iter().flat_map(|queue| queue.by_state).sum::<u64>(), 0);
}

pub async fn statistics_outlive_their_jobs(bench: Bench) {
    let since = bench.env.wall();
    bench.run(JobOptions::new().retention(SECOND), Verdict::Complete).await;
    bench.clock.advance(DAY);
    assert_eq!(expired(&bench).await, 1);
    assert_eq!(bench.store.tallies(since).await.expect("tallies").lines[0].bucket.completed, 1);
}

pub async fn statistics_do_not_grow_for_ever(bench: Bench) {
    bench.run(JobOptions::new().tenant("acme"), Verdict::Complete).await;
    bench.clock.advance(1000 * DAY);
    expired(&bench).await;
    let tallies = bench.store.tallies(bench.env.wall().before(2000 * DAY)).await.expect("tallies");
    assert!(tallies.lines.is_empty() && tallies.tenants.is_empty());
}

pub async fn the_id_of_a_pruned_job_is_free(bench: Bench) {
    let named = || JobOptions::new().id("a").retention(SECOND);
    bench.run(named(), Verdict::Complete).await;
    bench.clock.advance(HOUR);
    expired(&bench).await;
    bench.add(named()).await;
    assert_eq!(bench.claim(10).await.len(), 1);
}
