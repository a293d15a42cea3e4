//! Putting due jobs into line: by the wall clock, the earliest first, at the end, and no more than asked for.

use super::bench::{Bench, DAY, HOUR, MINUTE, SECOND, ids};
use crate::{
    job::{JobId, JobOptions, State, Verdict},
    store::{PromoteRules, Promoted},
};

async fn promote(bench: &Bench, limit: u32) -> Promoted {
    bench.store.promote(&PromoteRules::all(limit)).await.expect("promote")
}

async fn waiting(bench: &Bench, seconds: u32) -> JobId {
    bench.add(JobOptions::new().process_in(SECOND * seconds)).await
}

pub async fn only_due_jobs_go_into_line(bench: Bench) {
    let soon = waiting(&bench, 10).await;
    let later = waiting(&bench, 20).await;
    bench.clock.advance(10 * SECOND);
    assert_eq!(promote(&bench, 10).await, Promoted { moved: 1, next_due: Some(10 * SECOND), held_back: false });
    let record = bench.record(&soon).await;
    assert_eq!((record.state, record.run_at), (State::Pending, None));
    assert_eq!((record.pending_at, record.updated_at), (Some(bench.env.wall()), bench.env.wall()));
    assert_eq!(bench.state(&later).await, State::Scheduled);
}

pub async fn nothing_that_waits_means_no_next_time(bench: Bench) {
    bench.add(JobOptions::new()).await;
    assert_eq!(promote(&bench, 10).await, Promoted { moved: 0, next_due: None, held_back: false });
}

pub async fn the_next_time_is_exact(bench: Bench) {
    waiting(&bench, 30).await;
    waiting(&bench, 20).await;
    bench.run(JobOptions::new(), Verdict::RetryIn(7 * SECOND)).await;
    bench.clock.advance(2 * SECOND);
    assert_eq!(promote(&bench, 10).await, Promoted { moved: 0, next_due: Some(5 * SECOND), held_back: false });
}

pub async fn the_limit_holds_and_what_is_left_is_due_now(bench: Bench) {
    for _ in 0..5 {
        waiting(&bench, 1).await;
    }
    bench.clock.advance(MINUTE);
    assert_eq!(
        promote(&bench, 2).await,
        Promoted { moved: 2, next_due: Some(std::time::Duration::ZERO), held_back: false }
    );
    assert_eq!(promote(&bench, 2).await.moved, 2);
    assert_eq!(promote(&bench, 2).await, Promoted { moved: 1, next_due: None, held_back: false });
    assert_eq!(bench.claim(10).await.len(), 5);
}

pub async fn the_earliest_come_first_and_all_at_the_end_of_the_line(bench: Bench) {
    let third = waiting(&bench, 3).await;
    let first = waiting(&bench, 1).await;
    let second = waiting(&bench, 2).await;
    let fresh = bench.add(JobOptions::new()).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.promote().await, 3);
    let last = bench.add(JobOptions::new()).await;
    assert_eq!(ids(&bench.claim(10).await), [fresh, first, second, third, last]);
}

pub async fn with_a_limit_the_earliest_go(bench: Bench) {
    waiting(&bench, 3).await;
    let first = waiting(&bench, 1).await;
    bench.clock.advance(MINUTE);
    assert_eq!(promote(&bench, 1).await.moved, 1);
    assert_eq!(ids(&bench.claim(10).await), [first]);
}

pub async fn a_promoted_job_keeps_its_priority(bench: Bench) {
    let urgent = bench.add(JobOptions::new().priority(10).process_in(SECOND)).await;
    let plain = bench.add(JobOptions::new()).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    assert_eq!(ids(&bench.claim(2).await), [urgent, plain]);
}

pub async fn each_job_is_promoted_once(bench: Bench) {
    for _ in 0..50 {
        waiting(&bench, 1).await;
    }
    bench.clock.advance(SECOND);
    let promoters: Vec<_> = (0..4)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { promote(&bench, 20).await.moved })
        })
        .collect();
    let mut moved = 0;
    for promoter in promoters {
        moved += promoter.await.expect("no promoter fails");
    }
    assert_eq!(moved, 50);
    assert_eq!(bench.claim(100).await.len(), 50);
}

pub async fn due_times_go_by_the_wall_clock_alone(bench: Bench) {
    let job = bench.add(JobOptions::new().process_in(HOUR)).await;
    // Two hours pass for the host, but its wall clock is set back each time.
    bench.clock.advance(2 * HOUR);
    bench.clock.step_wall_back(2 * HOUR);
    assert_eq!(promote(&bench, 10).await, Promoted { moved: 0, next_due: Some(HOUR), held_back: false });
    bench.clock.step_wall_forward(HOUR);
    assert_eq!(promote(&bench, 10).await.moved, 1);
    assert_eq!(bench.state(&job).await, State::Pending);
}

pub async fn a_step_back_puts_the_due_off(bench: Bench) {
    waiting(&bench, 10).await;
    bench.clock.step_wall_back(DAY);
    bench.clock.advance(MINUTE);
    let promoted = promote(&bench, 10).await;
    assert_eq!(promoted, Promoted { moved: 0, next_due: Some(DAY - MINUTE + 10 * SECOND), held_back: false });
}
