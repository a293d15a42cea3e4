//! What a report does to its job: every verdict, in one step, fenced, and only once.

use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, DAY, HOUR, MINUTE, SECOND, failure, id, ids, report};
use crate::{
    job::{DeadReason, ErrorClass, JobOptions, Lease, State, UniqueBy, Verdict},
    store::{Failure, Finish, Finished},
};

pub async fn a_completed_job_without_retention_is_gone(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    assert_eq!(bench.finish(lease, Verdict::Complete).await, Finished::Applied(State::Completed));
    assert!(bench.get(&job).await.is_none());
    let census = bench.census().await;
    assert_eq!((census.enqueued, census.removed), (1, 1));
}

pub async fn a_completed_job_with_retention_stays_with_its_result(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
    bench.clock.advance(SECOND);
    let result = Some(Bytes::from_static(&[0, 0xff, b'{', 0]));
    let finish = Finish { result: result.clone(), ..report(lease.clone(), Verdict::Complete) };
    assert_eq!(bench.finish_with(finish).await, Finished::Applied(State::Completed));
    let record = bench.record(&job).await;
    let now = bench.env.wall();
    assert_eq!((record.state, record.result, record.reason), (State::Completed, result, None));
    assert_eq!((record.completed_at, record.updated_at, record.lease_until), (Some(now), now, None));
    assert_eq!((record.attempt, record.failures, record.fence), (1, 0, Some(lease.fence)));
    assert_eq!(record.server, Some(bench.server), "who ran it last");
}

pub async fn a_failed_attempt_waits_for_its_retry(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    let finish = Finish { error: failure("no route: timed out"), ..report(lease, Verdict::RetryIn(MINUTE)) };
    assert_eq!(bench.finish_with(finish).await, Finished::Applied(State::Retrying));
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.failures, record.attempt), (State::Retrying, 1, 1));
    assert_eq!((record.run_at, record.completed_at), (Some(bench.env.wall().after(MINUTE)), None));
    let error = &record.errors[0];
    assert_eq!((error.class, error.attempt, error.at), (ErrorClass::Error, 1, bench.env.wall()));
    assert_eq!(error.message, "no route: timed out");
}

pub async fn a_retry_goes_to_the_end_of_the_line(bench: Bench) {
    let first = bench.add(JobOptions::new()).await;
    let lease = bench.claim_one().await.lease();
    bench.finish(lease, Verdict::RetryIn(SECOND)).await;
    let waiting = bench.add(JobOptions::new()).await;
    bench.clock.advance(SECOND);
    assert_eq!(bench.promote().await, 1);
    assert_eq!(bench.record(&first).await.run_at, None);
    assert_eq!(ids(&bench.claim(10).await), [waiting, first]);
}

pub async fn a_snooze_burns_no_attempt(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new().max_retry(0)).await;
    assert_eq!(bench.finish(lease, Verdict::Snooze(MINUTE)).await, Finished::Applied(State::Scheduled));
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.snoozes, record.failures), (State::Scheduled, 1, 0));
    assert_eq!(record.run_at, Some(bench.env.wall().after(MINUTE)));
}

pub async fn a_hundred_snoozes_then_an_error_is_a_first_failure(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    for snoozes in 0..100 {
        let claimed = bench.claim_one().await;
        assert_eq!((claimed.attempt, claimed.snoozes), (1, snoozes));
        bench.finish(claimed.lease(), Verdict::Snooze(SECOND)).await;
        bench.clock.advance(SECOND);
        assert_eq!(bench.promote().await, 1);
    }
    let claimed = bench.claim_one().await;
    assert_eq!((claimed.attempt, claimed.failures), (1, 0));
    bench.finish(claimed.lease(), Verdict::RetryIn(SECOND)).await;
    let record = bench.record(&job).await;
    assert_eq!((record.failures, record.attempt, record.snoozes), (1, 1, 100));
}

