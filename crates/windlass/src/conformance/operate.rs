//! What operators do: each action in each state has exactly the effect that `decide::operate` gives it.

use bytes::Bytes;

use super::bench::{Bench, HOUR, MINUTE, REACHABLE, SECOND, failure, id, ids, queue, report};
use crate::{
    decide::operate::{Action, Effect, effect},
    job::{Cause, DeadReason, JobOptions, Start, State, Verdict},
    store::{Finish, Operated},
};

fn actions() -> [Action; 7] {
    [
        Action::Cancel { reason: "no longer wanted".into() },
        Action::Redrive,
        Action::Bury,
        Action::Delete,
        Action::RunNow,
        Action::Edit { payload: Bytes::from_static(b"new") },
        Action::Reschedule { start: Start::In(MINUTE) },
    ]
}

pub async fn each_action_does_in_each_state_what_the_table_says(bench: Bench) {
    for action in actions() {
        for state in REACHABLE {
            let (job, lease) = bench.bring_to(state, JobOptions::new()).await;
            let operated = bench.operate(&job, action.clone()).await;
            let after = bench.get(&job).await;
            let what = format!("{action:?} of a {state} job");
            match effect(&action, state, state == State::Aggregating) {
                Effect::Become(to) => {
                    assert_eq!(operated, Operated::Done(to), "{what}");
                    assert_eq!(after.map(|job| job.state), Some(to), "{what}");
                    assert!(state.may_become(to, Cause::Operate), "{what}");
                }
                Effect::Remove => assert_eq!((operated, after.is_none()), (Operated::Removed, true), "{what}"),
                Effect::Conflict => {
                    assert_eq!(operated, Operated::Conflict { state, holder: None }, "{what}");
                    let after = after.expect("the job is still there");
                    assert_eq!((after.state, &after.spec.payload[..]), (state, &b"{}"[..]), "{what}");
                }
                Effect::Edit | Effect::AskToCancel => {
                    assert_eq!(operated, Operated::Done(state), "{what}");
                    assert_eq!(after.map(|job| job.state), Some(state), "{what}");
                }
            }
            if let Some(lease) = lease {
                bench.finish(lease, Verdict::Complete).await;
            }
            bench.operate(&job, Action::Delete).await;
        }
    }
}

pub async fn an_unknown_job_is_not_found(bench: Bench) {
    for action in actions() {
        assert_eq!(bench.operate(&id("unknown"), action).await, Operated::NotFound);
    }
}

pub async fn a_job_that_was_taken_out_of_line_is_not_claimed(bench: Bench) {
    let away = [
        Action::Cancel { reason: "x".into() },
        Action::Bury,
        Action::Delete,
        Action::Reschedule { start: Start::In(HOUR) },
    ];
    for action in away {
        let job = bench.add(JobOptions::new()).await;
        bench.operate(&job, action).await;
    }
    assert!(bench.claim(10).await.is_empty());
}

pub async fn a_waiting_job_that_was_ended_is_not_promoted(bench: Bench) {
    for action in [Action::Cancel { reason: "x".into() }, Action::Bury, Action::Delete] {
        let job = bench.add(JobOptions::new().process_in(SECOND)).await;
        bench.operate(&job, action).await;
    }
    bench.clock.advance(MINUTE);
    assert_eq!(bench.promote().await, 0);
}

pub async fn a_cancelled_job_says_why_and_when(bench: Bench) {
    let job = bench.add(JobOptions::new().process_in(HOUR)).await;
    bench.clock.advance(SECOND);
    bench.cancel(&job, "no longer wanted").await;
    let record = bench.record(&job).await;
    assert_eq!(record.reason.as_deref(), Some("no longer wanted"));
    assert_eq!((record.completed_at, record.run_at), (Some(bench.env.wall()), None));
}

pub async fn a_buried_job_says_so(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    bench.operate(&job, Action::Bury).await;
    let record = bench.record(&job).await;
    assert_eq!(record.reason.as_deref(), Some(DeadReason::Buried.as_str()));
    assert_eq!(record.completed_at, Some(bench.env.wall()));
}

