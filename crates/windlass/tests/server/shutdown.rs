//! How servers start and end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use windlass::{Client, Error, EventKind, JobContext, JobState, RawJob, Router, Server, StopCause};

use crate::{
    faulty::Op,
    log::Log,
    place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server},
};

/// A handler that ends when the test lets it.
fn gated() -> (Router, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let router = Router::new().at("*", move |_: RawJob| {
        let gate = inner.clone();
        async move {
            gate.acquire().await?.forget();
            ok(())
        }
    });
    (router, gate)
}

async fn a_shutdown_waits_for_what_runs(place: Place) {
    let (router, gate) = gated();
    let log = Log::new();
    let running = server(&place.client(), router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    let (begun, env) = (place.now(), place.env());
    tokio::spawn(async move {
        env.sleep(10 * SECOND).await;
        gate.add_permits(1);
    });
    running.shutdown().await;
    let took = place.now().since(begun);
    assert!((10 * SECOND..11 * SECOND).contains(&took), "{took:?}");
    let record = place.record(&id).await;
    assert_eq!((record.state, record.attempt, record.failures), (JobState::Completed, 1, 0));
    assert!(place.client().servers().await.unwrap().is_empty(), "it has left the register");
}

async fn what_has_not_started_is_released_at_once_and_burns_nothing(place: Place) {
    let (router, gate) = gated();
    let log = Log::new();
    let (client, line) = place.line();
    // Held back at the start: a claim that is under way when the shutdown begins.
    line.hold_back(Op::Claim);
    let running = server(&client, router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    line.called(Op::Claim, 1).await;
    let begun = place.now();
    let ended = tokio::spawn(running.shutdown());
    place.clock_turn().await;
    line.let_through(Op::Claim);
    log.wait(&id, EventKind::Released).await;
    assert!(place.now().since(begun) < 100 * MS);
    let record = place.record(&id).await;
    assert_eq!((record.state, record.failures, record.crashes, record.attempt), (JobState::Pending, 0, 0, 1));
    ended.await.unwrap();
    // Another server takes it over at once.
    gate.add_permits(1);
    let second = server(&place.client(), gated_open()).start().await.unwrap();
    place.until_state(&id, JobState::Completed).await;
    assert!(place.now().since(begun) < SECOND);
    second.shutdown().await;
}

fn gated_open() -> Router {
    Router::new().at("*", |_: RawJob| async { ok(()) })
}

async fn when_its_time_is_up_what_runs_is_stopped_and_released(place: Place) {
    let causes = Arc::new(AtomicU32::new(0));
    let counter = causes.clone();
    let router = Router::new().at("*", move |raw: RawJob, ctx: JobContext| {
        let counter = counter.clone();
        async move {
            assert_eq!(ctx.cancelled().await, StopCause::Shutdown);
            counter.fetch_add(1, Ordering::Relaxed);
            if raw.kind == "deaf" {
                std::future::pending::<()>().await;
            }
            Err::<(), _>(windlass::JobError::from("stopped early"))
        }
    });
    let log = Log::new();
    let running =
        server(&place.client(), router).shutdown_timeout(5 * SECOND).on_event(log.listener()).start().await.unwrap();
    let ids = [place.add(job("polite")).await, place.add(job("deaf")).await];
    log.wait_count(EventKind::Started, 2).await;
    let begun = place.now();
    running.shutdown().await;
    let took = place.now().since(begun);
    assert!((5 * SECOND..10 * SECOND).contains(&took), "{took:?}");
    assert_eq!(causes.load(Ordering::Relaxed), 2);
    for id in ids {
        let record = place.record(&id).await;
        assert_eq!((record.state, record.failures, record.crashes), (JobState::Pending, 0, 0));
        assert_eq!(log.of(&id).last(), Some(&(EventKind::Released, 1, Some(JobState::Pending))));
    }
}

async fn dropping_the_handle_begins_the_shutdown(place: Place) {
    let (router, gate) = gated();
    let log = Log::new();
    let running = server(&place.client(), router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    drop(running);
    let later = place.add(job("x")).await;
    gate.add_permits(2);
    place.until_state(&id, JobState::Completed).await;
    place.until(async || place.client().servers().await.unwrap().is_empty()).await;
    assert_eq!(place.record(&later).await.state, JobState::Pending);
}

async fn a_quiet_server_claims_no_more_and_finishes_what_it_has(place: Place) {
    let (router, gate) = gated();
    let log = Log::new();
    let running = server(&place.client(), router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    assert!(running.health().claiming);
    running.quiet();
    assert!(!running.health().claiming);
    // A claim that was under way may still take what comes in; time stands still until it is answered.
    place.until(async || place.client().servers().await.unwrap()[0].quiet).await;
    place.env().sleep(SECOND).await;
    let later = place.add(job("x")).await;
    gate.add_permits(2);
    place.until_state(&id, JobState::Completed).await;
    assert_eq!(place.record(&later).await.state, JobState::Pending);
    running.shutdown().await;
}

async fn a_shutdown_ends_though_the_store_is_away(place: Place) {
    let (client, line) = place.line();
    let (router, gate) = gated();
    let log = Log::new();
    let running = server(&client, router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    line.cut(true);
    gate.add_permits(1);
    let begun = place.now();
    running.shutdown().await;
    assert!(place.now().since(begun) < 20 * SECOND);
}

async fn a_shutdown_ends_though_the_store_never_answers(place: Place) {
    let (client, line) = place.line();
    let (router, gate) = gated();
    let log = Log::new();
    let running = server(&client, router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    line.silence();
    gate.add_permits(1);
    let begun = place.now();
    running.shutdown().await;
    assert!(place.now().since(begun) < 30 * SECOND);
}

async fn a_store_that_is_away_is_no_mistake_of_start(place: Place) {
    let (client, line) = place.line();
    line.cut(true);
    let running = server(&client, gated_open()).start().await.unwrap();
    assert!(!running.health().store_up);
    let id = place.add(job("x")).await;
    place.until(async || line.calls(Op::Claim) > 5).await;
    line.cut(false);
    place.until_state(&id, JobState::Completed).await;
    assert!(running.health().store_up);
    running.shutdown().await;
}

async fn a_store_that_refuses_claims_is_no_store_that_is_up(place: Place) {
    let (client, line) = place.line();
    let running = server(&client, gated_open()).start().await.unwrap();
    assert!(running.refusal().is_none());
    line.refuse_claims(true);
    let id = place.add(job("x")).await;
    place.until(async || running.refusal().is_some()).await;
    assert!(!running.health().store_up);
    line.refuse_claims(false);
    place.until_state(&id, JobState::Completed).await;
    assert!(running.refusal().is_none() && running.health().store_up);
    running.shutdown().await;
}

async fn others_see_at_once_that_a_server_is_quiet(place: Place) {
    let client = place.client();
    let running = server(&client, gated_open()).start().await.unwrap();
    let quiet = async || client.servers().await.unwrap().iter().any(|server| server.quiet);
    assert!(!quiet().await);
    let begun = place.now();
    running.quiet();
    place.until(quiet).await;
    assert!(place.now().since(begun) < 100 * MS, "{:?}", place.now().since(begun));
    running.shutdown().await;
}

async fn mistakes_are_found_at_start_and_named(place: Place) {
    let client = place.client();
    let one = || Server::new(&client, Router::new().at("a:*", |_: RawJob| async { ok(()) }));
    let mistakes: [(Server, &str); 15] = [
        (one().concurrency(0), "the concurrency is 0"),
        (one().concurrency(usize::MAX), "at most 65536 jobs"),
        (one().lease(MS), "the lease is shorter than 100 ms"),
        (one().queues([("low", 1), ("low", 2)]), "queue `low` is named twice"),
        (one().queues([("low", 0)]), "the weight of queue `low` is 0"),
        (one().queues([("", 1)]), "queue"),
        (one().kind_concurrency("a:b", 0), "the concurrency of `a:b` is 0"),
        (one().kind_concurrency("b", 1), "`b` has a concurrency but no handler"),
        (one().kind_timeout("a:b", Duration::ZERO), "the timeout of `a:b` is 0"),
        (one().timeout_cap(Duration::ZERO), "the timeout cap is 0"),
        (one().kind_timeout("", SECOND), "the pattern is empty"),
        (one().kind_retry("", windlass::RetryPolicy::asynq()), "the pattern is empty"),
        (Server::new(&client, Router::new()), "the router has no handler"),
        (
            Server::new(
                &client,
                Router::new().at("x", |_: RawJob| async { ok(()) }).at("x", |_: RawJob| async { ok(()) }),
            ),
            "two handlers are registered for `x`",
        ),
        (Server::new(&client, Router::new().at("", |_: RawJob| async { ok(()) })), "the pattern is empty"),
    ];
    for (server, text) in mistakes {
        match server.start().await {
            Err(Error::Config(message)) => assert!(message.contains(text), "`{message}` names `{text}`"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

on_every_store! {
    a_shutdown_waits_for_what_runs
    what_has_not_started_is_released_at_once_and_burns_nothing
    when_its_time_is_up_what_runs_is_stopped_and_released
    dropping_the_handle_begins_the_shutdown
    a_quiet_server_claims_no_more_and_finishes_what_it_has
    a_shutdown_ends_though_the_store_is_away
    a_shutdown_ends_though_the_store_never_answers
    a_store_that_is_away_is_no_mistake_of_start
    a_store_that_refuses_claims_is_no_store_that_is_up
    others_see_at_once_that_a_server_is_quiet
    mistakes_are_found_at_start_and_named
}

/// Runs it on a thread of its own, since what it must not do is hang.
fn ends(what: &'static str, test: impl FnOnce() + Send + 'static) {
    let (end, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        test();
        let _ = end.send(());
    });
    ended.recv_timeout(MINUTE).unwrap_or_else(|_| panic!("{what} hangs"));
}

async fn with_a_running_job() -> windlass::RunningServer {
    let client = Client::open("memory:").await.unwrap();
    let (router, _) = gated();
    let log = Log::new();
    let running = Server::new(&client, router).on_event(log.listener()).start().await.unwrap();
    let id = client.enqueue(job("x").with(|options| options.retention(HOUR))).await.unwrap().id().clone();
    log.wait(&id, EventKind::Started).await;
    running
}

#[test]
fn a_runtime_ends_though_its_server_was_only_dropped() {
    for threads in [false, true] {
        let runtime = move || {
            let mut builder = if threads {
                tokio::runtime::Builder::new_multi_thread()
            } else {
                tokio::runtime::Builder::new_current_thread()
            };
            builder.enable_all().build().unwrap()
        };
        ends("dropped inside", move || runtime().block_on(async { drop(with_a_running_job().await) }));
        ends("dropped outside", move || {
            let runtime = runtime();
            drop(runtime.block_on(with_a_running_job()));
        });
        ends("forgotten", move || std::mem::forget(runtime().block_on(with_a_running_job())));
        ends("dropped in a task", move || {
            runtime().block_on(async {
                let running = with_a_running_job().await;
                tokio::spawn(async move {
                    let _running = running;
                    std::future::pending::<()>().await;
                });
            });
        });
    }
}

#[test]
fn a_handle_dropped_on_another_thread_begins_the_shutdown() {
    ends("the shutdown", || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async { Client::open("memory:").await.unwrap() });
        let running = runtime.block_on(Server::new(&client, gated_open()).start()).unwrap();
        drop(running);
        runtime.block_on(async {
            while !client.servers().await.unwrap().is_empty() {
                client.env().sleep(MS).await;
            }
        });
    });
}