pub async fn a_release_goes_to_the_front_and_burns_nothing(bench: Bench) {
    let taken = bench.add_many(1).await;
    let waiting = bench.add_many(2).await;
    let claimed = bench.claim_one().await;
    bench.clock.advance(SECOND);
    assert_eq!(bench.finish(claimed.lease(), Verdict::Release).await, Finished::Applied(State::Pending));
    let record = bench.record(&taken[0]).await;
    assert_eq!((record.failures, record.crashes, record.snoozes), (0, 0, 0));
    assert_eq!((record.pending_at, record.lease_until), (Some(bench.env.wall()), None));
    assert!(record.errors.is_empty());
    let again = bench.claim(10).await;
    assert_eq!(ids(&again), [taken, waiting].concat());
    assert_eq!(again[0].attempt, 1);
}

pub async fn a_buried_job_is_dead_with_its_reason(bench: Bench) {
    let reasons = [
        DeadReason::Exhausted,
        DeadReason::Poison,
        DeadReason::UnknownKind,
        DeadReason::Undecodable,
        DeadReason::Deadline,
        DeadReason::Buried,
    ];
    for reason in reasons {
        let (job, lease) = bench.start(JobOptions::new()).await;
        let error = Some(Failure { class: ErrorClass::Undecodable, message: "at byte 3".into() });
        let finish = Finish { error, ..report(lease, Verdict::Bury(reason)) };
        assert_eq!(bench.finish_with(finish).await, Finished::Applied(State::Dead));
        let record = bench.record(&job).await;
        assert_eq!((record.state, record.reason.as_deref()), (State::Dead, Some(reason.as_str())));
        assert_eq!(record.completed_at, Some(bench.env.wall()));
        assert_eq!(record.errors[0].class, ErrorClass::Undecodable);
    }
}

pub async fn the_last_attempt_that_fails_is_counted(bench: Bench) {
    let exhausted = bench.run(JobOptions::new().max_retry(0), Verdict::Bury(DeadReason::Exhausted)).await;
    assert_eq!(bench.record(&exhausted).await.failures, 1);
    let too_late = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Deadline)).await;
    assert_eq!(bench.record(&too_late).await.failures, 0);
}

pub async fn a_cancelled_run_says_why(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    let verdict = Verdict::Cancel("the user left".into());
    assert_eq!(bench.finish(lease, verdict).await, Finished::Applied(State::Cancelled));
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("the user left")));
    assert_eq!(record.completed_at, Some(bench.env.wall()));
}

pub async fn the_history_keeps_the_ten_newest_errors(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    for number in 1..=13 {
        let lease = bench.claim_one().await.lease();
        let error = failure(&format!("error {number}"));
        bench.finish_with(Finish { error, ..report(lease, Verdict::RetryIn(SECOND)) }).await;
        bench.clock.advance(SECOND);
        bench.promote().await;
    }
    let errors = bench.record(&job).await.errors;
    let numbers: Vec<u32> = errors.iter().map(|error| error.attempt).collect();
    assert_eq!(numbers, (4..=13).collect::<Vec<_>>());
    assert_eq!(errors[9].message, "error 13");
}

pub async fn a_long_error_is_cut(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    let error = failure(&"é".repeat(10_000));
    bench.finish_with(Finish { error, ..report(lease, Verdict::RetryIn(SECOND)) }).await;
    let message = bench.record(&job).await.errors[0].message.clone();
    assert!(message.len() <= 8 * 1024 && message.len() > 8000);
    assert!(message.starts_with('é') && message.ends_with('…'));
}

pub async fn a_run_without_an_error_adds_none(bench: Bench) {
    let job = bench.run(JobOptions::new(), Verdict::RetryIn(SECOND)).await;
    assert!(bench.record(&job).await.errors.is_empty());
}

pub async fn follow_ups_come_in_with_the_finish(bench: Bench) {
    let (parent, lease) = bench.start(JobOptions::new()).await;
    let then = vec![bench.job_of("next", JobOptions::new().id("a")), bench.job(JobOptions::new().process_in(HOUR))];
    let later = then[1].spec.id.clone();
    bench.finish_with(Finish { then, ..report(lease, Verdict::Complete) }).await;
    assert!(bench.get(&parent).await.is_none());
    assert_eq!(bench.state(&id("a")).await, State::Pending);
    assert_eq!(bench.state(&later).await, State::Scheduled);
    assert_eq!(bench.census().await.enqueued, 3);
}

