//! Which handler runs a kind, with what around it.

use std::sync::{Arc, Mutex};

use windlass::{
    Client, Error, Extension, FromJob, FromRef, JobContext, JobOptions, JobState, Json, Outcome, RawJob, Router, State,
    Unique, UniqueMode,
    middleware::{self, Next},
};

use crate::place::{HOUR, MINUTE, Place, SECOND, job, ok, server};

/// Runs one job and answers the text that its handler returned.
async fn answer(client: &Client, kind: &str) -> String {
    let raw = job(kind).with(|options| options.retention(HOUR));
    let id = client.enqueue(raw).await.unwrap().id().clone();
    let record = client.wait(&id).await.unwrap();
    match record.result {
        Some(result) => serde_json::from_slice(&result).unwrap(),
        None => record.errors.last().map(|error| error.message.clone()).unwrap_or_default(),
    }
}

fn says(router: Router, pattern: &str, text: &'static str) -> Router {
    router.at(pattern, move |_: RawJob| async move { ok(Json(text)) })
}

async fn the_best_match_runs_a_kind(place: Place) {
    let router = says(Router::new(), "image:*", "short");
    let router = says(router, "image:big:*", "long");
    let router = says(router, "image:big:png", "exact").alias("picture:png");
    let router = router.not_found(|raw: RawJob| async move { ok(Json(format!("no {}", raw.kind))) });
    let client = place.client();
    let running = server(&client, router).start().await.unwrap();
    for (kind, by) in [
        ("image:big:png", "exact"),
        ("image:big:jpg", "long"),
        ("image:small", "short"),
        ("picture:png", "exact"),
        ("imag", "no imag"),
    ] {
        assert_eq!(answer(&client, kind).await, by, "{kind}");
    }
    running.shutdown().await;
}

async fn kinds_without_a_handler_stay_pending_untouched_until_a_server_has_one(place: Place) {
    let (client, line) = place.line();
    let running = server(&client, says(Router::new(), "known", "x")).start().await.unwrap();
    let id = place.add(job("unknown")).await;
    assert_eq!(answer(&client, "known").await, "x");
    place.clock_turn().await;
    let record = place.record(&id).await;
    assert_eq!((record.state, record.attempt, record.fence), (JobState::Pending, 0, None));
    assert!(line.claims().iter().all(|claim| claim.kinds.rule_for("unknown").is_none()));
    let second = server(&place.client(), says(Router::new(), "unknown", "y")).start().await.unwrap();
    assert_eq!(place.until_state(&id, JobState::Completed).await.server, Some(second.id()));
    second.shutdown().await;
    running.shutdown().await;
}

async fn a_merged_router_brings_all_it_has(place: Place) {
    #[derive(Clone)]
    struct Ours(&'static str);
    #[derive(Clone)]
    struct Theirs(&'static str);
    let theirs = Router::new()
        .at("theirs", |_: RawJob, Extension(Theirs(text)): Extension<Theirs>| async move { ok(Json(text)) })
        .at("both", |_: RawJob, Extension(Ours(text)): Extension<Ours>| async move { ok(Json(text)) })
        .not_found(|_: RawJob| async { ok(Json("nobody")) })
        .extension(Theirs("theirs"))
        .extension(Ours("not ours"));
    let router = says(Router::new().extension(Ours("ours")), "ours", "plain").merge(theirs);
    let client = place.client();
    let running = server(&client, router).start().await.unwrap();
    for (kind, text) in [("ours", "plain"), ("theirs", "theirs"), ("both", "ours"), ("else", "nobody")] {
        assert_eq!(answer(&client, kind).await, text);
    }
    running.shutdown().await;
}

async fn two_handlers_for_one_kind_are_refused(place: Place) {
    let twice = |first: &str, second: &str| says(says(Router::new(), first, "a"), second, "b");
    let merged = || says(Router::new(), "x", "a").merge(says(Router::new(), "x", "b"));
    for router in [twice("x", "x"), twice("x:*", "x:*"), says(Router::new(), "x", "a").alias("x"), merged()] {
        let refused = server(&place.client(), router).start().await.unwrap_err();
        assert!(matches!(&refused, Error::Config(text) if text.contains("two handlers")), "{refused}");
    }
    let running = server(&place.client(), twice("x", "x*")).start().await.unwrap();
    running.shutdown().await;
}

async fn an_extension_that_nobody_gave_is_an_error_with_advice(place: Place) {
    #[derive(Clone)]
    struct Missing;
    let router = Router::new().at("x", |_: RawJob, _: Extension<Missing>| async { ok(()) });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x")).await;
    let record = place.until_state(&id, JobState::Retrying).await;
    let message = &record.errors[0].message;
    assert!(message.contains("Missing") && message.contains("Router::extension"), "{message}");
    running.shutdown().await;
}

async fn middleware_wraps_what_was_added_before_it_and_may_answer_itself(place: Place) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = order.clone();
        middleware::from_fn(move |ctx: JobContext, next: Next| {
            let order = order.clone();
            async move {
                order.lock().unwrap().push(format!("{name} in"));
                let outcome = next.run(ctx).await;
                order.lock().unwrap().push(format!("{name} out"));
                outcome
            }
        })
    };
    let gate = middleware::from_fn(|ctx: JobContext, next: Next| async move {
        if ctx.headers().contains_key("skip") { Outcome::Done(Some("\"skipped\"".into())) } else { next.run(ctx).await }
    });
    let router = says(Router::new(), "x", "ran").layer(gate).layer(note("inner")).layer(note("outer"));
    let client = place.client();
    let running = server(&client, says(router, "bare", "bare")).start().await.unwrap();
    assert_eq!(answer(&client, "x").await, "ran");
    assert_eq!(*order.lock().unwrap(), ["outer in", "inner in", "inner out", "outer out"]);
    assert_eq!(answer(&client, "bare").await, "bare");
    assert_eq!(order.lock().unwrap().len(), 4, "what was added later is not wrapped");
    let id = place.add(job("x").with(|options| options.header("skip", "1"))).await;
    assert_eq!(client.wait(&id).await.unwrap().result.as_deref(), Some(&b"\"skipped\""[..]));
    running.shutdown().await;
}

