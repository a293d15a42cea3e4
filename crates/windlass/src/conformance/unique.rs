//! Unique keys: held by the job until it is done, or by a moment until its time is over; nothing to reap or to leak.

use super::bench::{Bench, DAY, HOUR, LEASE, MINUTE, SECOND};
use crate::{
    decide::operate::Action,
    job::{DeadReason, JobId, JobOptions, State, UniqueBy, Verdict},
    store::{Enqueued, Operated, Prune},
};

fn until_done() -> JobOptions {
    JobOptions::new().unique(UniqueBy::until_done("key"))
}

fn for_an_hour() -> JobOptions {
    JobOptions::new().unique(UniqueBy::idempotency("key", HOUR))
}

async fn try_add(bench: &Bench, options: JobOptions) -> Enqueued {
    bench.enqueue(vec![bench.job(options)]).await.remove(0)
}

async fn held(bench: &Bench, options: JobOptions, by: &JobId, state: Option<State>) {
    assert_eq!(try_add(bench, options).await, Enqueued::Duplicate(by.clone(), state));
}

async fn free(bench: &Bench, options: JobOptions) {
    assert!(try_add(bench, options).await.is_new());
}

pub async fn a_key_is_held_while_its_job_waits_runs_retries_or_snoozes(bench: Bench) {
    let (first, lease) = bench.start(until_done()).await;
    held(&bench, until_done(), &first, Some(State::Running)).await;
    bench.finish(lease, Verdict::RetryIn(SECOND)).await;
    held(&bench, until_done(), &first, Some(State::Retrying)).await;
    bench.clock.advance(SECOND);
    assert_eq!(bench.promote().await, 1);
    held(&bench, until_done(), &first, Some(State::Pending)).await;
    let lease = bench.take(&bench.request_from(&["own"], 1)).await[0].lease();
    bench.finish(lease, Verdict::Snooze(MINUTE)).await;
    held(&bench, until_done(), &first, Some(State::Scheduled)).await;
}

pub async fn a_key_is_held_through_a_crash_and_a_release(bench: Bench) {
    let (first, _) = bench.start(until_done()).await;
    bench.lapse().await;
    held(&bench, until_done(), &first, Some(State::Running)).await;
    assert_eq!(bench.rescue().await.len(), 1);
    held(&bench, until_done(), &first, Some(State::Pending)).await;
    let lease = bench.take(&bench.request_from(&["own"], 1)).await[0].lease();
    bench.finish(lease, Verdict::Release).await;
    held(&bench, until_done(), &first, Some(State::Pending)).await;
}

pub async fn a_key_is_free_once_its_job_is_completed(bench: Bench) {
    bench.run(until_done(), Verdict::Complete).await;
    let kept = bench.run(until_done().retention(HOUR), Verdict::Complete).await;
    free(&bench, until_done()).await;
    assert_eq!(bench.state(&kept).await, State::Completed);
}

pub async fn a_key_is_free_once_its_job_is_dead(bench: Bench) {
    bench.run(until_done(), Verdict::Bury(DeadReason::Exhausted)).await;
    free(&bench, until_done()).await;
}

pub async fn a_key_is_free_once_its_job_is_poison(bench: Bench) {
    bench.start(until_done()).await;
    bench.lapse().await;
    let rules = crate::store::RescueRules { poison_after: 1, ..super::bench::rules() };
    assert_eq!(bench.rescue_by(&rules).await.jobs[0].state, State::Dead);
    free(&bench, until_done()).await;
}

pub async fn a_key_is_free_once_its_job_is_cancelled(bench: Bench) {
    bench.run(until_done(), Verdict::Cancel("enough".into())).await;
    let waiting = try_add(&bench, until_done()).await;
    assert!(waiting.is_new());
    bench.cancel(waiting.id(), "enough").await;
    free(&bench, until_done()).await;
}

pub async fn a_key_is_free_once_its_job_is_deleted(bench: Bench) {
    let first = bench.add(until_done()).await;
    bench.operate(&first, Action::Delete).await;
    free(&bench, until_done()).await;
}

pub async fn the_second_of_two_equal_keys_in_one_call_is_the_duplicate(bench: Bench) {
    for options in [until_done(), for_an_hour().tenant("other")] {
        let pair = vec![bench.job(options.clone()), bench.job(options)];
        let answers = bench.enqueue(pair).await;
        assert!(answers[0].is_new());
        assert_eq!(answers[1], Enqueued::Duplicate(answers[0].id().clone(), Some(State::Pending)));
    }
}

pub async fn keys_of_other_kinds_and_tenants_are_other_keys(bench: Bench) {
    free(&bench, until_done()).await;
    free(&bench, until_done().tenant("acme")).await;
    free(&bench, JobOptions::new().unique(UniqueBy::until_done("another"))).await;
    bench.add_of("other", until_done()).await;
}

pub async fn a_refused_duplicate_takes_neither_its_id_nor_its_key(bench: Bench) {
    let first = bench.add(until_done()).await;
    held(&bench, until_done().id("refused"), &first, Some(State::Pending)).await;
    assert!(bench.get(&super::bench::id("refused")).await.is_none());
    // Refused for its id: its key must stay free.
    let key = JobOptions::new().unique(UniqueBy::until_done("another"));
    let answer = try_add(&bench, key.clone().id(first.to_string())).await;
    assert_eq!(answer, Enqueued::Duplicate(first, Some(State::Pending)));
    free(&bench, key).await;
}

