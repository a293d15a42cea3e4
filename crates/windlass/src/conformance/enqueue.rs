//! What an enqueue promises: all or nothing, an answer for each job in order, and no double for a repeat.

use std::time::Duration;

use super::bench::{Bench, DAY, HOUR, REACHABLE, SECOND, id};
use crate::{
    decide::operate::Action,
    job::{JobOptions, State, Verdict},
    store::{Enqueued, Operated, Prune},
};

fn named(name: &str) -> JobOptions {
    JobOptions::new().id(name)
}

pub async fn answers_come_in_the_order_of_the_jobs(bench: Bench) {
    bench.add(named("b")).await;
    let answers = bench.enqueue(["a", "b", "c"].map(|name| bench.job(named(name))).to_vec()).await;
    let known = Enqueued::Duplicate(id("b"), Some(State::Pending));
    assert_eq!(answers, [Enqueued::New(id("a")), known, Enqueued::New(id("c"))]);
}

pub async fn an_enqueue_of_nothing_answers_nothing(bench: Bench) {
    assert_eq!(bench.enqueue(Vec::new()).await, []);
    assert_eq!(bench.census().await.enqueued, 0);
}

pub async fn a_reader_sees_all_of_a_call_or_none(bench: Bench) {
    const SIZE: u64 = 50;
    let writer = bench.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..20 {
            let jobs = (0..SIZE).map(|_| writer.job(JobOptions::new())).collect();
            writer.enqueue(jobs).await;
            tokio::task::yield_now().await;
        }
    });
    let mut seen = 0;
    while seen < 20 * SIZE {
        seen = bench.census().await.enqueued;
        assert_eq!(seen % SIZE, 0, "a call was seen half done");
        tokio::task::yield_now().await;
    }
    writing.await.expect("the writer does not fail");
}

pub async fn a_new_job_has_no_past(bench: Bench) {
    let job = bench.record(&bench.add(JobOptions::new()).await).await;
    assert_eq!(job.state, State::Pending);
    assert_eq!((job.attempt, job.failures, job.crashes, job.snoozes), (0, 0, 0, 0));
    assert_eq!((job.fence, &job.result, &job.reason, &job.cancel_requested), (None, &None, &None, &None));
    assert!(job.errors.is_empty());
    let now = bench.env.wall();
    assert_eq!((job.created_at, job.updated_at, job.pending_at), (now, now, Some(now)));
    assert_eq!((job.run_at, job.started_at, job.completed_at, job.lease_until), (None, None, None, None));
    assert_eq!(job.server, None);
}

pub async fn a_taken_id_is_a_duplicate_in_every_state_and_changes_nothing(bench: Bench) {
    for state in REACHABLE {
        let (taken, _) = bench.bring_to(state, named(state.as_str())).await;
        let before = bench.record(&taken).await;
        bench.clock.advance(SECOND);
        let again = bench.job_of("other", named(state.as_str()).queue("elsewhere"));
        assert_eq!(bench.enqueue(vec![again]).await, [Enqueued::Duplicate(taken.clone(), Some(state))]);
        let after = bench.record(&taken).await;
        assert_eq!((&after.spec.kind, &after.spec.queue), (&before.spec.kind, &before.spec.queue));
        assert_eq!((after.state, after.updated_at), (before.state, before.updated_at));
    }
    assert_eq!(bench.census().await.enqueued, REACHABLE.len() as u64);
}

pub async fn the_second_of_two_equal_ids_in_one_call_is_the_duplicate(bench: Bench) {
    let first = bench.job_of("first", named("a"));
    let second = bench.job_of("second", named("a"));
    let answers = bench.enqueue(vec![first, second]).await;
    assert_eq!(answers, [Enqueued::New(id("a")), Enqueued::Duplicate(id("a"), Some(State::Pending))]);
    assert_eq!(bench.record(&id("a")).await.spec.kind.as_str(), "first");
    assert_eq!(bench.census().await.enqueued, 1);
}

pub async fn a_repeat_after_a_lost_reply_does_not_double(bench: Bench) {
    let jobs: Vec<_> = (0..10).map(|_| bench.job(JobOptions::new())).collect();
    let first = bench.enqueue(jobs.clone()).await;
    let again = bench.enqueue(jobs).await;
    for (new, known) in first.iter().zip(&again) {
        assert!(new.is_new());
        assert_eq!(*known, Enqueued::Duplicate(new.id().clone(), Some(State::Pending)));
    }
    assert_eq!(bench.claim(100).await.len(), 10);
}

