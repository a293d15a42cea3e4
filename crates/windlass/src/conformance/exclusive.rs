//! Exclusive jobs: of those with one key in one queue, one stands in line or runs; the others are blocked behind it,
//! and the next comes into line in the step in which it leaves.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::{join, join_all};
use parking_lot::Mutex;

use super::bench::{Bench, HOUR, LEASE, MINUTE, ids, report, rules};
use crate::{
    decide::operate::Action,
    job::{DeadReason, JobFilter, JobId, JobOptions, KindFilter, Lease, QueueName, Start, State, UniqueBy, Verdict},
    store::{ClaimRequest, Claimed, Enqueued, Finish, Operated, RescueRules},
};

/// How long work that goes on at once may take, in the time of the outside world.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where `Bench::start` claims.
const QUEUE: &str = "own";

fn exclusive() -> JobOptions {
    keyed("key")
}

fn keyed(key: impl Into<String>) -> JobOptions {
    JobOptions::new().queue(QUEUE).exclusive(key)
}

fn plain() -> JobOptions {
    JobOptions::new().queue(QUEUE)
}

async fn claim(bench: &Bench, limit: u32) -> Vec<Claimed> {
    bench.take(&bench.request_from(&[QUEUE], limit)).await
}

async fn claim_one(bench: &Bench) -> Claimed {
    claim(bench, 1).await.pop().expect("a job to claim")
}

/// One job of each of these.
async fn add_all(bench: &Bench, jobs: impl IntoIterator<Item = JobOptions>) -> Vec<JobId> {
    let jobs = jobs.into_iter().map(|options| bench.job(options)).collect();
    bench.enqueue(jobs).await.iter().map(|answer| answer.id().clone()).collect()
}

async fn complete(bench: &Bench, lease: Lease) {
    bench.finish(lease, Verdict::Complete).await;
}

async fn states<'j>(bench: &Bench, jobs: impl IntoIterator<Item = &'j JobId>) -> Vec<State> {
    let mut states = Vec::new();
    for job in jobs {
        states.push(bench.state(job).await);
    }
    states
}

/// Runs whatever is in line to its end, one job after the other; the jobs in the order in which they ran.
async fn run_all(bench: &Bench) -> Vec<JobId> {
    let mut ran = Vec::new();
    loop {
        let claimed = claim(bench, 10).await;
        if claimed.is_empty() {
            return ran;
        }
        assert_eq!(claimed.len(), 1, "two jobs of one key ran at once");
        ran.extend(ids(&claimed));
        bench.finish(claimed[0].lease(), Verdict::Complete).await;
    }
}

pub async fn the_second_of_a_key_is_blocked_until_the_first_has_ended(bench: Bench) {
    let first = bench.add(exclusive()).await;
    let second = bench.add(exclusive()).await;
    assert_eq!(states(&bench, [&first, &second]).await, [State::Pending, State::Blocked]);
    let claimed = claim(&bench, 10).await;
    assert_eq!(ids(&claimed), [first]);
    assert!(claim(&bench, 10).await.is_empty(), "the first runs");
    bench.finish(claimed[0].lease(), Verdict::Complete).await;
    assert_eq!(bench.state(&second).await, State::Pending);
    assert_eq!(ids(&claim(&bench, 10).await), [second]);
}

pub async fn of_one_call_all_but_the_first_are_blocked(bench: Bench) {
    let jobs = add_all(&bench, [exclusive(), exclusive(), exclusive()]).await;
    assert_eq!(states(&bench, &jobs).await, [State::Pending, State::Blocked, State::Blocked]);
    assert_eq!(run_all(&bench).await, jobs);
}

pub async fn other_keys_and_queues_and_jobs_without_a_key_are_not_in_the_way(bench: Bench) {
    bench.add(exclusive()).await;
    let others = [bench.add(keyed("Key")).await, bench.add(exclusive().queue("other")).await, bench.add(plain()).await];
    assert_eq!(states(&bench, &others).await, [State::Pending; 3]);
}

