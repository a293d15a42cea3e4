//! Calls whose caller stops waiting: whatever await a future is dropped at, the call was done or it was not, its repeat
//! finds out, and nobody else is held up.

use std::{
    future::{Future, poll_fn},
    task::Poll,
};

use super::bench::{Bench, HOUR, ids, report, rules};
use crate::{
    decide::operate::Action,
    job::{JobOptions, State, Verdict},
    store::{Finish, Finished, PromoteRules, Prune},
};

/// More polls than any call of a store needs.
pub(super) const POLLS: std::ops::Range<u32> = 0..20;

/// Polls a call so many times, and drops it there. What it came to, if that was enough.
pub(super) async fn polled<F: Future>(times: u32, call: F) -> Option<F::Output> {
    let (mut call, mut left) = (Box::pin(call), times);
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub async fn an_enqueue_dropped_at_any_await_is_there_whole_or_not_at_all(bench: Bench) {
    for polls in POLLS {
        let jobs = vec![bench.job(JobOptions::new()), bench.job(JobOptions::new())];
        let done = polled(polls, bench.store.enqueue(jobs.clone())).await;
        // What was sent on its way is done before what is sent after it.
        bench.add(JobOptions::new()).await;
        let first = bench.get(&jobs[0].spec.id).await.is_some();
        assert_eq!(first, bench.get(&jobs[1].spec.id).await.is_some(), "half of a call after {polls} polls");
        let answers = bench.enqueue(jobs.clone()).await;
        assert!(answers.iter().zip(&jobs).all(|(answer, job)| answer.is_new() != first && *answer.id() == job.spec.id));
        assert_eq!(bench.census().await.enqueued, 3 * u64::from(polls + 1), "nothing is doubled");
        if done.is_some() {
            return;
        }
    }
    panic!("the call never ended");
}

pub async fn a_claim_dropped_at_any_await_can_be_repeated(bench: Bench) {
    for polls in POLLS {
        let added = bench.add_many(2).await;
        let request = bench.request(2);
        let done = polled(polls, bench.store.claim(&request)).await;
        let claimed = bench.take(&request).await;
        assert_eq!(ids(&claimed), added, "the repeat after {polls} polls gets the jobs");
        for job in &claimed {
            assert_eq!(bench.finish(job.lease(), Verdict::Complete).await, Finished::Applied(State::Completed));
        }
        if done.is_some() {
            return;
        }
    }
    panic!("the call never ended");
}

pub async fn a_finish_dropped_at_any_await_is_applied_whole_or_not_at_all(bench: Bench) {
    for polls in POLLS {
        let (id, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
        let next = bench.job(JobOptions::new());
        let report = Finish { then: vec![next.clone()], ..report(lease, Verdict::Complete) };
        let done = polled(polls, bench.store.finish(vec![report.clone()])).await;
        bench.add(JobOptions::new()).await;
        let applied = bench.state(&id).await == State::Completed;
        assert_eq!(
            bench.get(&next.spec.id).await.is_some(),
            applied,
            "its follow-up comes with it, after {polls} polls"
        );
        let expected = if applied { Finished::Stale } else { Finished::Applied(State::Completed) };
        assert_eq!(bench.finish_with(report).await, expected);
        assert_eq!(bench.state(&id).await, State::Completed);
        assert!(bench.get(&next.spec.id).await.is_some());
        if done.is_some() {
            return;
        }
    }
    panic!("the call never ended");
}

pub async fn a_dropped_call_keeps_nobody_else_from_the_store(bench: Bench) {
    let (held, lease) = bench.start(JobOptions::new().retention(HOUR)).await;
    let waiting = bench.add(JobOptions::new().process_in(HOUR)).await;
    for polls in 0..4 {
        polled(polls, bench.store.extend(&bench.renewal(std::slice::from_ref(&lease)))).await;
        others_go_on(&bench).await;
        polled(polls, bench.store.promote(&PromoteRules::all(10))).await;
        others_go_on(&bench).await;
        polled(polls, bench.store.rescue(&rules())).await;
        others_go_on(&bench).await;
        polled(polls, bench.store.prune(&Prune::Expired, 10)).await;
        others_go_on(&bench).await;
        polled(polls, bench.store.operate(&waiting, &Action::RunNow)).await;
        others_go_on(&bench).await;
        polled(polls, bench.store.census()).await;
        others_go_on(&bench).await;
    }
    assert_eq!(bench.state(&held).await, State::Running);
    assert_eq!(bench.finish(lease, Verdict::Complete).await, Finished::Applied(State::Completed));
    let census = bench.census().await;
    let there: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
    assert_eq!((census.enqueued, there + census.removed), (26, 26));
}

/// Somebody else writes, and is answered.
async fn others_go_on(bench: &Bench) {
    let job = bench.job(JobOptions::new());
    assert!(bench.store.enqueue(vec![job]).await.is_ok_and(|answers| answers[0].is_new()), "others are held up");
}