#[derive(Clone)]
struct App {
    name: String,
    size: u32,
}

impl FromRef<App> for String {
    fn from_ref(app: &App) -> Self {
        app.name.clone()
    }
}

impl FromRef<App> for u32 {
    fn from_ref(app: &App) -> Self {
        app.size
    }
}

/// An extractor of one's own.
struct Attempt(u32);

impl<S: Sync> FromJob<S> for Attempt {
    async fn from_job(ctx: &JobContext, _: &S) -> windlass::Result<Self> {
        Ok(Attempt(ctx.attempt()))
    }
}

#[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
#[job(kind = "full")]
struct Full {
    n: u32,
}

#[windlass::check_handler(state = App)]
#[allow(clippy::too_many_arguments, reason = "as many as a handler may have")]
async fn full(
    job: Full,
    ctx: JobContext,
    State(app): State<App>,
    State(name): State<String>,
    State(size): State<u32>,
    Attempt(attempt): Attempt,
    Extension(unit): Extension<&'static str>,
    _: JobContext,
    State(_): State<App>,
) -> windlass::Result<Json<String>> {
    Ok(Json(format!("{} {} {name} {size}{unit} {attempt} {}", job.n, ctx.kind(), app.name)))
}

#[windlass::check_handler]
async fn plain(_: Full) -> Result<(), std::io::Error> {
    Ok(())
}

async fn handlers_take_up_to_eight_arguments_and_parts_of_the_state(place: Place) {
    let app = App { name: "app".into(), size: 3 };
    let router = Router::new().job(full).extension("px").with_state(app);
    let client = place.client();
    let running = server(&client, router.at("plain", plain)).start().await.unwrap();
    let raw = RawJob::new("full", r#"{"n":7}"#);
    let id = place.add(raw).await;
    let result = client.wait(&id).await.unwrap().result.unwrap();
    assert_eq!(&*result, b"\"7 full app 3px 1 app\"");
    running.shutdown().await;
}

#[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
#[job(kind = "report:build", queue = "low", tenant = "acme", priority = -3, max_retry = 4)]
#[job(timeout = "90s", retention = "1h", tag = "nightly", tag = "pdf", unique)]
struct Report {
    of: u32,
}

async fn every_option_of_the_derive_arrives(place: Place) {
    let new = place.client().prepare(Report { of: 7 }).unwrap();
    let spec = &new.spec;
    assert_eq!(
        (spec.kind.as_str(), spec.queue.as_str(), spec.tenant.as_deref()),
        ("report:build", "low", Some("acme"))
    );
    assert_eq!((spec.priority, spec.max_retry, spec.timeout, spec.retention), (-3, 4, 90 * SECOND, 60 * MINUTE));
    assert_eq!(spec.tags, ["nightly", "pdf"]);
    assert_eq!(&*spec.payload, br#"{"of":7}"#);
    let key = |of: u32| place.client().prepare(Report { of }).unwrap().spec.unique.unwrap();
    assert!(matches!(key(7), Unique { mode: UniqueMode::UntilDone, .. }));
    assert_eq!(key(7).key, spec.unique.unwrap().key);
    assert_ne!(key(7).key, key(8).key);
    let bare = place.client().prepare(Full { n: 1 }).unwrap();
    assert_eq!((bare.spec.queue.as_str(), bare.spec.unique.is_some()), ("default", false));
    let _: JobOptions = windlass::Job::options(&Full { n: 1 });
}

on_every_store! {
    the_best_match_runs_a_kind
    kinds_without_a_handler_stay_pending_untouched_until_a_server_has_one
    a_merged_router_brings_all_it_has
    two_handlers_for_one_kind_are_refused
    an_extension_that_nobody_gave_is_an_error_with_advice
    middleware_wraps_what_was_added_before_it_and_may_answer_itself
    handlers_take_up_to_eight_arguments_and_parts_of_the_state
    every_option_of_the_derive_arrives
}
