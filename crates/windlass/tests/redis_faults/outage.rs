//! A server goes on by itself through half-open connections, cuts, restarts of Redis and outages; nothing is lost,
//! nothing runs twice and nothing is stuck.

use std::{collections::HashMap, sync::Arc, time::Duration};

use windlass::{
    Client, EventKind, JobOptions, JobState as State, RawJob, Router, RunningServer,
    store::{Inspect, Store, redis::RedisStore},
    testing::job,
};

use crate::{Place, SECOND, claim, count, log::Log, proxy::Lose, servers, soon, until_answered};

/// A server on this store, and what it tells.
async fn serve(place: &Place, store: RedisStore) -> (RunningServer, Client, Log) {
    let client = Client::builder().env(place.env.clone()).on(Arc::new(store));
    let log = Log::new();
    let router = Router::new().at("x", |_: RawJob| async { Ok::<_, windlass::JobError>(()) });
    let server = windlass::Server::new(&client, router).concurrency(10).on_event(log.listener());
    (server.start().await.expect("start"), client, log)
}

/// Enqueues so many jobs, each until it is acknowledged.
async fn add(client: &Client, place: &Place, many: usize) {
    for _ in 0..many {
        // With an id of its own, a repeat is the same job.
        let id = place.env.new_id().to_string();
        let job = || RawJob::new("x", "{}").with(|options| options.id(&*id).retention(100 * SECOND));
        let mut answer = client.enqueue(job()).await;
        while answer.is_err() {
            place.env.sleep(Duration::from_millis(20)).await;
            answer = client.enqueue(job()).await;
        }
    }
}

