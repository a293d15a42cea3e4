//! Exclusive jobs: of those with one key one runs at a time, whichever server takes it, whatever becomes of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use windlass::{Client, JobContext, JobState, Json, RawJob, Router};

use crate::place::{MS, Place, SECOND, job, ok, server};

#[derive(Default)]
struct Counts {
    /// How many runs of each key go on now.
    now: BTreeMap<String, usize>,
    /// The most of one key that ever did.
    most: usize,
    all: usize,
}

#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Counts>>);

impl Runs {
    fn begin(&self, key: &str) {
        let counts = &mut *self.0.lock().unwrap();
        let running = counts.now.entry(key.to_owned()).or_default();
        *running += 1;
        counts.most = counts.most.max(*running);
        counts.all += 1;
    }

    fn end(&self, key: &str) {
        *self.0.lock().unwrap().now.get_mut(key).unwrap() -= 1;
    }

    fn most_and_all(&self) -> (usize, usize) {
        let counts = self.0.lock().unwrap();
        (counts.most, counts.all)
    }

    /// The payload is the key; a job fails as often as its second word says.
    fn router(&self) -> Router {
        let runs = self.clone();
        Router::new().at("one", move |raw: RawJob, ctx: JobContext| {
            let runs = runs.clone();
            async move {
                let key = String::from_utf8_lossy(&raw.payload).into_owned();
                runs.begin(&key);
                ctx.client().env().sleep(10 * MS).await;
                runs.end(&key);
                if key.contains("fails") && ctx.attempt() == 1 { Err("once".into()) } else { ok(()) }
            }
        })
    }
}

fn of(key: &str) -> RawJob {
    let exclusive = key.to_owned();
    RawJob::new("one", format!("\"{key}\"")).with(move |options| options.exclusive(exclusive))
}

async fn one_job_of_a_key_runs_at_a_time_over_all_servers(place: Place) {
    let (runs, client) = (Runs::default(), place.client());
    let keys = ["a", "b", "c fails"];
    client.enqueue_all((0..30).map(|number| of(keys[number % 3]))).await.unwrap();
    let first = server(&client, runs.router()).concurrency(5).start().await.unwrap();
    let (other, _) = place.line();
    let second = server(&other, runs.router()).concurrency(5).start().await.unwrap();
    place.until(async || client.census().await.unwrap().removed == 30).await;
    first.shutdown().await;
    second.shutdown().await;
    assert_eq!(runs.most_and_all(), (1, 40));
}

async fn keys_do_not_wait_for_each_other(place: Place) {
    let (runs, client) = (Runs::default(), place.client());
    client.enqueue_all((0..20).map(|number| of(&format!("key {number}")))).await.unwrap();
    let running = server(&client, runs.router()).concurrency(20).start().await.unwrap();
    let begun = place.now();
    place.until(async || client.census().await.unwrap().removed == 20).await;
    let took = place.now().since(begun);
    running.shutdown().await;
    assert!(took < SECOND, "{took:?}");
}

async fn blocked(client: &Client) -> u64 {
    let queues = client.census().await.unwrap().queues;
    queues.iter().map(|queue| queue.by_state[JobState::Blocked.code() as usize]).sum()
}

async fn whoever_waits_for_a_blocked_job_gets_its_result(place: Place) {
    let client = place.client();
    let holder = client.enqueue(job("never").with(|options| options.exclusive("a"))).await.unwrap();
    async fn seven(_: RawJob) -> windlass::Result<Json<u32>> {
        ok(Json(7))
    }
    let router = Router::new().at("one", seven);
    let running = server(&client, router).start().await.unwrap();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.enqueue_and_wait(of("a")).await })
    };
    place.until(async || blocked(&client).await == 1).await;
    client.cancel(holder.id(), "it blocks").await.unwrap();
    let ended = waiting.await.unwrap().unwrap();
    running.shutdown().await;
    assert_eq!(ended.result.as_deref(), Some(&b"7"[..]));
}

on_every_store! {
    one_job_of_a_key_runs_at_a_time_over_all_servers
    keys_do_not_wait_for_each_other
    whoever_waits_for_a_blocked_job_gets_its_result
}