pub async fn a_running_job_is_asked_to_stop(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    assert_eq!(bench.cancel(&job, "no longer wanted").await, Operated::Done(State::Running));
    let record = bench.record(&job).await;
    assert_eq!(record.cancel_requested.as_deref(), Some("no longer wanted"));
    assert_eq!((record.reason, record.completed_at), (None, None));
    assert_eq!(bench.extend(std::slice::from_ref(&lease)).await, [], "its holder keeps the lease until it has stopped");
}

pub async fn a_redrive_gives_all_attempts_again_and_keeps_the_history(bench: Bench) {
    let (job, lease) = bench.start(JobOptions::new()).await;
    bench.crash().await;
    let again = bench.take(&bench.request_from(&["own"], 1)).await.remove(0);
    assert!(again.fence > lease.fence);
    let finish = Finish { error: failure("no"), ..report(again.lease(), Verdict::RetryIn(SECOND)) };
    bench.finish_with(finish).await;
    bench.operate(&job, Action::Bury).await;
    bench.clock.advance(SECOND);
    assert_eq!(bench.operate(&job, Action::Redrive).await, Operated::Done(State::Pending));
    let record = bench.record(&job).await;
    assert_eq!((record.failures, record.crashes, record.errors.len()), (0, 0, 2));
    assert_eq!((record.reason, record.completed_at), (None, None));
    assert_eq!(record.pending_at, Some(bench.env.wall()));
    let claimed = bench.take(&bench.request_from(&["own"], 1)).await.remove(0);
    assert_eq!((claimed.attempt, claimed.failures, claimed.crashes), (1, 0, 0));
}

pub async fn a_redriven_job_goes_to_the_end_of_the_line(bench: Bench) {
    let first = bench.add(JobOptions::new()).await;
    bench.operate(&first, Action::Bury).await;
    let waiting = bench.add(JobOptions::new()).await;
    bench.operate(&first, Action::Redrive).await;
    assert_eq!(ids(&bench.claim(2).await), [waiting, first]);
}

pub async fn a_delete_counts_as_removed(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    assert_eq!(bench.operate(&job, Action::Delete).await, Operated::Removed);
    assert_eq!(bench.operate(&job, Action::Delete).await, Operated::NotFound);
    let census = bench.census().await;
    assert_eq!((census.enqueued, census.removed), (1, 1));
    assert_eq!(census.queues.iter().flat_map(|queue| queue.by_state).sum::<u64>(), 0);
}

pub async fn the_next_run_sees_an_edited_payload(bench: Bench) {
    let edit = || Action::Edit { payload: Bytes::from_static(&[0xff, 0, b'x']) };
    let pending = bench.add(JobOptions::new()).await;
    assert_eq!(bench.operate(&pending, edit()).await, Operated::Done(State::Pending));
    assert_eq!(&bench.claim_one().await.spec.payload[..], &[0xff, 0, b'x']);

    let dead = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Undecodable)).await;
    assert_eq!(bench.operate(&dead, edit()).await, Operated::Done(State::Dead));
    assert_eq!(&bench.record(&dead).await.spec.payload[..], &[0xff, 0, b'x']);
    bench.operate(&dead, Action::Redrive).await;
    let claimed = bench.take(&bench.request_from(&["own"], 1)).await;
    assert_eq!(&claimed[0].spec.payload[..], &[0xff, 0, b'x']);
}

pub async fn a_rescheduled_job_comes_at_its_new_time(bench: Bench) {
    let later = bench.env.wall().after(2 * HOUR);
    for state in [State::Pending, State::Scheduled, State::Retrying] {
        let (job, _) = bench.bring_to(state, JobOptions::new()).await;
        bench.operate(&job, Action::Reschedule { start: Start::In(MINUTE) }).await;
        assert_eq!(bench.record(&job).await.run_at, Some(bench.env.wall().after(MINUTE)));
        bench.operate(&job, Action::Reschedule { start: Start::At(later) }).await;
        assert_eq!(bench.record(&job).await.run_at, Some(later));
    }
    bench.clock.advance(2 * HOUR - SECOND);
    assert_eq!(bench.promote().await, 0, "no old time is left behind");
    bench.clock.advance(SECOND);
    assert_eq!(bench.promote().await, 3);
}