/// All of these have run once, and the store holds them completed.
async fn exact(client: &Client, log: &Log, many: usize) {
    soon("every job has ended", async {
        while client.census().await.map_or(0, |census| census.queues[0].by_state[State::Completed.code() as usize])
            < many as u64
        {
            client.env().sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(client.census().await.unwrap().enqueued, many as u64);
    let mut starts: HashMap<_, u32> = HashMap::new();
    log.all().iter().filter(|event| event.event == EventKind::Started).for_each(|event| {
        *starts.entry(event.id.clone()).or_default() += 1;
    });
    assert_eq!((starts.len(), starts.values().max()), (many, Some(&1)), "each ran once");
}

#[tokio::test]
async fn a_half_open_connection_is_given_up_in_time_and_the_next_call_works() {
    let place = Place::start().await;
    let store = place.open("timeout=300ms").await;
    let jobs = vec![job("x").build(&place.env)];
    place.proxy.leave_half_open();
    let refused = soon("an answer", store.enqueue(jobs.clone())).await;
    assert!(refused.unwrap_err().is_retryable());
    let (_, times) = until_answered(&place.env, async || store.enqueue(jobs.clone()).await).await;
    assert_eq!((times, count(&store, State::Pending).await), (1, 1));
}

/// The control: what ends the wait is our own limit, and nothing else would.
#[tokio::test]
async fn without_a_limit_of_our_own_a_half_open_connection_is_waited_for() {
    let place = Place::start().await;
    let store = place.open("timeout=1h").await;
    place.proxy.leave_half_open();
    let waited = tokio::time::timeout(2 * SECOND, store.census()).await;
    assert!(waited.is_err(), "it ended without an answer: {waited:?}");
}

/// The connection for hints says nothing when nothing happens, so it must be asked.
#[tokio::test]
async fn hints_come_again_after_their_connection_was_left_half_open() {
    let place = Place::start().await;
    let store = place.open("timeout=200ms").await;
    let other = RedisStore::open(&place.server.url(0), place.env.clone()).await.unwrap();
    let mut wakeups = store.wakeups();
    place.proxy.leave_half_open();
    // The end of the old connection wakes, and so does the new one when it is there.
    soon("the connection is given up", wakeups.changed()).await;
    soon("there is a new one", wakeups.changed()).await;
    wakeups.mark_seen();
    other.enqueue(vec![job("x").build(&place.env)]).await.unwrap();
    soon("a hint", wakeups.changed()).await;
}

#[tokio::test]
async fn a_server_goes_on_over_connections_that_are_cut_again_and_again() {
    let place = Place::start().await;
    let (server, client, log) = serve(&place, place.open("timeout=2s").await).await;
    let mut lost = place.proxy.lost();
    let adding = add(&client, &place, 300);
    tokio::pin!(adding);
    let mut losses = 0;
    loop {
        let point = losses * 5 % 17;
        place.proxy.lose(if losses % 3 == 0 { Lose::Request(point) } else { Lose::Reply(point) });
        tokio::select! {
            () = &mut adding => break,
            _ = lost.changed() => losses += 1,
        }
    }
    place.proxy.keep();
    assert!(losses > 5, "the control: {losses} were lost");
    exact(&client, &log, 300).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_restart_of_redis_costs_nothing_that_it_has_written() {
    let dir = tempfile::tempdir().unwrap();
    let durable = format!("--appendonly yes --appendfsync always --save '' --dir {}", dir.path().display());
    let mut place = Place::on(servers::Server::start_with(&durable)).await;
    let (server, client, log) = serve(&place, place.open("timeout=2s").await).await;
    let enqueuing = client.clone();
    let adding = tokio::spawn(async move {
        for _ in 0..15 {
            let kept = || JobOptions::new().id(enqueuing.env().new_id().to_string()).retention(100 * SECOND);
            let jobs: Vec<_> = (0..20).map(|_| RawJob::new("x", "{}").with(|_| kept())).collect();
            while enqueuing.enqueue_all(jobs.clone()).await.is_err() {
                enqueuing.env().sleep(Duration::from_millis(20)).await;
            }
        }
    });
    for round in 1..=2 {
        soon("work goes on", log.wait_count(EventKind::Finished, round * 60)).await;
        place.server.kill();
        // Its successor reads the same log of writes; only its port is another one.
        place.server = servers::Server::start_with(&durable);
        place.proxy.lead_to(place.server.port);
        place.proxy.cut();
    }
    soon("all are enqueued", adding).await.unwrap();
    exact(&client, &log, 300).await;
    server.shutdown().await;
}

/// A few seconds; `WINDLASS_OUTAGE_SECONDS` says how many.
#[tokio::test]
async fn a_server_goes_on_by_itself_after_an_outage() {
    let seconds = std::env::var("WINDLASS_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let place = Place::start().await;
    let (server, client, log) = serve(&place, place.open("timeout=2s").await).await;
    add(&client, &place, 20).await;
    soon("the first have ended", log.wait_count(EventKind::Finished, 20)).await;
    place.proxy.away(true);
    // Past the proxy, a job comes in meanwhile; nobody else could run it.
    let direct = RedisStore::open(&place.server.url(0), place.env.clone()).await.unwrap();
    let late = job("x").with(|options| options.retention(100 * SECOND)).build(&place.env);
    let id = late.spec.id.clone();
    direct.enqueue(vec![late]).await.unwrap();
    place.env.sleep(seconds * SECOND).await;
    assert_eq!(direct.get(&id).await.unwrap().unwrap().state, State::Pending, "the control");
    assert!(!server.health().store_up);
    place.proxy.away(false);
    soon("it starts", log.wait(&id, EventKind::Finished)).await;
    exact(&client, &log, 21).await;
    assert!(server.health().store_up);
    server.shutdown().await;
}

#[tokio::test]
async fn a_slow_way_to_the_store_only_costs_time() {
    let place = Place::start().await;
    let store = place.open("timeout=2s").await;
    place.proxy.delay(Duration::from_millis(30));
    store.enqueue(vec![job("x").build(&place.env)]).await.unwrap();
    let claimed = store.claim(&claim(place.env.new_server_id(), 1, &["default"], 1)).await.unwrap();
    assert_eq!(claimed.jobs.len(), 1);
}
