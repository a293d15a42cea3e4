//! Tower's layers around handlers: a timeout, limits, load shedding, and one that traces.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use tower::{
    Layer, Service,
    limit::{ConcurrencyLimitLayer, RateLimitLayer},
    load_shed::{LoadShedLayer, error::Overloaded},
    timeout::TimeoutLayer,
};
use windlass::{
    JobContext, JobError, JobState, Outcome, RawJob, ResultExt, RetryPolicy, Router,
    middleware::{self, Call, HandlerError},
};

use crate::place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server};

/// Sleeps a second, and notes how many did at once at most.
fn sleeper(most: &Arc<AtomicU32>) -> Router {
    let (now, most) = (Arc::new(AtomicU32::new(0)), most.clone());
    let sleeps = move |_: RawJob, ctx: JobContext| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            ctx.client().env().sleep(SECOND).await;
            now.fetch_sub(1, Ordering::Relaxed);
            ok(())
        }
    };
    Router::new().at("a", sleeps.clone()).at("b", sleeps)
}

async fn add(place: &Place, kinds: &[&str]) -> Vec<windlass::JobId> {
    let mut ids = Vec::new();
    for kind in kinds {
        ids.push(place.add(job(kind)).await);
    }
    ids
}

async fn a_timeout_of_a_layer_fails_the_attempt(place: Place) {
    let router = sleeper(&Arc::default()).layer(middleware::tower(TimeoutLayer::new(100 * MS)));
    let running = server(&place.client(), router).start().await.unwrap();
    let began = place.now();
    let id = place.add(job("a")).await;
    let record = place.until_state(&id, JobState::Retrying).await;
    assert_eq!((record.failures, &*record.errors[0].message), (1, "request timed out"));
    assert!(place.now().since(began) < SECOND);
    running.shutdown().await;
}

async fn a_concurrency_limit_holds_for_all_handlers_that_it_wraps(place: Place) {
    let most = Arc::default();
    let router = sleeper(&most).layer(middleware::tower(ConcurrencyLimitLayer::new(2)));
    let running = server(&place.client(), router).start().await.unwrap();
    let began = place.now();
    for id in add(&place, &["a", "b", "a", "b", "a", "b"]).await {
        place.until_state(&id, JobState::Completed).await;
    }
    assert_eq!(most.load(Ordering::Relaxed), 2);
    let took = place.now().since(began);
    assert!(took >= 3 * SECOND && took < 5 * SECOND, "{took:?}");
    running.shutdown().await;
}

async fn a_rate_limit_which_is_not_clone_lets_them_through_in_turn(place: Place) {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = starts.clone();
    let router = Router::new().at("a", move |_: RawJob, ctx: JobContext| {
        seen.lock().unwrap().push(ctx.client().env().monotonic());
        async { ok(()) }
    });
    let router = router.layer(middleware::tower(RateLimitLayer::new(2, MINUTE)));
    let running = server(&place.client(), router).start().await.unwrap();
    for id in add(&place, &["a"; 6]).await {
        place.until_state(&id, JobState::Completed).await;
    }
    let starts = starts.lock().unwrap().clone();
    for pair in starts.windows(3) {
        assert!(pair[2].since(pair[0]) >= MINUTE - SECOND, "{starts:?}");
    }
    running.shutdown().await;
}

async fn an_overload_can_be_put_off_instead(place: Place) {
    let shed = middleware::tower(tower::layer::util::Stack::new(ConcurrencyLimitLayer::new(1), LoadShedLayer::new()));
    let shed = shed.on_error(|error| {
        let overloaded = error.is::<Overloaded>();
        let error = JobError::from(error);
        if overloaded { error.snooze(HOUR) } else { error }
    });
    let most = Arc::default();
    let running = server(&place.client(), sleeper(&most).layer(shed)).start().await.unwrap();
    let ids = add(&place, &["a", "b", "a"]).await;
    let mut states = Vec::new();
    for id in &ids {
        place.until(async || !matches!(place.record(id).await.state, JobState::Pending | JobState::Running)).await;
        let record = place.record(id).await;
        states.push((record.state, record.failures, record.snoozes));
    }
    states.sort_by_key(|(_, _, snoozes)| *snoozes);
    use JobState::{Completed, Scheduled};
    assert_eq!(states, [(Completed, 0, 0), (Scheduled, 0, 1), (Scheduled, 0, 1)]);
    assert_eq!(most.load(Ordering::Relaxed), 1);
    running.shutdown().await;
}

/// As tower's own layers for traces do it: sees the request, the response and the error.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

#[derive(Clone)]
struct Traced<S>(Trace, S);

impl<S> Layer<S> for Trace {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced(self.clone(), inner)
    }
}

impl<S: Service<Call, Response = Outcome>> Service<Call> for Traced<S>
where
    S::Error: Into<windlass::BoxError>,
    S::Future: Send + 'static,
{
    type Response = Outcome;
    type Error = windlass::BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, windlass::BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.1.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let (trace, kind) = (self.0.0.clone(), call.context().kind().to_owned());
        let answer = self.1.call(call);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            let text = match &answer {
                Ok(_) => "well".to_owned(),
                Err(error) => format!("{error} ({})", error.is::<HandlerError>()),
            };
            trace.lock().unwrap().push(format!("{kind}: {text}"));
            answer
        })
    }
}

async fn a_layer_sees_errors_of_handlers_and_what_they_ask_for_survives_it(place: Place) {
    let trace = Trace::default();
    let fails = |raw: RawJob| async move {
        match &*raw.payload {
            b"bury" => Err(std::io::Error::other("broken")).or_bury()?,
            b"snooze" => Err("later").or_snooze(MINUTE)?,
            b"undecodable" => drop(serde_json::from_slice::<u32>(b"x")?),
            _ => {}
        }
        ok(())
    };
    let router = Router::new().at("x", fails).layer(middleware::tower(trace.clone()));
    let running = server(&place.client(), router).retry(RetryPolicy::fixed(HOUR)).start().await.unwrap();
    for (payload, state) in [
        ("well", JobState::Completed),
        ("bury", JobState::Dead),
        ("snooze", JobState::Scheduled),
        ("undecodable", JobState::Retrying),
    ] {
        let id = place.add(RawJob::new("x", payload)).await;
        place.until_state(&id, state).await;
    }
    let seen = trace.0.lock().unwrap().clone();
    assert_eq!(seen[..3], ["x: well", "x: broken (true)", "x: later (true)"]);
    running.shutdown().await;
}

on_every_store! {
    a_timeout_of_a_layer_fails_the_attempt
    a_concurrency_limit_holds_for_all_handlers_that_it_wraps
    a_rate_limit_which_is_not_clone_lets_them_through_in_turn
    an_overload_can_be_put_off_instead
    a_layer_sees_errors_of_handlers_and_what_they_ask_for_survives_it
}
