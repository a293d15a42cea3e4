//! Runs that take too long: told first, dropped after the grace, leaked when they do not even yield.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use windlass::{Client, ErrorClass, EventKind, JobContext, JobState, RawJob, RetryPolicy, Router, Server, StopCause};

use crate::{
    log::Log,
    place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server},
};

/// When something happened, by the place's clock.
type Times = Arc<Mutex<Vec<(&'static str, Duration)>>>;

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A handler that notes when it is told to stop, goes on, and notes when it is dropped.
fn deaf(place: &Place, times: &Times) -> Router {
    let (clock, times, from) = (place.clock.clone(), times.clone(), place.now());
    Router::new().at("*", move |_: RawJob, ctx: JobContext| {
        use windlass::Host;
        let (clock, times) = (clock.clone(), times.clone());
        let note = move |what| times.lock().unwrap().push((what, clock.monotonic().since(from)));
        async move {
            let dropped = note.clone();
            let _note = OnDrop(move || dropped("dropped"));
            note(match ctx.cancelled().await {
                StopCause::Timeout => "timeout",
                StopCause::Deadline => "deadline",
                _ => "other",
            });
            std::future::pending::<()>().await;
            ok(())
        }
    })
}

fn about(time: Duration) -> std::ops::RangeInclusive<Duration> {
    time..=time + 20 * MS
}

async fn a_handler_is_told_first_and_dropped_after_the_grace(place: Place) {
    let times = Times::default();
    let running = server(&place.client(), deaf(&place, &times)).grace(3 * SECOND).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.timeout(10 * SECOND))).await;
    let record = place.until_state(&id, JobState::Retrying).await;
    running.shutdown().await;
    assert_eq!((record.failures, record.errors[0].class), (1, ErrorClass::Timeout));
    let times = times.lock().unwrap().clone();
    assert_eq!([times[0].0, times[1].0], ["timeout", "dropped"]);
    assert!(about(10 * SECOND).contains(&times[0].1) && about(13 * SECOND).contains(&times[1].1), "{times:?}");
}

async fn the_deadline_stops_a_run_that_began_in_time(place: Place) {
    let times = Times::default();
    let running = server(&place.client(), deaf(&place, &times)).start().await.unwrap();
    let deadline = place.env().wall().after(10 * SECOND);
    let id = place.add(job("x").with(|options| options.deadline(deadline))).await;
    let record = place.client().wait(&id).await.unwrap();
    running.shutdown().await;
    assert_eq!((record.state, record.reason.as_deref()), (JobState::Dead, Some("deadline")));
    assert_eq!(times.lock().unwrap()[0].0, "deadline");
}

async fn a_server_only_shortens_timeouts(place: Place) {
    // The job's own, the kind's, the cap, and what holds.
    for (own, of_kind, cap, holds) in [(20, 10, 15, 10), (20, 30, 15, 15), (5, 10, 15, 5), (20, 30, 40, 20)] {
        let times = Times::default();
        let router = deaf(&place, &times);
        let running = server(&place.client(), router)
            .kind_timeout("x:*", of_kind * SECOND)
            .timeout_cap(cap * SECOND)
            .start()
            .await
            .unwrap();
        let id = place.add(job("x:y").with(|options| options.timeout(own * SECOND).max_retry(0))).await;
        place.client().wait(&id).await.unwrap();
        running.shutdown().await;
        let told = times.lock().unwrap()[0].1;
        assert!(about(holds * SECOND).contains(&told), "{own} {of_kind} {cap}: {told:?}");
    }
}

async fn a_timeout_counts_from_the_start_though_the_first_poll_took_long(place: Place) {
    let times = Times::default();
    let (clock, inner) = (place.clock.clone(), deaf(&place, &times));
    let layer = windlass::middleware::from_fn(move |ctx: JobContext, next: windlass::middleware::Next| {
        clock.skip(5 * SECOND);
        next.run(ctx)
    });
    let running = server(&place.client(), inner.layer(layer)).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.timeout(8 * SECOND).max_retry(0))).await;
    place.client().wait(&id).await.unwrap();
    running.shutdown().await;
    let told = times.lock().unwrap()[0].1;
    assert!(about(8 * SECOND).contains(&told), "{told:?}");
}