pub async fn kinds_and_tenants_share_a_key(bench: Bench) {
    bench.add_of("one", exclusive()).await;
    let kind = bench.add_of("other", exclusive()).await;
    let tenant = bench.add(exclusive().tenant("acme")).await;
    assert_eq!(states(&bench, [&kind, &tenant]).await, [State::Blocked; 2]);
}

pub async fn an_exclusive_key_comes_back_unchanged(bench: Bench) {
    for key in ["key", "ключ 🔑", "a'b\"c\\d{e}:f", "%_*?"] {
        let queue = "queue':\u{fc}";
        let holder = bench.add(JobOptions::new().exclusive(key).queue(queue)).await;
        let blocked = bench.add(JobOptions::new().exclusive(key).queue(queue)).await;
        assert_eq!(bench.record(&holder).await.spec.exclusive.as_deref(), Some(key));
        assert_eq!(bench.record(&blocked).await.spec.exclusive.as_deref(), Some(key));
        let claimed = bench.take(&bench.request_from(&[queue], 10)).await;
        assert_eq!(claimed[0].spec.exclusive.as_deref(), Some(key));
        bench.finish(claimed[0].lease(), Verdict::Complete).await;
        let claimed = bench.take(&bench.request_from(&[queue], 10)).await;
        assert_eq!(ids(&claimed), [blocked]);
        bench.finish(claimed[0].lease(), Verdict::Complete).await;
    }
}

pub async fn a_blocked_job_says_for_whom_it_waits_and_since_when(bench: Bench) {
    let holder = bench.add(exclusive()).await;
    bench.clock.advance(MINUTE);
    let blocked = bench.add(exclusive()).await;
    let since = bench.record(&blocked).await.created_at;
    bench.clock.advance(MINUTE);
    let record = bench.record(&blocked).await;
    assert_eq!((record.waits_for, record.pending_at, record.run_at), (Some(holder.clone()), Some(since), None));
    assert_eq!(bench.record(&holder).await.waits_for, None);
    let lease = claim_one(&bench).await.lease();
    assert_eq!(bench.record(&blocked).await.waits_for, Some(holder));
    bench.finish(lease, Verdict::Complete).await;
    let record = bench.record(&blocked).await;
    assert_eq!((record.waits_for, record.pending_at), (None, Some(record.updated_at)));
}

pub async fn blocked_jobs_are_counted_and_found_as_such(bench: Bench) {
    bench.add(exclusive()).await;
    let blocked = bench.add(exclusive()).await;
    let census = bench.census().await;
    let counts = census.queues[0].by_state;
    assert_eq!((counts[State::Pending.code() as usize], counts[State::Blocked.code() as usize]), (1, 1));
    let filter = JobFilter::default().state(State::Blocked);
    let page = bench.store.list(&filter, None, 10).await.expect("list");
    assert_eq!(page.items.iter().map(|job| job.id().clone()).collect::<Vec<_>>(), [blocked]);
}

pub async fn a_server_that_handles_only_the_blocked_job_is_not_done(bench: Bench) {
    let queues = [QueueName::new(QUEUE).expect("a name")];
    let outstanding = async |kind| {
        let kinds = KindFilter::of([kind]).expect("a kind");
        bench.store.outstanding(&queues, &kinds, &[]).await.expect("outstanding") > 0
    };
    bench.add_of("other", exclusive()).await;
    bench.add_of("work", exclusive()).await;
    assert!(outstanding("work").await);
    run_all(&bench).await;
    assert!(!outstanding("work").await);
}

pub async fn the_next_is_the_one_of_the_highest_priority_that_was_blocked_first(bench: Bench) {
    let holder = bench.add(exclusive()).await;
    let low = bench.add(exclusive().priority(-5)).await;
    let early = bench.add(exclusive()).await;
    let late = bench.add(exclusive()).await;
    let high = bench.add(exclusive().priority(5)).await;
    assert_eq!(run_all(&bench).await, [holder, high, early, late, low]);
}