/// More than one statement, script or batch of a store holds, behind one report and behind several of one batch.
pub async fn many_follow_ups_come_in_with_their_jobs(bench: Bench) {
    let mut finishes = Vec::new();
    for many in [4500, 300, 300] {
        let (_, lease) = bench.start(JobOptions::new()).await;
        let then = (0..many).map(|_| bench.job_of("next", JobOptions::new())).collect();
        finishes.push(Finish { then, ..report(lease, Verdict::Complete) });
    }
    let done = Finished::Applied(State::Completed);
    assert_eq!(bench.store.finish(finishes).await.expect("finish"), [done; 3]);
    let census = bench.census().await;
    assert_eq!((census.enqueued, census.removed), (5103, 3));
}

pub async fn follow_ups_of_a_stale_report_do_not_come_in(bench: Bench) {
    let (_, lease) = bench.start(JobOptions::new()).await;
    bench.finish(lease.clone(), Verdict::Complete).await;
    let then = vec![bench.job(JobOptions::new().id("a"))];
    assert_eq!(bench.finish_with(Finish { then, ..report(lease, Verdict::Complete) }).await, Finished::Stale);
    assert!(bench.get(&id("a")).await.is_none());
    assert_eq!(bench.census().await.enqueued, 1);
}

pub async fn a_follow_up_that_is_already_there_is_left_as_it_is(bench: Bench) {
    bench.add_of("first", JobOptions::new().id("a")).await;
    let key = || JobOptions::new().unique(UniqueBy::until_done("key"));
    let holder = bench.add(key()).await;
    let (_, lease) = bench.start(JobOptions::new()).await;
    let then = vec![
        bench.job_of("second", JobOptions::new().id("a")),
        bench.job(key().id("refused")),
        bench.job(JobOptions::new().id("b")),
    ];
    let finish = Finish { then, ..report(lease, Verdict::Complete) };
    assert_eq!(bench.finish_with(finish).await, Finished::Applied(State::Completed));
    assert_eq!(bench.record(&id("a")).await.spec.kind.as_str(), "first");
    assert!(bench.get(&id("refused")).await.is_none());
    assert_eq!(bench.state(&id("b")).await, State::Pending);
    assert_eq!(bench.state(&holder).await, State::Pending);
}

pub async fn a_job_can_follow_itself_under_its_own_key(bench: Bench) {
    let key = || JobOptions::new().unique(UniqueBy::until_done("key"));
    let (_, lease) = bench.start(key()).await;
    let then = vec![bench.job(key().id("next"))];
    bench.finish_with(Finish { then, ..report(lease, Verdict::Complete) }).await;
    assert_eq!(bench.state(&id("next")).await, State::Pending, "the key was free before its follower came");
}

pub async fn answers_of_a_batch_come_in_its_order(bench: Bench) {
    bench.add_many(5).await;
    let jobs = bench.claim(5).await;
    bench.finish(jobs[1].lease(), Verdict::Release).await;
    let unknown = Lease { id: id("unknown"), fence: jobs[0].fence };
    let batch = vec![
        report(jobs[3].lease(), Verdict::Complete),
        report(jobs[1].lease(), Verdict::Complete),
        report(jobs[0].lease(), Verdict::RetryIn(SECOND)),
        report(unknown, Verdict::Complete),
        report(jobs[4].lease(), Verdict::Bury(DeadReason::Buried)),
        report(jobs[3].lease(), Verdict::Complete),
    ];
    let answers = bench.store.finish(batch).await.expect("finish");
    let applied = Finished::Applied;
    let expected = [
        applied(State::Completed),
        Finished::Stale,
        applied(State::Retrying),
        Finished::Stale,
        applied(State::Dead),
        Finished::Stale,
    ];
    assert_eq!(answers, expected);
    assert_eq!(bench.state(&jobs[2].spec.id).await, State::Running);
    assert_eq!(bench.store.finish(Vec::new()).await.expect("finish"), []);
}

