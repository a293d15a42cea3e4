//! The cancel log: how servers learn that a job of theirs is to stop.

use super::bench::{Bench, MINUTE};
use crate::{
    job::{JobOptions, State, Verdict},
    store::{CancelLog, CancelWish, ClaimRequest, Prune},
};

async fn log(bench: &Bench, after: Option<u64>) -> CancelLog {
    bench.store.cancelled(after).await.expect("cancelled")
}

pub async fn a_wish_names_the_run_and_the_reason(bench: Bench) {
    let before = log(&bench, None).await.last;
    let (job, lease) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "no longer wanted").await;
    let after = log(&bench, Some(before)).await;
    assert_eq!(after.wishes, [CancelWish { lease, reason: "no longer wanted".into() }]);
    assert!(after.last > before);
}

pub async fn whoever_asks_first_gets_only_the_last_number(bench: Bench) {
    let (job, _) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "x").await;
    let now = log(&bench, None).await;
    assert_eq!(now.wishes, []);
    assert_eq!(log(&bench, Some(now.last)).await.wishes, []);
    assert_eq!(log(&bench, Some(now.last)).await.last, now.last);
}

pub async fn the_log_goes_on_from_any_number(bench: Bench) {
    let start = log(&bench, None).await.last;
    let mut leases = Vec::new();
    let mut numbers = vec![start];
    for _ in 0..3 {
        let (job, lease) = bench.start(JobOptions::new()).await;
        bench.cancel(&job, "x").await;
        leases.push(lease);
        numbers.push(log(&bench, None).await.last);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b));
    for (place, number) in numbers.iter().enumerate() {
        let wishes: Vec<_> = log(&bench, Some(*number)).await.wishes.into_iter().map(|wish| wish.lease).collect();
        assert_eq!(wishes, leases[place..], "oldest first, past {number}");
    }
}

pub async fn a_job_that_does_not_run_makes_no_wish(bench: Bench) {
    let before = log(&bench, None).await.last;
    for state in [State::Pending, State::Scheduled, State::Retrying, State::Completed, State::Dead] {
        let (job, _) = bench.bring_to(state, JobOptions::new()).await;
        bench.cancel(&job, "x").await;
    }
    assert_eq!(log(&bench, Some(before)).await.wishes, []);
}

pub async fn a_wish_is_read_by_every_server_and_is_kept_after_the_end(bench: Bench) {
    let before = log(&bench, None).await.last;
    let (job, lease) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "x").await;
    bench.finish(lease, Verdict::Cancel("x".into())).await;
    for _ in 0..2 {
        assert_eq!(log(&bench, Some(before)).await.wishes.len(), 1);
    }
}

pub async fn pruning_never_turns_the_numbers_back(bench: Bench) {
    let (job, _) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "x").await;
    let last = log(&bench, None).await.last;
    bench.clock.advance(400 * super::bench::DAY);
    bench.store.prune(&Prune::Expired, 100).await.expect("prune");
    assert_eq!(log(&bench, None).await.last, last);
    let (job, lease) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "y").await;
    let after = log(&bench, Some(last)).await;
    assert_eq!(after.wishes, [CancelWish { lease, reason: "y".into() }]);
    assert!(after.last > last);
}

pub async fn a_wish_ends_with_the_run_it_was_for(bench: Bench) {
    // Cancelled, redriven, and claimed again: the new run is not to be stopped.
    let (job, lease) = bench.start(JobOptions::new()).await;
    bench.cancel(&job, "x").await;
    bench.finish(lease.clone(), Verdict::RetryIn(MINUTE)).await;
    bench.operate(&job, crate::decide::operate::Action::Redrive).await;
    let request = ClaimRequest { server: bench.other, ..bench.request_from(&["own"], 1) };
    let again = bench.take(&request).await.remove(0);
    assert!(again.fence > lease.fence);
    assert_eq!(bench.record(&job).await.cancel_requested, None);
    let state = bench.finish(again.lease(), Verdict::RetryIn(MINUTE)).await;
    assert_eq!(state, crate::store::Finished::Applied(State::Retrying));
}
