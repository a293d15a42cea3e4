//! Calls whose connection is cut at any point: before any of their requests, or after Redis has done what one asked and
//! before it could say so. Repeated with the same identity they lose nothing and do nothing twice.

use std::{cell::Cell, sync::Arc, time::Duration};

use uuid::Uuid;
use windlass::{
    JobId, JobOptions, JobState as State, LockName, NewJob, Verdict,
    store::{Enqueued, Inspect, LockReply, LockRequest, Locks, RescueRules, Store, redis::RedisStore},
    testing::job,
};

use crate::{LEASE, Place, claim, count, ended, proxy::Lose, until_answered};

const KINDS_OF_LOSS: [fn(u32) -> Lose; 2] = [Lose::Request, Lose::Reply];

/// Runs a test with the first, the second, .. request lost, then each reply, until none is left to be lost.
async fn at_every_point(test: impl AsyncFn(&Place, &RedisStore, Lose) -> ()) {
    let place = Place::start().await;
    for loss in KINDS_OF_LOSS {
        let mut points = 0;
        loop {
            // Each point in a place of its own.
            let prefix = format!("prefix=at-{}-{points}&timeout=2s", loss(0) == Lose::Reply(0));
            let store = place.open(&prefix).await;
            test(&place, &store, loss(points)).await;
            if !place.lost.get() {
                break;
            }
            points += 1;
        }
        assert!(points > 0, "the control: nothing was ever lost");
    }
}

fn jobs(place: &Place) -> Vec<NewJob> {
    let kept = || JobOptions::new().retention(LEASE * 100);
    let job_of = |queue: &str, id: Option<&str>| {
        let options = kept().queue(queue);
        job("x").options(if let Some(id) = id { options.id(id) } else { options }).build(&place.env)
    };
    // Of our own making and not; two queues, so there is a step in each.
    vec![job_of("a", None), job_of("b", Some("mine")), job_of("a", None)]
}

#[tokio::test]
async fn an_enqueue_that_is_cut_at_any_point_brings_each_job_in_once() {
    at_every_point(async |place, store, loss| {
        let jobs = jobs(place);
        let answers = place.lossy(loss, async || store.enqueue(jobs.clone()).await).await;
        let ids: Vec<&JobId> = answers.iter().map(Enqueued::id).collect();
        assert_eq!(ids, jobs.iter().map(|job| &job.spec.id).collect::<Vec<_>>());
        assert_eq!((store.census().await.unwrap().enqueued, count(store, State::Pending).await), (3, 3), "{loss:?}");
    })
    .await;
}

/// The control of the next: who asks under another number does not get what the lost reply held, until the lease is
/// over.
#[tokio::test]
async fn a_claim_that_does_not_repeat_its_number_leaves_its_jobs_behind() {
    let place = Place::start().await;
    let store = place.open("timeout=2s").await;
    store.enqueue(jobs(&place)).await.unwrap();
    let (server, sequence) = (place.env.new_server_id(), Cell::new(0));
    let numbered = || {
        sequence.set(sequence.get() + 1);
        claim(server, sequence.get(), &["a"], 10)
    };
    store.claim(&claim(server, 0, &["none"], 10)).await.unwrap();
    place.proxy.lose(Lose::Reply(0));
    let (claimed, times) = until_answered(&place.env, async || store.claim(&numbered()).await).await;
    assert_eq!((claimed.jobs.len(), times), (0, 2));
    assert_eq!(count(&store, State::Running).await, 2, "they run for nobody");
}

#[tokio::test]
async fn a_claim_that_is_cut_at_any_point_gets_its_jobs_and_no_others() {
    at_every_point(async |place, store, loss| {
        store.enqueue(jobs(place)).await.unwrap();
        let server = place.env.new_server_id();
        let request = claim(server, 1, &["a", "b"], 10);
        let claimed = place.lossy(loss, async || store.claim(&request).await).await;
        assert_eq!((claimed.jobs.len(), count(store, State::Running).await), (3, 3), "{loss:?}");
        let other = claim(server, 2, &["a", "b"], 10);
        assert!(store.claim(&other).await.unwrap().jobs.is_empty());
        assert!(claimed.jobs.iter().all(|job| job.attempt == 1 && job.crashes == 0));
    })
    .await;
}

