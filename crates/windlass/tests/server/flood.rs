//! More due jobs than a server gets through: fresh ones do not wait for them, nor they for all fresh ones.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::{Client, JobContext, JobOptions, Monotonic, RawJob, Router};

use crate::place::{MS, Place, SECOND, ok, server};

/// What ran, in order: its payload, and when it began.
#[derive(Clone, Default)]
struct Ran(Arc<Mutex<Vec<(String, Monotonic)>>>);

impl Ran {
    /// Each run takes ten milliseconds.
    fn router(&self) -> Router {
        let ran = self.clone();
        Router::new().at("one", move |raw: RawJob, ctx: JobContext| {
            let ran = ran.clone();
            async move {
                let env = ctx.client().env().clone();
                ran.0.lock().unwrap().push((String::from_utf8_lossy(&raw.payload).into(), env.monotonic()));
                env.sleep(10 * MS).await;
                ok(())
            }
        })
    }

    fn began(&self, payload: &str) -> Option<Monotonic> {
        self.0.lock().unwrap().iter().find(|(ran, _)| ran == payload).map(|(_, at)| *at)
    }

    fn payloads(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(payload, _)| payload.clone()).collect()
    }
}

async fn add(client: &Client, payloads: impl IntoIterator<Item = String>, options: fn(JobOptions) -> JobOptions) {
    client.enqueue_all(payloads.into_iter().map(|payload| RawJob::new("one", payload).with(options))).await.unwrap();
}

fn numbered(name: &str, many: usize) -> impl Iterator<Item = String> {
    (0..many).map(move |number| format!("\"{name} {number}\""))
}

async fn removed(place: &Place, count: u64) {
    place.until(async || place.client().census().await.unwrap().removed == count).await;
}

/// Five slots get through 500 jobs a second, so 600 due ones take more than a second.
async fn a_fresh_job_does_not_wait_for_a_flood_of_due_ones(place: Place) {
    let (ran, client) = (Ran::default(), place.client());
    add(&client, numbered("due", 600), |options| options.process_in(SECOND)).await;
    let running = server(&client, ran.router()).concurrency(5).start().await.unwrap();
    client.env().sleep(1100 * MS).await;
    let mut called = Vec::new();
    for fresh in numbered("fresh", 20) {
        called.push((fresh.clone(), client.env().monotonic()));
        add(&client, [fresh], |options| options).await;
        client.env().sleep(20 * MS).await;
    }
    removed(&place, 620).await;
    running.shutdown().await;
    let order = ran.payloads();
    assert_eq!(order.len(), 620);
    assert!(order.iter().rposition(|payload| payload.contains("fresh")).unwrap() < 450, "the flood was over before");
    let waited = |(fresh, called): (String, Monotonic)| ran.began(&fresh).unwrap().since(called);
    let longest = called.into_iter().map(waited).max().unwrap();
    // Four for each slot in line, 50 ms of work held in advance, and the polls between.
    assert!(longest < Duration::from_millis(250), "{longest:?}");
}

async fn due_jobs_do_not_wait_for_all_fresh_ones(place: Place) {
    let (ran, client) = (Ran::default(), place.client());
    add(&client, numbered("due", 60), |options| options.process_in(SECOND)).await;
    client.env().sleep(SECOND).await;
    add(&client, numbered("first", 200), |options| options).await;
    let running = server(&client, ran.router()).concurrency(5).start().await.unwrap();
    place.until(async || ran.payloads().len() >= 150).await;
    add(&client, numbered("second", 300), |options| options).await;
    removed(&place, 560).await;
    running.shutdown().await;
    let order = ran.payloads();
    let before =
        order.iter().take_while(|payload| !payload.contains("second")).filter(|payload| payload.contains("due"));
    let before = before.count();
    assert!(before >= 30, "{before} due jobs came into line while two hundred fresh ones stood there");
}

on_every_store! {
    a_fresh_job_does_not_wait_for_a_flood_of_due_ones
    due_jobs_do_not_wait_for_all_fresh_ones
}