/// The reply was lost for long: the job has been run meanwhile.
pub async fn a_repeat_of_a_job_that_has_ended_does_not_run_it_again(bench: Bench) {
    for (number, retention) in [HOUR, 60 * DAY, 60 * DAY].into_iter().enumerate() {
        let job = bench.job(JobOptions::new().retention(retention));
        bench.enqueue(vec![job.clone()]).await;
        bench.finish(bench.claim_one().await.lease(), Verdict::Complete).await;
        let again = bench.enqueue(vec![job.clone()]).await;
        assert_eq!(again, [Enqueued::Duplicate(job.spec.id.clone(), Some(State::Completed))], "{number}");
        // Sweeps come by, as they do.
        for _ in 0..2 {
            bench.store.prune(&Prune::Expired, 100).await.expect("prune");
        }
    }
    assert!(bench.claim(10).await.is_empty());
}

pub async fn a_repeat_with_more_jobs_adds_only_those(bench: Bench) {
    let jobs: Vec<_> = (0..3).map(|_| bench.job(JobOptions::new())).collect();
    bench.enqueue(jobs[..2].to_vec()).await;
    let answers = bench.enqueue(jobs).await;
    assert_eq!(answers.iter().map(Enqueued::is_new).collect::<Vec<_>>(), [false, false, true]);
}

pub async fn a_delay_counts_from_the_stores_clock(bench: Bench) {
    bench.clock.advance(DAY);
    let waiting = bench.add(JobOptions::new().process_in(HOUR)).await;
    let job = bench.record(&waiting).await;
    assert_eq!((job.state, job.run_at, job.pending_at), (State::Scheduled, Some(bench.env.wall().after(HOUR)), None));
    assert!(bench.claim(10).await.is_empty());
}

pub async fn a_future_moment_is_waited_for(bench: Bench) {
    let at = bench.env.wall().after(HOUR);
    let waiting = bench.add(JobOptions::new().process_at(at.into())).await;
    let job = bench.record(&waiting).await;
    assert_eq!((job.state, job.run_at), (State::Scheduled, Some(at)));
}

pub async fn a_past_moment_means_at_once(bench: Bench) {
    let at = bench.env.wall().before(HOUR);
    let due = bench.add(JobOptions::new().process_at(at.into())).await;
    assert_eq!(bench.state(&due).await, State::Pending);
    assert_eq!(bench.claim_one().await.spec.id, due);
}

pub async fn the_longest_delay_does_not_overflow(bench: Bench) {
    let far = bench.add(JobOptions::new().process_in(Duration::MAX)).await;
    let job = bench.record(&far).await;
    assert_eq!(job.state, State::Scheduled);
    assert!(job.run_at > Some(bench.env.wall().after(100 * 365 * DAY)));
    bench.clock.advance(100 * 365 * DAY);
    assert_eq!(bench.promote().await, 0);
}

pub async fn the_id_of_a_deleted_job_is_free(bench: Bench) {
    let first = bench.add(named("a")).await;
    assert_eq!(bench.operate(&first, Action::Delete).await, Operated::Removed);
    bench.add(named("a")).await;
    assert_eq!(bench.state(&first).await, State::Pending);
    assert_eq!(bench.claim(10).await.len(), 1);
}

pub async fn the_id_of_a_job_that_completed_and_was_removed_is_free(bench: Bench) {
    bench.run(named("a"), Verdict::Complete).await;
    let again = bench.add(named("a")).await;
    let job = bench.record(&again).await;
    assert_eq!((job.attempt, job.fence), (0, None), "it is another job");
}

pub async fn clients_that_enqueue_the_same_id_at_once_make_one_job(bench: Bench) {
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.enqueue(vec![bench.job(named("a"))]).await.remove(0) })
        })
        .collect();
    let mut new = 0;
    for call in calls {
        new += usize::from(call.await.expect("no call fails").is_new());
    }
    assert_eq!(new, 1);
    assert_eq!(bench.claim(10).await.len(), 1);
}
