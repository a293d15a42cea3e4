//! Retry budgets of kinds: what is over the budget waits longer, and only waits.

use windlass::{Error, JobId, JobState, RawJob, RetryBudget, RetryPolicy, Router};

use crate::place::{HOUR, Place, SECOND, job, server};

fn failing() -> Router {
    let fails = |_: RawJob| async { Err::<(), _>(windlass::JobError::from("no")) };
    Router::new().at("x", fails).at("y", fails)
}

/// The waits of the jobs of a kind before their next attempt, in seconds, shortest first.
async fn waits(place: &Place, ids: &[JobId]) -> Vec<u64> {
    let mut waits = Vec::new();
    for id in ids {
        let record = place.until_state(id, JobState::Retrying).await;
        assert_eq!((record.failures, record.snoozes), (1, 0), "a retry over the budget burns what any retry burns");
        let failed_at = record.errors[0].at;
        waits.push((record.run_at.unwrap().since(failed_at).as_secs_f64()).round() as u64);
    }
    waits.sort_unstable();
    waits
}

async fn retries_over_the_budget_come_back_one_after_the_other(place: Place) {
    let running = server(&place.client(), failing())
        .concurrency(1)
        .retry(RetryPolicy::fixed(5 * SECOND))
        .retry_budget("x", RetryBudget::new(0.0).per_minute(6))
        .start()
        .await
        .unwrap();
    let (mut guarded, mut free) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        guarded.push(place.add(job("x")).await);
        free.push(place.add(job("y")).await);
    }
    assert_eq!(waits(&place, &guarded).await, [5, 5, 5, 5, 5, 5, 10, 20, 30, 40]);
    assert_eq!(waits(&place, &free).await, [5; 10]);
    running.shutdown().await;
}

async fn first_runs_pay_for_retries(place: Place) {
    let running = server(&place.client(), failing())
        .concurrency(1)
        .retry(RetryPolicy::fixed(5 * SECOND))
        .retry_budget("*", RetryBudget::new(0.5).per_minute(1).longest(HOUR))
        .start()
        .await
        .unwrap();
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(place.add(job("x")).await);
    }
    // One retry is there, and each first run pays for half of its own; the floor of one a minute pays for the rest.
    assert_eq!(waits(&place, &ids).await, [5, 5, 30, 60, 90, 120]);
    running.shutdown().await;
}

async fn a_budget_that_makes_no_sense_is_refused(place: Place) {
    let refused = server(&place.client(), failing()).retry_budget("x", RetryBudget::new(-1.0)).start().await;
    assert!(matches!(refused.unwrap_err(), Error::Config(text) if text.contains("retry budget of `x`")));
    let refused = server(&place.client(), failing()).retry_budget("z", RetryBudget::new(0.1)).start().await;
    assert!(matches!(refused.unwrap_err(), Error::Config(text) if text.contains("no handler")));
}

on_every_store! {
    retries_over_the_budget_come_back_one_after_the_other
    first_runs_pay_for_retries
    a_budget_that_makes_no_sense_is_refused
}