async fn what_a_handler_returns_after_its_timeout_does_not_count(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.cancelled().await;
        ok(())
    });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.timeout(SECOND).max_retry(0))).await;
    let record = place.client().wait(&id).await.unwrap();
    running.shutdown().await;
    assert_eq!((record.state, record.errors[0].class), (JobState::Dead, ErrorClass::Timeout));
}

on_every_store! {
    a_handler_is_told_first_and_dropped_after_the_grace
    the_deadline_stops_a_run_that_began_in_time
    a_server_only_shortens_timeouts
    a_timeout_counts_from_the_start_though_the_first_poll_took_long
    what_a_handler_returns_after_its_timeout_does_not_count
}

/// On real time: a slot of this server, whose handler blocks its thread until told otherwise.
fn impatient(client: &Client, router: Router) -> Server {
    Server::new(client, router).concurrency(1).lease(300 * MS).grace(50 * MS).retry(RetryPolicy::fixed(Duration::ZERO))
}

async fn until(holds: impl Fn() -> bool) {
    let env = windlass::Env::system();
    while !holds() {
        env.sleep(5 * MS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_never_yields_leaks_its_slot_until_it_comes_back() {
    let client = Client::open("memory:").await.unwrap();
    let (free, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let blocks = Router::new().at("x", move |_: RawJob| {
        let wait = wait.clone();
        async move {
            let _ = wait.lock().unwrap().recv();
            ok(())
        }
    });
    let log = Log::new();
    let first = impatient(&client, blocks).on_event(log.listener()).start().await.unwrap();
    let raw = |kind: &str| job(kind).with(|options| options.timeout(50 * MS).retention(HOUR));
    let id = client.enqueue(raw("x")).await.unwrap().id().clone();
    until(|| first.health().leaked == 1).await;
    assert_eq!((first.health().busy, first.health().slots), (1, 1));
    let seen = loop {
        let servers = client.servers().await.unwrap();
        match servers.iter().find(|server| server.leaked == 1) {
            Some(server) => break server.clone(),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(seen.id, first.id());

    // The job runs elsewhere, and so does the next one: the slot is not used again.
    let well = Router::new().at("x", |_: RawJob| async { ok(()) });
    let second = impatient(&client, well).start().await.unwrap();
    let record = client.wait(&id).await.unwrap();
    assert_eq!((record.state, record.failures, record.crashes), (JobState::Completed, 1, 0));
    assert_eq!(record.errors[0].class, ErrorClass::Timeout);
    let next = client.enqueue(raw("x")).await.unwrap().id().clone();
    assert_eq!(client.wait(&next).await.unwrap().server, Some(second.id()));
    second.shutdown().await;

    drop(free);
    until(|| first.health().leaked == 0 && first.health().busy == 0).await;
    log.wait(&id, EventKind::Stale).await;
    let last = client.enqueue(raw("x")).await.unwrap().id().clone();
    assert_eq!(client.wait(&last).await.unwrap().server, Some(first.id()));
    first.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_never_yields_can_ask_whether_its_time_is_over() {
    let client = Client::open("memory:").await.unwrap();
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        while !ctx.is_cancelled() {
            std::thread::yield_now();
        }
        assert_eq!(ctx.stop_cause(), Some(StopCause::Timeout));
        ok(())
    });
    let running = impatient(&client, router).grace(MINUTE).start().await.unwrap();
    let raw = job("x").with(|options| options.timeout(50 * MS).max_retry(0).retention(HOUR));
    let id = client.enqueue(raw).await.unwrap().id().clone();
    let record = client.wait(&id).await.unwrap();
    assert_eq!((record.state, record.errors[0].class), (JobState::Dead, ErrorClass::Timeout));
    assert_eq!(running.health().leaked, 0);
    running.shutdown().await;
}