pub async fn the_second_report_of_a_run_is_stale(bench: Bench) {
    for verdict in [Verdict::Complete, Verdict::RetryIn(HOUR), Verdict::Bury(DeadReason::Buried)] {
        let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
        let first = bench.finish(lease.clone(), verdict).await;
        let Finished::Applied(state) = first else { panic!("the first report is accepted") };
        for again in [Verdict::Complete, Verdict::Release, Verdict::Cancel("x".into())] {
            assert_eq!(bench.finish(lease.clone(), again).await, Finished::Stale);
        }
        assert_eq!(bench.state(&job).await, state);
    }
    let stats = bench.store.tallies(bench.env.wall().before(HOUR)).await.expect("tallies");
    assert_eq!(stats.lines[0].bucket.completed, 1, "and it is counted once");
}

pub async fn a_wish_to_cancel_turns_another_try_into_the_end(bench: Bench) {
    for verdict in [Verdict::RetryIn(SECOND), Verdict::Snooze(SECOND), Verdict::Release] {
        let (job, lease) = bench.start(JobOptions::new()).await;
        bench.cancel(&job, "stop it").await;
        assert_eq!(bench.finish(lease, verdict).await, Finished::Applied(State::Cancelled));
        let record = bench.record(&job).await;
        assert_eq!((record.state, record.reason.as_deref()), (State::Cancelled, Some("stop it")));
        assert_eq!((record.cancel_requested, record.run_at), (None, None));
    }
    bench.clock.advance(MINUTE);
    assert_eq!(bench.promote().await, 0);
}

pub async fn what_ended_before_the_wish_to_cancel_reached_it_keeps_its_end(bench: Bench) {
    for (verdict, state) in [(Verdict::Complete, State::Completed), (Verdict::Bury(DeadReason::Buried), State::Dead)] {
        let (job, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
        bench.cancel(&job, "too late").await;
        assert_eq!(bench.finish(lease, verdict).await, Finished::Applied(state));
        let record = bench.record(&job).await;
        assert_eq!((record.state, record.cancel_requested), (state, None));
    }
}

pub async fn the_longest_wait_does_not_overflow(bench: Bench) {
    for verdict in [Verdict::RetryIn(Duration::MAX), Verdict::Snooze(Duration::MAX)] {
        let job = bench.run(JobOptions::new(), verdict).await;
        assert!(bench.record(&job).await.run_at > Some(bench.env.wall().after(100 * 365 * DAY)));
    }
    bench.clock.advance(DAY);
    assert_eq!(bench.promote().await, 0);
}

pub async fn a_wait_of_nothing_is_due_at_once(bench: Bench) {
    for verdict in [Verdict::RetryIn(Duration::ZERO), Verdict::Snooze(Duration::ZERO)] {
        bench.run(JobOptions::new(), verdict).await;
        assert_eq!(bench.promote().await, 1);
        let job = bench.take(&bench.request_from(&["own"], 1)).await.remove(0);
        bench.finish(job.lease(), Verdict::Complete).await;
    }
}

pub async fn reports_of_one_run_at_once_are_accepted_once(bench: Bench) {
    for _ in 0..10 {
        let (_, lease) = bench.start(JobOptions::new()).await;
        let reports: Vec<_> = (0..4)
            .map(|number| {
                let (bench, lease) = (bench.clone(), lease.clone());
                let then = vec![bench.job_of("next", JobOptions::new().id(format!("{}-{number}", lease.fence)))];
                tokio::spawn(
                    async move { bench.finish_with(Finish { then, ..report(lease, Verdict::Complete) }).await },
                )
            })
            .collect();
        let mut accepted = 0;
        for report in reports {
            accepted += usize::from(report.await.expect("no report fails") != Finished::Stale);
        }
        assert_eq!(accepted, 1);
    }
    assert_eq!(bench.claim(100).await.len(), 10, "each accepted report brought one follow-up");
}