pub async fn a_job_rescheduled_for_now_is_due(bench: Bench) {
    let job = bench.add(JobOptions::new().process_in(HOUR)).await;
    bench.operate(&job, Action::Reschedule { start: Start::Now }).await;
    assert_eq!(bench.promote().await, 1);
    assert_eq!(bench.claim_one().await.spec.id, job);
}

pub async fn a_reschedule_keeps_what_the_job_has_been_through(bench: Bench) {
    let job = bench.run(JobOptions::new(), Verdict::RetryIn(HOUR)).await;
    bench.operate(&job, Action::Reschedule { start: Start::In(SECOND) }).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    let claimed = bench.take(&bench.request_from(&["own"], 1)).await.remove(0);
    assert_eq!((claimed.attempt, claimed.failures), (2, 1));
}

pub async fn run_now_puts_a_waiting_job_into_line(bench: Bench) {
    for state in [State::Scheduled, State::Retrying] {
        let (job, _) = bench.bring_to(state, JobOptions::new()).await;
        bench.clock.advance(SECOND);
        assert_eq!(bench.operate(&job, Action::RunNow).await, Operated::Done(State::Pending));
        let record = bench.record(&job).await;
        assert_eq!((record.run_at, record.pending_at), (None, Some(bench.env.wall())));
    }
    assert_eq!(bench.take(&bench.request_from(&["default", "own"], 10)).await.len(), 2);
    bench.clock.advance(2 * HOUR);
    assert_eq!(bench.promote().await, 0, "no old time is left behind");
}

pub async fn an_unknown_queue_cannot_be_paused(bench: Bench) {
    assert!(!bench.store.pause(&queue("unknown"), true).await.expect("pause"));
    assert_eq!(bench.census().await.queues, []);
}

pub async fn a_pause_is_shown_and_may_be_repeated(bench: Bench) {
    bench.add(JobOptions::new()).await;
    for paused in [true, true, false, false] {
        assert!(bench.store.pause(&queue("default"), paused).await.expect("pause"));
        assert_eq!(bench.census().await.queues[0].paused, paused);
    }
}

pub async fn a_pause_outlives_the_jobs_of_its_queue(bench: Bench) {
    let job = bench.add(JobOptions::new()).await;
    bench.store.pause(&queue("default"), true).await.expect("pause");
    bench.operate(&job, Action::Delete).await;
    bench.add(JobOptions::new()).await;
    assert!(bench.claim(10).await.is_empty());
}

pub async fn a_pause_leaves_running_jobs_alone(bench: Bench) {
    bench.add(JobOptions::new()).await;
    let job = bench.claim_one().await;
    bench.store.pause(&queue("default"), true).await.expect("pause");
    assert_eq!(bench.extend(&[job.lease()]).await, []);
    assert_eq!(bench.finish(job.lease(), Verdict::Complete).await, crate::store::Finished::Applied(State::Completed));
}

pub async fn operators_at_once_do_a_thing_once(bench: Bench) {
    let job = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Buried)).await;
    let operators: Vec<_> = (0..4)
        .map(|_| {
            let (bench, job) = (bench.clone(), job.clone());
            tokio::spawn(async move { bench.operate(&job, Action::Redrive).await })
        })
        .collect();
    let mut done = 0;
    for operator in operators {
        done += usize::from(operator.await.expect("no operator fails") == Operated::Done(State::Pending));
    }
    assert_eq!(done, 1);
    assert_eq!(bench.take(&bench.request_from(&["own"], 10)).await.len(), 1);
}