pub async fn whoever_is_unblocked_goes_to_the_end_of_the_line(bench: Bench) {
    let (_, lease) = bench.start(exclusive()).await;
    let blocked = bench.add(exclusive()).await;
    let between = bench.add(plain()).await;
    bench.finish(lease, Verdict::Complete).await;
    let last = bench.add(plain()).await;
    assert_eq!(ids(&claim(&bench, 10).await), [between, blocked, last]);
}

pub async fn whatever_takes_a_job_out_of_line_or_ends_its_run_lets_the_next_in(bench: Bench) {
    let endings = [
        Verdict::Complete,
        Verdict::RetryIn(HOUR),
        Verdict::Snooze(HOUR),
        Verdict::Bury(DeadReason::Exhausted),
        Verdict::Cancel("enough".into()),
    ];
    for (key, verdict) in ["a", "b", "c", "d", "e"].into_iter().zip(endings) {
        for retention in [Duration::ZERO, HOUR] {
            let options = keyed(key).retention(retention);
            let (_, lease) = bench.start(options.clone()).await;
            let next = bench.add(options).await;
            assert_eq!(bench.state(&next).await, State::Blocked, "{verdict:?}");
            bench.finish(lease, verdict.clone()).await;
            assert_eq!(bench.state(&next).await, State::Pending, "{verdict:?}");
            bench.operate(&next, Action::Delete).await;
        }
    }
    let actions = [
        Action::Cancel { reason: "enough".into() },
        Action::Bury,
        Action::Delete,
        Action::Reschedule { start: Start::In(HOUR) },
    ];
    for action in actions {
        let first = bench.add(exclusive()).await;
        let next = bench.add(exclusive()).await;
        bench.operate(&first, action.clone()).await;
        assert_eq!(bench.state(&next).await, State::Pending, "{action:?}");
        bench.operate(&next, Action::Delete).await;
    }
}

pub async fn a_key_is_kept_through_a_release_and_a_rescue(bench: Bench) {
    let (first, lease) = bench.start(exclusive()).await;
    let second = bench.add(exclusive()).await;
    bench.finish(lease, Verdict::Release).await;
    assert_eq!(states(&bench, [&first, &second]).await, [State::Pending, State::Blocked]);
    claim_one(&bench).await;
    bench.crash().await;
    assert_eq!(states(&bench, [&first, &second]).await, [State::Pending, State::Blocked]);
    assert_eq!(run_all(&bench).await, [first, second]);
}

pub async fn a_key_is_free_once_its_holder_is_poison(bench: Bench) {
    bench.start(exclusive()).await;
    let second = bench.add(exclusive()).await;
    bench.lapse().await;
    let rules = RescueRules { poison_after: 1, ..rules() };
    assert_eq!(bench.rescue_by(&rules).await.jobs[0].state, State::Dead);
    assert_eq!(bench.state(&second).await, State::Pending);
}

pub async fn a_stale_report_lets_nobody_in(bench: Bench) {
    let (first, stale) = bench.start(exclusive()).await;
    let second = bench.add(exclusive()).await;
    bench.crash().await;
    let lease = claim_one(&bench).await.lease();
    bench.finish(stale, Verdict::Complete).await;
    assert_eq!(states(&bench, [&first, &second]).await, [State::Running, State::Blocked]);
    bench.finish(lease, Verdict::Complete).await;
    assert_eq!(bench.state(&second).await, State::Pending);
}

pub async fn a_renewed_lease_keeps_its_key(bench: Bench) {
    let (_, lease) = bench.start(exclusive()).await;
    let second = bench.add(exclusive()).await;
    for _ in 0..5 {
        bench.clock.advance(LEASE / 2);
        assert_eq!(bench.extend(std::slice::from_ref(&lease)).await, []);
        assert!(bench.rescue().await.is_empty());
    }
    assert_eq!(bench.state(&second).await, State::Blocked);
}

pub async fn a_job_whose_time_has_come_is_blocked_while_another_holds_its_key(bench: Bench) {
    let later = bench.add(exclusive().process_in(MINUTE)).await;
    let holder = bench.add(exclusive()).await;
    assert_eq!(bench.state(&later).await, State::Scheduled, "it holds nothing before its time");
    bench.clock.advance(MINUTE);
    assert_eq!(bench.promote().await, 1);
    assert_eq!(states(&bench, [&holder, &later]).await, [State::Pending, State::Blocked]);
    assert_eq!(run_all(&bench).await, [holder, later]);
}

