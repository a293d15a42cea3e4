//! The suspect: a job whose next crash is its last runs alone, so that nobody is buried for it, nor it for others.

use super::bench::{Bench, MINUTE, SECOND, ids, queue};
use crate::{
    decide::operate::Action,
    job::{DeadReason, JobId, JobOptions, KindFilter, State, Verdict},
    store::ClaimRequest,
};

/// Enqueues a job and lets it crash until it is a suspect.
async fn suspect(bench: &Bench, options: JobOptions) -> JobId {
    let (id, _) = bench.start(options).await;
    bench.crash().await;
    let again = bench.take(&bench.request_from(&["own"], 1)).await;
    assert_eq!(ids(&again), std::slice::from_ref(&id), "one crash makes no suspect");
    bench.crash().await;
    let job = bench.record(&id).await;
    assert_eq!((job.state, job.crashes), (State::Pending, 2));
    id
}

fn ask_own(bench: &Bench, suspect: bool) -> ClaimRequest {
    ClaimRequest { suspect, ..bench.request_from(&["own"], 10) }
}

pub async fn a_suspect_is_left_by_ordinary_claims_and_not_in_the_way(bench: Bench) {
    suspect(&bench, JobOptions::new()).await;
    let plain = bench.add(JobOptions::new().queue("own").priority(-5)).await;
    assert_eq!(ids(&bench.take(&ask_own(&bench, false)).await), [plain]);
}

pub async fn a_suspect_comes_alone(bench: Bench) {
    let first = suspect(&bench, JobOptions::new().priority(5)).await;
    let second = suspect(&bench, JobOptions::new()).await;
    bench.add(JobOptions::new().queue("own").priority(100)).await;
    assert_eq!(ids(&bench.take(&ask_own(&bench, true)).await), [first]);
    assert_eq!(ids(&bench.take(&ask_own(&bench, true)).await), [second]);
}

pub async fn a_claim_says_how_long_the_oldest_suspect_waits(bench: Bench) {
    bench.add(JobOptions::new().queue("own")).await;
    let job = bench.take(&ask_own(&bench, false)).await.remove(0);
    assert_eq!(bench.ask(&ask_own(&bench, false)).await.suspect_waiting, None);
    bench.finish(job.lease(), Verdict::Complete).await;
    suspect(&bench, JobOptions::new()).await;
    bench.clock.advance(3 * SECOND);
    assert_eq!(bench.ask(&ask_own(&bench, false)).await.suspect_waiting, Some(3 * SECOND));
    assert_eq!(bench.ask(&bench.request(10)).await.suspect_waiting, None, "of these queues only");
    let kinds = KindFilter::of(["other"]).expect("a pattern");
    let other = ClaimRequest { kinds, ..ask_own(&bench, false) };
    assert_eq!(bench.ask(&other).await.suspect_waiting, None, "of these kinds only");
}

pub async fn a_suspect_of_another_kind_or_a_paused_queue_is_not_given(bench: Bench) {
    suspect(&bench, JobOptions::new()).await;
    let kinds = KindFilter::of(["other"]).expect("a pattern");
    assert!(bench.take(&ClaimRequest { kinds, ..ask_own(&bench, true) }).await.is_empty());
    bench.store.pause(&queue("own"), true).await.expect("pause");
    assert!(bench.take(&ask_own(&bench, true)).await.is_empty());
    bench.store.pause(&queue("own"), false).await.expect("resume");
    assert_eq!(bench.take(&ask_own(&bench, true)).await.len(), 1);
}

pub async fn a_repeated_suspect_claim_gets_the_same_one(bench: Bench) {
    suspect(&bench, JobOptions::new()).await;
    suspect(&bench, JobOptions::new()).await;
    let request = ask_own(&bench, true);
    let first = bench.take(&request).await;
    let again = bench.take(&request).await;
    assert_eq!(super::bench::leases(&again), super::bench::leases(&first));
}

pub async fn the_third_crash_is_poison(bench: Bench) {
    let id = suspect(&bench, JobOptions::new().max_retry(0)).await;
    let lease = bench.take(&ask_own(&bench, true)).await[0].lease();
    let rescued = bench.crash().await;
    assert_eq!((rescued.len(), rescued[0].state, rescued[0].fence), (1, State::Dead, lease.fence));
    let job = bench.record(&id).await;
    assert_eq!((job.state, job.crashes, job.failures), (State::Dead, 3, 0));
    assert_eq!(job.reason.as_deref(), Some(DeadReason::Poison.as_str()));
    assert_eq!(job.completed_at, Some(bench.env.wall()));
}

pub async fn the_neighbours_of_poison_live(bench: Bench) {
    let poison = bench.add(JobOptions::new().id("poison")).await;
    let neighbours = bench.add_many(5).await;
    // The process dies twice with the poison job in hand, and others beside it.
    assert!(ids(&bench.claim(3).await).contains(&poison));
    assert_eq!(bench.crash().await.len(), 3);
    let held = bench.claim(4).await;
    for job in &held[1..3] {
        bench.finish(job.lease(), Verdict::Release).await;
    }
    assert_eq!(bench.crash().await.len(), 2);
    // The third time it has nothing beside it, although all others are in line.
    assert_eq!(bench.claim_suspect().await.spec.id, poison);
    assert_eq!(bench.crash().await.len(), 1);
    assert_eq!(bench.state(&poison).await, State::Dead);
    for neighbour in neighbours {
        assert_eq!(bench.state(&neighbour).await, State::Pending);
    }
}

pub async fn a_suspect_stays_one_through_a_retry_and_a_release(bench: Bench) {
    suspect(&bench, JobOptions::new()).await;
    let lease = bench.take(&ask_own(&bench, true)).await[0].lease();
    bench.finish(lease, Verdict::Release).await;
    assert!(bench.take(&ask_own(&bench, false)).await.is_empty());
    let lease = bench.take(&ask_own(&bench, true)).await[0].lease();
    bench.finish(lease, Verdict::RetryIn(MINUTE)).await;
    bench.clock.advance(MINUTE);
    bench.promote().await;
    assert!(bench.take(&ask_own(&bench, false)).await.is_empty());
    assert_eq!(bench.take(&ask_own(&bench, true)).await.len(), 1);
}

pub async fn a_redriven_job_is_no_suspect(bench: Bench) {
    let id = suspect(&bench, JobOptions::new()).await;
    bench.take(&ask_own(&bench, true)).await;
    bench.crash().await;
    bench.operate(&id, Action::Redrive).await;
    let job = bench.take(&ask_own(&bench, false)).await.remove(0);
    assert_eq!((&job.spec.id, job.crashes, job.attempt), (&id, 0, 1));
}
