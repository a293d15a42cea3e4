//! Breakers of kinds: what opens them, what they keep from running, and how they close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use windlass::{
    Breaker, BreakerInfo, BreakerState, Client, EventKind, JobId, JobState, RawJob, RetryPolicy, Router, RunningServer,
    Server,
};

use crate::{
    log::Log,
    place::{HOUR, MINUTE, Place, SECOND, job, ok, server},
};

/// A handler of `bank` that fails while the bank is down, and one of `mail` that never does.
#[derive(Clone, Default)]
struct Bank {
    down: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

impl Bank {
    fn down() -> Self {
        let bank = Self::default();
        bank.set_down(true);
        bank
    }

    fn set_down(&self, down: bool) {
        self.down.store(u32::from(down), Ordering::Relaxed);
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn router(&self) -> Router {
        let bank = self.clone();
        let charge = move |_: RawJob| {
            let bank = bank.clone();
            async move {
                bank.calls.fetch_add(1, Ordering::Relaxed);
                if bank.down.load(Ordering::Relaxed) == 1 { Err("the bank is down".into()) } else { ok(()) }
            }
        };
        Router::new().at("bank", charge).at("mail", |_: RawJob| async { ok(()) })
    }
}

fn guarded(client: &Client, router: Router) -> Server {
    let breaker = Breaker::new().min_calls(4).window(MINUTE).open_for(30 * SECOND);
    server(client, router).concurrency(1).retry(RetryPolicy::fixed(HOUR)).breaker("bank", breaker)
}

fn breaker(running: &RunningServer) -> BreakerInfo {
    running.health().breakers.into_iter().find(|breaker| breaker.kind == "bank").expect("bank has a breaker")
}

async fn add(place: &Place, kind: &str, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(place.add(job(kind)).await);
    }
    ids
}

async fn while_it_is_open_jobs_stay_pending_untouched_and_others_run(place: Place) {
    let (bank, log) = (Bank::down(), Log::new());
    let ids = add(&place, "bank", 8).await;
    let running = guarded(&place.client(), bank.router()).on_event(log.listener()).start().await.unwrap();
    log.wait_count(EventKind::BreakerOpened, 1).await;
    let opened = place.now();
    let mail = place.add(job("mail")).await;
    place.until_state(&mail, JobState::Completed).await;
    place.clock_turn().await;
    assert_eq!(bank.calls(), 4);
    for (place_in_line, id) in ids.iter().enumerate() {
        let record = place.record(id).await;
        let (state, failures) = if place_in_line < 4 { (JobState::Retrying, 1) } else { (JobState::Pending, 0) };
        assert_eq!((record.state, record.failures, record.crashes), (state, failures, 0), "job {place_in_line}");
    }
    let shown = breaker(&running);
    assert_eq!(shown.state, BreakerState::Open);
    let until = shown.until.expect("an open breaker says until when");
    let left = until.since(place.env().wall());
    assert!(left <= 30 * SECOND && left >= 25 * SECOND, "{left:?} of {opened:?}");
    // Others see it as soon as the next sign of life is in.
    place
        .until(async || {
            place.client().servers().await.unwrap()[0].breakers.iter().any(|other| *other == breaker(&running))
        })
        .await;
    running.shutdown().await;
}

async fn a_trial_that_fails_opens_it_again_and_one_that_ends_well_closes_it(place: Place) {
    let (bank, log) = (Bank::down(), Log::new());
    add(&place, "bank", 12).await;
    let running = guarded(&place.client(), bank.router()).on_event(log.listener()).start().await.unwrap();
    log.wait_count(EventKind::BreakerOpened, 1).await;
    let first = place.now();
    log.wait_count(EventKind::BreakerOpened, 2).await;
    assert_eq!(bank.calls(), 5, "one trial");
    let waited = place.now().since(first);
    assert!(waited >= 30 * SECOND && waited < 32 * SECOND, "{waited:?}");
    bank.set_down(false);
    log.wait_count(EventKind::BreakerClosed, 1).await;
    place.until(async || bank.calls() == 12).await;
    assert_eq!(breaker(&running).state, BreakerState::Closed);
    let states: Vec<_> = log.all().iter().map(|event| event.event).filter(|event| is_breakers(*event)).collect();
    assert_eq!(states, [EventKind::BreakerOpened, EventKind::BreakerOpened, EventKind::BreakerClosed]);
    running.shutdown().await;
}

fn is_breakers(event: EventKind) -> bool {
    matches!(event, EventKind::BreakerOpened | EventKind::BreakerClosed)
}

async fn what_was_prefetched_is_given_back_when_it_opens(place: Place) {
    let (bank, log) = (Bank::default(), Log::new());
    add(&place, "bank", 20).await;
    let running = guarded(&place.client(), bank.router()).on_event(log.listener()).start().await.unwrap();
    place.until(async || bank.calls() == 20).await;
    // Runs are short by now, so the next claim takes them all.
    bank.set_down(true);
    let ids: Vec<JobId> = {
        let client = place.client();
        let jobs = (0..100).map(|_| job("bank").with(|options| options.retention(HOUR)));
        client.enqueue_all(jobs).await.unwrap().iter().map(|queued| queued.id().clone()).collect()
    };
    log.wait_count(EventKind::BreakerOpened, 1).await;
    place.until(async || running.health().held == 0).await;
    let mut pending = 0;
    for id in &ids {
        let record = place.record(id).await;
        assert!(record.failures <= 1 && record.crashes == 0 && record.snoozes == 0);
        pending += u32::from(record.state == JobState::Pending);
    }
    let ran = bank.calls() - 20;
    assert_eq!(pending + ran, 100);
    assert!(ran < 60, "{ran} of 100 ran while everything failed");
    running.shutdown().await;
}

async fn errors_that_are_no_failures_and_snoozes_do_not_open_it(place: Place) {
    let router = Router::new().at("bank", |raw: RawJob| async move {
        match &*raw.payload {
            b"busy" => Err::<(), _>(windlass::JobError::from("busy").snooze(HOUR)),
            _ => Err(windlass::JobError::from(std::io::Error::other("closed"))),
        }
    });
    let running = guarded(&place.client(), router).is_failure(|error| !error.is::<std::io::Error>());
    let running = running.start().await.unwrap();
    for payload in ["busy", "closed", "busy", "closed", "busy", "closed", "closed", "closed"] {
        let id = place.add(RawJob::new("bank", payload)).await;
        place.until_state(&id, JobState::Scheduled).await;
    }
    assert_eq!(breaker(&running).state, BreakerState::Closed);
    running.shutdown().await;
}

async fn panics_and_timeouts_open_it(place: Place) {
    for hangs in [false, true] {
        let log = Log::new();
        let router = Router::new().at("bank", move |_: RawJob| async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            if !hangs {
                panic!("on purpose");
            }
            ok(())
        });
        let running = guarded(&place.client(), router).on_event(log.listener()).start().await.unwrap();
        let ids = add_short(&place, 4).await;
        log.wait_count(EventKind::BreakerOpened, 1).await;
        assert_eq!(breaker(&running).state, BreakerState::Open, "hangs: {hangs}");
        running.shutdown().await;
        for id in ids {
            place.until_state(&id, JobState::Retrying).await;
        }
    }
}