pub async fn a_retry_waits_for_the_holder_of_its_key_again(bench: Bench) {
    let (first, lease) = bench.start(exclusive()).await;
    let second = bench.add(exclusive()).await;
    bench.finish(lease, Verdict::RetryIn(MINUTE)).await;
    let lease = claim_one(&bench).await.lease();
    bench.clock.advance(MINUTE);
    bench.promote().await;
    assert_eq!(states(&bench, [&first, &second]).await, [State::Blocked, State::Running]);
    bench.finish(lease, Verdict::Complete).await;
    let again = claim_one(&bench).await;
    assert_eq!((&again.spec.id, again.attempt), (&first, 2));
}

pub async fn of_those_that_are_due_at_once_one_comes_into_line(bench: Bench) {
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(bench.add(exclusive().process_in(MINUTE)).await);
    }
    bench.clock.advance(MINUTE);
    assert_eq!(bench.promote().await, 4);
    assert_eq!(states(&bench, &jobs).await, [State::Pending, State::Blocked, State::Blocked, State::Blocked]);
    assert_eq!(run_all(&bench).await, jobs);
}

pub async fn what_an_operator_sends_back_is_blocked_while_another_holds_its_key(bench: Bench) {
    let dead = bench.run(exclusive(), Verdict::Bury(DeadReason::Exhausted)).await;
    let later = bench.add(exclusive().process_in(HOUR)).await;
    let holder = bench.add(exclusive()).await;
    assert_eq!(bench.operate(&dead, Action::Redrive).await, Operated::Done(State::Blocked));
    assert_eq!(bench.operate(&later, Action::RunNow).await, Operated::Done(State::Blocked));
    assert_eq!(run_all(&bench).await, [holder, dead, later]);
}

pub async fn what_an_operator_sends_back_takes_a_free_key(bench: Bench) {
    let dead = bench.run(exclusive(), Verdict::Bury(DeadReason::Exhausted)).await;
    assert_eq!(bench.operate(&dead, Action::Redrive).await, Operated::Done(State::Pending));
    let second = bench.add(exclusive()).await;
    assert_eq!(bench.state(&second).await, State::Blocked);
}

pub async fn a_blocked_job_is_cancelled_buried_deleted_and_edited_like_any_that_waits(bench: Bench) {
    let holder = bench.add(exclusive()).await;
    let mut blocked = Vec::new();
    for _ in 0..5 {
        blocked.push(bench.add(exclusive()).await);
    }
    assert_eq!(bench.cancel(&blocked[0], "enough").await, Operated::Done(State::Cancelled));
    assert_eq!(bench.operate(&blocked[1], Action::Bury).await, Operated::Done(State::Dead));
    assert_eq!(bench.operate(&blocked[2], Action::Delete).await, Operated::Removed);
    let edit = Action::Edit { payload: "new".into() };
    assert_eq!(bench.operate(&blocked[3], edit).await, Operated::Done(State::Blocked));
    assert_eq!(bench.record(&blocked[3]).await.spec.payload, "new");
    let refused = Operated::Conflict { state: State::Blocked, holder: None };
    assert_eq!(bench.operate(&blocked[4], Action::RunNow).await, refused);
    assert_eq!(run_all(&bench).await, [holder, blocked[3].clone(), blocked[4].clone()]);
}

pub async fn follow_ups_of_a_holder_are_blocked_behind_those_that_waited(bench: Bench) {
    let (_, lease) = bench.start(exclusive()).await;
    let waited = bench.add(exclusive()).await;
    let follow_up = bench.job(exclusive());
    let finish = Finish { then: vec![follow_up.clone()], ..report(lease, Verdict::Complete) };
    bench.finish_with(finish).await;
    assert_eq!(run_all(&bench).await, [waited, follow_up.spec.id.clone()]);
}

