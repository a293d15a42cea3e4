//! Handlers that block: on threads of their own, as many as the server has for them.

use std::sync::{
    Arc, Barrier, Mutex,
    atomic::{AtomicU32, Ordering},
    mpsc,
};

use windlass::{
    Client, Error, ErrorClass, JobContext, JobState, Json, RawJob, ResultExt, RetryPolicy, Router, Server, State,
};

use crate::place::{HOUR, MS, Place, SECOND, job, ok, server};

#[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
#[job(kind = "add", retention = "1h")]
struct Add {
    numbers: Vec<u32>,
}

fn add(job: Add, State(extra): State<u32>, ctx: JobContext) -> windlass::Result<Json<u32>> {
    assert_eq!(ctx.kind(), "add");
    Ok(Json(job.numbers.iter().sum::<u32>() + extra))
}

async fn a_plain_function_is_a_handler_with_extractors_results_and_errors(place: Place) {
    let fails = |raw: RawJob| -> windlass::Result {
        match &*raw.payload {
            b"panic" => panic!("on purpose"),
            b"bury" => Err("no use").or_bury()?,
            _ => Err("not now").or_snooze(HOUR)?,
        }
        Ok(())
    };
    let router = Router::new().job_blocking(add).with_state(100).at_blocking("fail:*", fails);
    let client = place.client();
    let running = server(&client, router).start().await.unwrap();
    let id = client.enqueue(Add { numbers: vec![1, 2, 3] }).await.unwrap().id().clone();
    assert_eq!(client.wait(&id).await.unwrap().result.as_deref(), Some(&b"106"[..]));
    for (payload, state, class) in [
        ("panic", JobState::Retrying, Some(ErrorClass::Panic)),
        ("bury", JobState::Dead, Some(ErrorClass::Buried)),
        ("snooze", JobState::Scheduled, None),
    ] {
        let id = place.add(RawJob::new("fail:x", payload)).await;
        let record = place.until_state(&id, state).await;
        assert_eq!(record.errors.last().map(|error| error.class), class, "{payload}");
    }
    let undecodable = place.add(RawJob::new("add", "{")).await;
    let record = place.until_state(&undecodable, JobState::Dead).await;
    assert_eq!(record.errors[0].class, ErrorClass::Undecodable);
    running.shutdown().await;
}

async fn no_more_is_claimed_than_there_are_free_threads(place: Place) {
    let (client, line) = place.line();
    let router = Router::new().at_blocking("cpu", |_: RawJob| ok(())).at("io", |_: RawJob| async { ok(()) });
    let running = server(&client, router).concurrency(10).blocking_threads(2).start().await.unwrap();
    for _ in 0..6 {
        place.add(job("cpu")).await;
    }
    place.until(async || client.census().await.unwrap().removed == 0 && running.health().held == 0).await;
    let rooms: Vec<_> = line.claims().iter().map(|claim| room(claim, "cpu")).collect();
    assert!(rooms.iter().all(|room| room.is_some_and(|room| room <= 2)), "{rooms:?}");
    assert!(line.claims().iter().all(|claim| room(claim, "io").is_none()));
    running.shutdown().await;
}

fn room(claim: &windlass::store::ClaimRequest, kind: &str) -> Option<u32> {
    claim.kinds.rules[claim.kinds.rule_for(kind).unwrap()].room
}

async fn blocking_handlers_without_a_thread_are_refused(place: Place) {
    let blocks = Router::new().at_blocking("x", |_: RawJob| ok(()));
    let refused = server(&place.client(), blocks).blocking_threads(0).start().await.unwrap_err();
    assert!(matches!(refused, Error::Config(text) if text.contains("0 threads")));
    let waits = Router::new().at("x", |_: RawJob| async { ok(()) });
    server(&place.client(), waits).blocking_threads(0).start().await.unwrap().shutdown().await;
}

async fn beside_a_not_found_handler_those_that_block_have_rules_of_their_own(place: Place) {
    let router = Router::new()
        .at_blocking("cpu:*", |_: RawJob| ok(Json("blocking")))
        .alias("old-cpu")
        .not_found(|_: RawJob| async { ok(Json("else")) });
    let (client, line) = place.line();
    let running = server(&client, router).blocking_threads(3).start().await.unwrap();
    for (kind, by) in [("cpu:a", "\"blocking\""), ("old-cpu", "\"blocking\""), ("x", "\"else\"")] {
        let id = place.add(job(kind)).await;
        assert_eq!(client.wait(&id).await.unwrap().result.as_deref(), Some(by.as_bytes()), "{kind}");
    }
    let claims = line.claims();
    let last = claims.last().unwrap();
    assert_eq!([room(last, "cpu:b"), room(last, "old-cpu"), room(last, "x")], [Some(3), Some(3), None]);
    running.shutdown().await;
}

on_every_store! {
    a_plain_function_is_a_handler_with_extractors_results_and_errors
    no_more_is_claimed_than_there_are_free_threads
    blocking_handlers_without_a_thread_are_refused
    beside_a_not_found_handler_those_that_block_have_rules_of_their_own
}

// On real time and real threads.

fn impatient(client: &Client, router: Router) -> Server {
    Server::new(client, router).lease(300 * MS).grace(50 * MS).retry(RetryPolicy::fixed(HOUR))
}