#[tokio::test]
async fn a_finish_that_is_cut_at_any_point_is_applied_once_with_what_follows() {
    at_every_point(async |place, store, loss| {
        store.enqueue(jobs(place)).await.unwrap();
        let claimed = store.claim(&claim(place.env.new_server_id(), 1, &["a", "b"], 10)).await.unwrap();
        let mut batch: Vec<_> = claimed.jobs.iter().map(|job| ended(job.lease(), Verdict::Complete)).collect();
        batch[1].verdict = Verdict::RetryIn(LEASE);
        let then = |queue: &str| job("next").options(JobOptions::new().queue(queue)).build(&place.env);
        batch[0].then = vec![then("a"), then("c")];
        place.lossy(loss, async || store.finish(batch.clone()).await).await;
        // What was to go to another queue may still stand in the outbox; each sweep carries it.
        let rules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };
        until_answered(&place.env, async || store.rescue(&rules).await).await;
        let census = store.census().await.unwrap();
        let counts = [State::Completed, State::Retrying, State::Pending, State::Running];
        let mut found = Vec::new();
        for state in counts {
            found.push(count(store, state).await);
        }
        assert_eq!((census.enqueued, found), (5, vec![2, 1, 2, 0]), "{loss:?}");
    })
    .await;
}

#[tokio::test]
async fn calls_at_once_on_a_connection_that_is_cut_again_and_again_bring_each_job_in_once() {
    let place = Place::start().await;
    let store = Arc::new(place.open("timeout=2s").await);
    let mut callers = Vec::new();
    for caller in 0..20_u32 {
        let (store, env) = (store.clone(), place.env.clone());
        callers.push(tokio::spawn(async move {
            for _ in 0..20 {
                let jobs = vec![job("x").options(JobOptions::new().queue(format!("q{}", caller % 3))).build(&env)];
                while store.enqueue(jobs.clone()).await.is_err() {
                    env.sleep(Duration::from_millis(20)).await;
                }
            }
        }));
    }
    let mut losses = 0;
    let all = futures_util::future::join_all(callers);
    tokio::pin!(all);
    let mut lost = place.proxy.lost();
    loop {
        let point = losses * 7 % 13;
        place.proxy.lose(if losses % 2 == 0 { Lose::Reply(point) } else { Lose::Request(point) });
        tokio::select! {
            done = &mut all => {
                assert!(done.iter().all(Result::is_ok), "{done:?}");
                break;
            }
            _ = lost.changed() => losses += 1,
        }
    }
    place.proxy.keep();
    assert!(losses > 5, "the control: {losses} were lost");
    assert_eq!((store.census().await.unwrap().enqueued, count(&store, State::Pending).await), (400, 400));
}

#[tokio::test]
async fn a_lock_whose_calls_are_cut_at_any_point_is_taken_once_and_given_back() {
    at_every_point(async |place, store, loss| {
        let name = LockName::new("a").unwrap();
        let token = Uuid::from_u128(7);
        let request = LockRequest { name: name.clone(), slots: 3, token, ttl: LEASE, place: None, holder: "h".into() };
        let reply = place.lossy(loss, async || store.acquire_lock(&request).await).await;
        let LockReply::Held(fence) = reply else { panic!("{loss:?}: {reply:?}") };
        let held = async || store.locks(None, 10).await.unwrap().items.first().map_or(0, |lock| lock.held);
        assert_eq!(held().await, 1, "{loss:?}: the repeat took a slot of its own");
        assert_eq!(store.acquire_lock(&request).await.unwrap(), LockReply::Held(fence));
        place.lossy(loss, async || store.release_lock(&name, token, Some(fence)).await).await;
        assert_eq!(held().await, 0, "{loss:?}");
    })
    .await;
}