pub async fn an_idempotency_key_holds_in_every_state_of_its_job(bench: Bench) {
    let (first, lease) = bench.start(for_an_hour().retention(HOUR)).await;
    held(&bench, for_an_hour(), &first, Some(State::Running)).await;
    bench.finish(lease, Verdict::Complete).await;
    held(&bench, for_an_hour(), &first, Some(State::Completed)).await;
}

pub async fn an_idempotency_key_outlives_its_job(bench: Bench) {
    let first = bench.run(for_an_hour(), Verdict::Complete).await;
    assert!(bench.get(&first).await.is_none());
    bench.clock.advance(HOUR - SECOND);
    held(&bench, for_an_hour(), &first, None).await;
}

pub async fn an_idempotency_key_outlives_a_delete(bench: Bench) {
    let first = bench.add(for_an_hour()).await;
    assert_eq!(bench.operate(&first, Action::Delete).await, Operated::Removed);
    held(&bench, for_an_hour(), &first, None).await;
}

pub async fn an_idempotency_key_is_free_after_its_time_even_while_its_job_waits(bench: Bench) {
    let first = bench.add(for_an_hour()).await;
    bench.clock.advance(HOUR + SECOND);
    let second = try_add(&bench, for_an_hour()).await;
    assert!(second.is_new());
    assert_eq!(bench.state(&first).await, State::Pending);
    held(&bench, for_an_hour(), second.id(), Some(State::Pending)).await;
}

pub async fn a_refused_repeat_does_not_prolong_an_idempotency_key(bench: Bench) {
    let first = bench.add(for_an_hour()).await;
    bench.clock.advance(HOUR - SECOND);
    held(&bench, for_an_hour(), &first, Some(State::Pending)).await;
    bench.clock.advance(2 * SECOND);
    free(&bench, for_an_hour()).await;
}

pub async fn pruning_keeps_an_idempotency_key_until_its_time_is_over(bench: Bench) {
    let first = bench.run(for_an_hour(), Verdict::Complete).await;
    bench.clock.advance(MINUTE);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    held(&bench, for_an_hour(), &first, None).await;
    bench.clock.advance(HOUR);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    free(&bench, for_an_hour()).await;
}

pub async fn an_idempotency_key_goes_by_the_wall_clock(bench: Bench) {
    let first = bench.add(for_an_hour()).await;
    bench.clock.step_wall_forward(HOUR - MINUTE);
    held(&bench, for_an_hour(), &first, Some(State::Pending)).await;
    bench.clock.step_wall_forward(2 * MINUTE);
    free(&bench, for_an_hour()).await;
}

pub async fn a_key_that_ran_out_and_was_taken_elsewhere_stays_there_when_the_clock_goes_back(bench: Bench) {
    let for_a_second = || JobOptions::new().unique(UniqueBy::idempotency("key", SECOND));
    bench.add(for_a_second().queue("before")).await;
    bench.clock.step_wall_forward(2 * SECOND);
    let holder = bench.add(for_an_hour().queue("after")).await;
    bench.clock.step_wall_back(MINUTE);
    for queue in ["before", "after", "elsewhere"] {
        held(&bench, for_an_hour().queue(queue), &holder, Some(State::Pending)).await;
    }
}

pub async fn a_redrive_takes_its_key_again(bench: Bench) {
    let first = bench.run(until_done(), Verdict::Bury(DeadReason::Buried)).await;
    assert_eq!(bench.operate(&first, Action::Redrive).await, Operated::Done(State::Pending));
    held(&bench, until_done(), &first, Some(State::Pending)).await;
}

pub async fn a_redrive_gives_way_to_the_holder_of_its_key(bench: Bench) {
    for verdict in [Verdict::Bury(DeadReason::Buried), Verdict::Cancel("enough".into())] {
        let first = bench.run(until_done(), verdict).await;
        let state = bench.state(&first).await;
        let holder = bench.add(until_done()).await;
        let refused = Operated::Conflict { state, holder: Some(holder.clone()) };
        assert_eq!(bench.operate(&first, Action::Redrive).await, refused);
        assert_eq!(bench.state(&first).await, state);
        bench.operate(&holder, Action::Delete).await;
        assert_eq!(bench.operate(&first, Action::Redrive).await, Operated::Done(State::Pending));
        bench.operate(&first, Action::Delete).await;
    }
}

pub async fn clients_that_race_for_a_key_make_one_job(bench: Bench) {
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { try_add(&bench, until_done()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.expect("no call fails"));
    }
    let holder = answers.iter().find(|answer| answer.is_new()).expect("one is new").id();
    assert!(answers.iter().all(|answer| answer.id() == holder));
    assert_eq!(bench.claim(10).await.len(), 1);
}

pub async fn a_unique_conflict_does_not_stop_the_promoter(bench: Bench) {
    // The waiting job holds its key all along, so nothing can take it before its promotion.
    let first = bench.add(until_done().process_in(LEASE)).await;
    bench.add(JobOptions::new().process_in(LEASE)).await;
    held(&bench, until_done(), &first, Some(State::Scheduled)).await;
    bench.clock.advance(DAY);
    assert_eq!(bench.promote().await, 2);
}