async fn add_short(place: &Place, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(place.add(job("bank").with(|options| options.timeout(Duration::from_millis(50)))).await);
    }
    ids
}

async fn two_kinds_under_one_pattern_have_a_breaker_each(place: Place) {
    let (bank, log) = (Bank::down(), Log::new());
    let running = server(&place.client(), bank.router())
        .concurrency(1)
        .retry(RetryPolicy::fixed(HOUR))
        .breaker("*", Breaker::new().min_calls(2))
        .on_event(log.listener())
        .start()
        .await
        .unwrap();
    add(&place, "bank", 3).await;
    log.wait_count(EventKind::BreakerOpened, 1).await;
    let mail = place.add(job("mail")).await;
    place.until_state(&mail, JobState::Completed).await;
    let states: Vec<_> = running.health().breakers.into_iter().map(|breaker| (breaker.kind, breaker.state)).collect();
    assert_eq!(states, [("bank".into(), BreakerState::Open), ("mail".into(), BreakerState::Closed)]);
    running.shutdown().await;
}

on_every_store! {
    while_it_is_open_jobs_stay_pending_untouched_and_others_run
    a_trial_that_fails_opens_it_again_and_one_that_ends_well_closes_it
    what_was_prefetched_is_given_back_when_it_opens
    errors_that_are_no_failures_and_snoozes_do_not_open_it
    panics_and_timeouts_open_it
    two_kinds_under_one_pattern_have_a_breaker_each
}