pub async fn a_follow_up_takes_the_key_that_its_job_leaves(bench: Bench) {
    let (_, lease) = bench.start(exclusive()).await;
    let follow_up = bench.job(exclusive());
    let finish = Finish { then: vec![follow_up.clone()], ..report(lease, Verdict::Complete) };
    bench.finish_with(finish).await;
    assert_eq!(bench.state(&follow_up.spec.id).await, State::Pending);
}

pub async fn a_duplicate_takes_no_key(bench: Bench) {
    let unique = || exclusive().unique(UniqueBy::until_done("one"));
    let first = bench.add(unique()).await;
    assert!(!bench.enqueue(vec![bench.job(unique())]).await[0].is_new());
    assert_eq!(run_all(&bench).await, [first]);
    assert!(bench.enqueue(vec![bench.job(unique())]).await[0].is_new());
}

pub async fn a_unique_key_is_held_by_a_blocked_job(bench: Bench) {
    let unique = || exclusive().unique(UniqueBy::until_done("one"));
    bench.add(exclusive()).await;
    let blocked = bench.add(unique()).await;
    let refused = Enqueued::Duplicate(blocked, Some(State::Blocked));
    assert_eq!(bench.enqueue(vec![bench.job(unique())]).await, [refused]);
}

pub async fn a_long_row_of_one_key_runs_one_by_one(bench: Bench) {
    let jobs = add_all(&bench, (0..1200).map(|_| exclusive())).await;
    let mut ran = Vec::new();
    for _ in 0..20 {
        let claimed = claim(&bench, 50).await;
        assert_eq!(claimed.len(), 1);
        ran.extend(ids(&claimed));
        bench.finish(claimed[0].lease(), Verdict::Complete).await;
    }
    assert_eq!(ran, jobs[..20]);
}

pub async fn many_keys_finish_in_one_batch(bench: Bench) {
    let jobs = add_all(&bench, (0..120).map(|number| keyed(format!("key-{}", number % 60)))).await;
    let claimed = claim(&bench, 500).await;
    assert_eq!(ids(&claimed), jobs[..60]);
    let finishes = claimed.iter().map(|job| report(job.lease(), Verdict::Complete)).collect();
    bench.store.finish(finishes).await.expect("finish");
    let (mut next, mut rest) = (ids(&claim(&bench, 500).await), jobs[60..].to_vec());
    next.sort();
    rest.sort();
    assert_eq!(next, rest);
}

/// Many clients enqueue and many workers run at once: never two of one key, and nobody is left behind.
pub async fn at_most_one_job_of_a_key_runs_whoever_enqueues_and_finishes_at_once(bench: Bench) {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    const EACH: usize = 15;
    let produce = |key: &'static str| {
        let bench = bench.clone();
        async move {
            for _ in 0..EACH {
                add_all(&bench, [keyed(key)]).await;
            }
        }
    };
    join_all(KEYS.map(produce)).await;
    let (running, left) = (Mutex::new(BTreeSet::new()), AtomicUsize::new(2 * KEYS.len() * EACH));
    let work = |number: u8| {
        let (bench, running, left) = (bench.clone(), &running, &left);
        let server = if number == 0 { bench.server } else { bench.other };
        async move {
            while left.load(Ordering::Relaxed) > 0 {
                let request = ClaimRequest { server, ..bench.request_from(&[QUEUE], 2) };
                let claimed = bench.take(&request).await;
                for job in &claimed {
                    let key = job.spec.exclusive.clone().expect("a key");
                    assert!(running.lock().insert(key), "two jobs of one key run");
                }
                tokio::task::yield_now().await;
                for job in claimed {
                    running.lock().remove(job.spec.exclusive.as_ref().expect("a key"));
                    complete(&bench, job.lease()).await;
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                // Where two could not see each other, a promotion settles it.
                bench.promote().await;
            }
        }
    };
    let deadline = tokio::time::timeout(PATIENCE, join(join_all(KEYS.map(produce)), join_all([work(0), work(1)])));
    deadline.await.expect("somebody is blocked for ever");
}