async fn until(holds: impl Fn() -> bool) {
    let env = windlass::Env::system();
    while !holds() {
        env.sleep(5 * MS).await;
    }
}

#[tokio::test]
async fn they_block_each_other_and_not_the_runtime() {
    let client = Client::open("memory:").await.unwrap();
    let (both, names) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(Vec::new())));
    let seen = names.clone();
    // Two that wait for each other need two threads at once, and the only thread of the runtime is needed by all.
    let router = Router::new().at_blocking("x", move |_: RawJob| {
        both.wait();
        seen.lock().unwrap().push(std::thread::current().name().map(str::to_owned));
        // What belongs to the runtime can be used.
        tokio::runtime::Handle::current().block_on(async { ok(()) })
    });
    let running = Server::new(&client, router).blocking_threads(2).start().await.unwrap();
    let ids = client.enqueue_all((0..4).map(|_| job("x").with(|o| o.retention(HOUR)))).await.unwrap();
    for id in &ids {
        assert_eq!(client.wait(id.id()).await.unwrap().state, JobState::Completed);
    }
    assert_eq!(*names.lock().unwrap(), vec![Some("windlass-blocking".to_owned()); 4]);
    running.shutdown().await;
}

#[tokio::test]
async fn one_that_ignores_its_end_leaks_its_thread_and_its_place_until_it_comes_back() {
    let client = Client::open("memory:").await.unwrap();
    let (free, wait) = mpsc::channel::<()>();
    let (wait, calls) = (Arc::new(Mutex::new(wait)), Arc::new(AtomicU32::new(0)));
    let counted = calls.clone();
    let router = Router::new()
        .at_blocking("stuck", move |_: RawJob| {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = wait.lock().unwrap().recv();
            ok(())
        })
        .at_blocking("well", |_: RawJob| ok(()))
        .at("io", |_: RawJob| async { ok(()) });
    let running = impatient(&client, router).blocking_threads(2).kind_concurrency("stuck", 1);
    let running = running.start().await.unwrap();
    let raw = |kind: &str| job(kind).with(|options| options.timeout(50 * MS).retention(HOUR));
    let id = client.enqueue(raw("stuck")).await.unwrap().id().clone();
    until(|| running.health().leaked == 1).await;
    assert_eq!(running.health().busy, 0, "the slot is free");
    let record = client.inspect(&id).await.unwrap();
    assert_eq!((record.state, record.errors[0].class), (JobState::Retrying, ErrorClass::Timeout));

    // The other thread and the slots go on; a second one of its kind would exceed the limit, so it waits.
    let second = client.enqueue(raw("stuck")).await.unwrap().id().clone();
    for kind in ["well", "io", "well"] {
        let id = client.enqueue(raw(kind)).await.unwrap().id().clone();
        assert_eq!(client.wait(&id).await.unwrap().state, JobState::Completed);
    }
    assert_eq!(client.inspect(&second).await.unwrap().state, JobState::Pending);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    free.send(()).unwrap();
    free.send(()).unwrap();
    assert_eq!(client.wait(&second).await.unwrap().state, JobState::Completed);
    until(|| running.health().leaked == 0).await;
    running.shutdown().await;
}

#[tokio::test]
async fn one_that_asks_stops_in_time() {
    let client = Client::open("memory:").await.unwrap();
    let router = Router::new().at_blocking("x", |_: RawJob, ctx: JobContext| {
        while !ctx.is_cancelled() {
            std::thread::yield_now();
        }
        ok(())
    });
    let running = impatient(&client, router).grace(60 * SECOND).start().await.unwrap();
    let raw = job("x").with(|options| options.timeout(50 * MS).max_retry(0).retention(HOUR));
    let id = client.enqueue(raw).await.unwrap().id().clone();
    let record = client.wait(&id).await.unwrap();
    assert_eq!((record.state, record.errors[0].class), (JobState::Dead, ErrorClass::Timeout));
    assert_eq!(running.health().leaked, 0);
    running.shutdown().await;
}

#[tokio::test]
async fn what_waits_for_a_thread_is_given_back_within_seconds_and_runs_elsewhere() {
    let client = Client::open("memory:").await.unwrap();
    let (free, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let router = |blocks: bool| {
        let one = |wait: Arc<Mutex<mpsc::Receiver<()>>>| {
            move |_: RawJob| {
                if blocks {
                    let _ = wait.lock().unwrap().recv();
                }
                ok(())
            }
        };
        Router::new().at_blocking("a", one(wait.clone())).at_blocking("b", one(wait.clone()))
    };
    // Two handlers are offered the one thread, so one of them gets a job without a thread for it.
    let jobs = ["a", "b"].map(|kind| job(kind).with(|options| options.retention(HOUR)));
    let ids = client.enqueue_all(jobs).await.unwrap();
    let first = Server::new(&client, router(true)).blocking_threads(1).start().await.unwrap();
    until(|| first.health().held == 2).await;
    until(|| first.health().held == 1).await;
    let second = Server::new(&client, router(false)).blocking_threads(1).start().await.unwrap();
    let record = client.wait(ids[1].id()).await.unwrap();
    assert_eq!((record.state, record.server, record.attempt), (JobState::Completed, Some(second.id()), 1));
    free.send(()).unwrap();
    assert_eq!(client.wait(ids[0].id()).await.unwrap().server, Some(first.id()));
    first.shutdown().await;
    second.shutdown().await;
}
