//! What a handler's end does to its job.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use windlass::{
    DeadReason, ErrorClass, EventKind, JobContext, JobError, JobRecord, JobState, Json, RawJob, ResultExt, RetryPolicy,
    Router,
};

use crate::{
    log::Log,
    place::{HOUR, MINUTE, Place, SECOND, job, ok, server},
};

fn disk_gone() -> Result<(), std::io::Error> {
    Err(std::io::Error::other("disk gone"))
}

async fn run_one(place: &Place, router: Router, raw: RawJob) -> JobRecord {
    let log = Log::new();
    let running = server(&place.client(), router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(raw).await;
    log.wait(&id, EventKind::Finished).await;
    running.shutdown().await;
    place.record(&id).await
}

async fn results_of_every_shape_are_kept(place: Place) {
    let router = Router::new()
        .at("json", |_: RawJob| async { ok(Json([1, 2])) })
        .at("bytes", |_: RawJob| async { ok(bytes::Bytes::from_static(b"\0raw")) })
        .at("set", |_: RawJob, ctx: JobContext| async move {
            ctx.set_result(&"set")?;
            ok(())
        })
        .at("nothing", |_: RawJob| async { ok(()) });
    let running = server(&place.client(), router).start().await.unwrap();
    let kept: [(&str, Option<&[u8]>); 4] =
        [("json", Some(b"[1,2]")), ("bytes", Some(b"\0raw")), ("set", Some(b"\"set\"")), ("nothing", None)];
    for (kind, result) in kept {
        let id = place.add(job(kind)).await;
        let done = place.client().wait(&id).await.unwrap();
        assert_eq!((done.state, done.result.as_deref()), (JobState::Completed, result), "{kind}");
    }
    let id = place.client().enqueue(job("json")).await.unwrap().id().clone();
    place.until(async || place.client().get(&id).await.unwrap().is_none()).await;
    running.shutdown().await;
}

async fn a_wish_survives_question_marks_and_contexts(place: Place) {
    fn deep(kind: &str) -> anyhow::Result<()> {
        match kind {
            "bury" => disk_gone().or_bury().context("reading")?,
            "later" => disk_gone().or_retry_after(HOUR).context("reading")?,
            "snooze" => disk_gone().or_snooze(HOUR).context("reading")?,
            _ => disk_gone().context("reading")?,
        }
        Ok(())
    }
    async fn handler(job: RawJob) -> windlass::Result {
        deep(&job.kind).context("the report")?;
        Ok(())
    }
    let wished = [
        ("bury", JobState::Dead, 0, 0, None),
        ("later", JobState::Retrying, 1, 0, Some(HOUR)),
        ("snooze", JobState::Scheduled, 0, 1, Some(HOUR)),
        ("plain", JobState::Retrying, 1, 0, None),
    ];
    for (kind, state, failures, snoozes, wait) in wished {
        let record = run_one(&place, Router::new().at("*", handler), job(kind)).await;
        assert_eq!((record.state, record.failures, record.snoozes), (state, failures, snoozes), "{kind}");
        if let (Some(wait), Some(run_at)) = (wait, record.run_at) {
            assert_eq!(run_at.since(record.updated_at), wait, "{kind}");
        }
        let messages: Vec<_> = record.errors.iter().map(|error| error.message.as_str()).collect();
        let expected: &[&str] = if kind == "snooze" { &[] } else { &["the report: reading: disk gone"] };
        assert_eq!(messages, expected, "{kind}");
    }
}

async fn waits_beyond_all_time_are_no_trouble(place: Place) {
    let router = Router::new()
        .at("later", |_: RawJob| async { Ok::<(), _>(disk_gone().or_retry_after(Duration::MAX)?) as windlass::Result })
        .at("snooze", |_: RawJob| async { Ok::<(), _>(disk_gone().or_snooze(Duration::MAX)?) as windlass::Result });
    let running = server(&place.client(), router).start().await.unwrap();
    let (later, snooze) = (place.add(job("later")).await, place.add(job("snooze")).await);
    place.until_state(&later, JobState::Retrying).await;
    place.until_state(&snooze, JobState::Scheduled).await;
    running.shutdown().await;
}

async fn the_hook_gets_the_original_error_and_the_context(place: Place) {
    async fn handler(job: RawJob) -> windlass::Result {
        match &*job.kind {
            "plain" => disk_gone()?,
            _ => disk_gone().or_bury()?,
        }
        Ok(())
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let seen = seen.clone();
        move |error: &(dyn std::error::Error + Send + Sync + 'static), ctx: &JobContext| {
            let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
            let place = chain.clone().position(|error| error.is::<std::io::Error>());
            seen.lock().unwrap().push((ctx.kind().to_owned(), ctx.attempt(), place == Some(0), place.is_some()));
        }
    };
    let router = Router::new().at("*", handler);
    let running = server(&place.client(), router).on_error(hook).start().await.unwrap();
    for kind in ["plain", "marked"] {
        let id = place.add(job(kind).with(|options| options.max_retry(0))).await;
        assert_eq!(place.client().wait(&id).await.unwrap().state, JobState::Dead);
    }
    running.shutdown().await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [("plain".into(), 1, true, true), ("marked".into(), 1, false, true)]);
}

async fn what_is_no_failure_burns_no_attempt(place: Place) {
    let router = || Router::new().at("*", |_: RawJob| async { Err::<(), _>(JobError::from("busy")) });
    for (judged, state, failures) in [(true, JobState::Scheduled, 0), (false, JobState::Dead, 1)] {
        let mut set_up = server(&place.client(), router());
        if judged {
            set_up = set_up.is_failure(|error| error.to_string() != "busy");
        }
        let log = Log::new();
        let running = set_up.on_event(log.listener()).start().await.unwrap();
        let id = place.add(job("x").with(|options| options.max_retry(0))).await;
        log.wait(&id, EventKind::Finished).await;
        let record = place.record(&id).await;
        assert_eq!((record.state, record.failures), (state, failures));
        running.shutdown().await;
    }
}

async fn a_panic_is_a_failed_attempt(place: Place) {
    fn at_once(_: RawJob) -> std::future::Ready<windlass::Result> {
        panic!("at once")
    }
    async fn after_an_await(_: RawJob) -> windlass::Result {
        tokio::task::yield_now().await;
        panic!("{}", "after an await")
    }
    let router = || Router::new().at("at once", at_once).at("after an await", after_an_await);
    for kind in ["at once", "after an await"] {
        let record = run_one(&place, router(), job(kind)).await;
        assert_eq!((record.state, record.failures, record.errors[0].class), (JobState::Retrying, 1, ErrorClass::Panic));
        assert_eq!(record.errors[0].message, format!("the handler panicked: {kind}"));
    }
}

async fn one_undecodable_job_of_a_claim_is_dead_and_the_others_run(place: Place) {
    #[derive(serde::Serialize, serde::Deserialize, windlass::Job)]
    #[job(kind = "typed")]
    struct Typed {
        _n: u32,
    }
    let router = Router::new().job(|_: Typed| async { ok(()) });
    let (client, line) = place.line();
    let mut ids = Vec::new();
    for payload in [r#"{"_n":1}"#, r#"{"_n":"one"}"#, "\u{0}", r#"{"_n":2}"#] {
        ids.push(place.add(RawJob::new("typed", payload)).await);
    }
    let running = server(&client, router).start().await.unwrap();
    let mut states = Vec::new();
    for id in &ids {
        let record = client.wait(id).await.unwrap();
        states.push((record.state, record.reason.as_deref().map(str::to_owned), record.failures));
    }
    running.shutdown().await;
    let dead = (JobState::Dead, Some(DeadReason::Undecodable.as_str().to_owned()), 0);
    let well = (JobState::Completed, None, 0);
    assert_eq!(states, [well.clone(), dead.clone(), dead, well]);
    assert!(line.claims()[0].limit >= 4, "they came in one claim");
}

async fn a_job_whose_deadline_has_passed_is_dead_and_its_handler_is_not_called(place: Place) {
    let called = Arc::new(AtomicU32::new(0));
    let counter = called.clone();
    let router = Router::new().at("late", move |_: RawJob| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { ok(()) }
    });
    let now = place.env().wall();
    let late = place.add(job("late").with(|options| options.deadline(now))).await;
    let in_time = place.add(job("late").with(|options| options.deadline(now.after(HOUR)))).await;
    let log = Log::new();
    let running = server(&place.client(), router).on_event(log.listener()).start().await.unwrap();
    let dead = place.client().wait(&late).await.unwrap();
    assert_eq!((dead.state, dead.reason.as_deref()), (JobState::Dead, Some("deadline")));
    assert_eq!(dead.errors[0].class, ErrorClass::Deadline);
    assert_eq!(place.client().wait(&in_time).await.unwrap().state, JobState::Completed);
    running.shutdown().await;
    assert_eq!(called.load(Ordering::Relaxed), 1);
    assert!(!log.of(&late).iter().any(|(event, ..)| *event == EventKind::Started), "it never started");
}

async fn follow_ups_come_with_a_good_end_only(place: Place) {
    async fn handler(job: RawJob, ctx: JobContext) -> windlass::Result {
        ctx.then(RawJob::new("next", job.kind.clone()).with(|options| options.id(format!("after-{}", job.kind))))?;
        if job.kind == "bad" { Err("no".into()) } else { Ok(()) }
    }
    let router = || Router::new().at("good", handler).at("bad", handler);
    let good = run_one(&place, router(), job("good")).await;
    let bad = run_one(&place, router(), job("bad")).await;
    assert_eq!((good.state, bad.state), (JobState::Completed, JobState::Retrying));
    let next = place.record(&"after-good".parse().unwrap()).await;
    assert_eq!((next.state, next.spec.kind.as_str(), &*next.spec.payload), (JobState::Pending, "next", &b"good"[..]));
    assert!(place.client().get(&"after-bad".parse().unwrap()).await.unwrap().is_none());
}

async fn an_invalid_follow_up_is_an_error_of_the_handler(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.then(RawJob::new("y", vec![0; 2 * 1024 * 1024]))?;
        ok(())
    });
    let record = run_one(&place, router, job("x")).await;
    assert_eq!((record.state, record.failures), (JobState::Retrying, 1));
    assert!(record.errors[0].message.contains("2097152"), "{}", record.errors[0].message);
}

async fn after_many_snoozes_an_error_waits_as_a_first_retry(place: Place) {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = runs.clone();
    let router = Router::new().at("snoozy", move |_: RawJob| {
        let run = counter.fetch_add(1, Ordering::Relaxed);
        async move {
            if run < 300 {
                disk_gone().or_snooze(SECOND)?
            } else {
                disk_gone()?
            }
            ok(())
        }
    });
    let policy = RetryPolicy::doubling(MINUTE);
    let running = server(&place.client(), router).retry(policy).start().await.unwrap();
    let id = place.add(job("snoozy")).await;
    let record = place.until_state(&id, JobState::Retrying).await;
    running.shutdown().await;
    assert_eq!((record.snoozes, record.failures, record.attempt, record.errors.len()), (300, 1, 1, 1));
    assert_eq!(record.run_at.unwrap().since(record.updated_at), MINUTE);
}

async fn each_kind_has_its_retry_policy(place: Place) {
    let router = Router::new().at("*", |_: RawJob| async { Err::<(), _>(JobError::from("no")) });
    let running = server(&place.client(), router)
        .retry(RetryPolicy::fixed(MINUTE))
        .kind_retry("mail:*", RetryPolicy::fixed(2 * MINUTE))
        .kind_retry("mail:send", RetryPolicy::fixed(3 * MINUTE))
        .start()
        .await
        .unwrap();
    for (kind, minutes) in [("sms", 1), ("mail:list", 2), ("mail:send", 3)] {
        let id = place.add(job(kind)).await;
        let record = place.until_state(&id, JobState::Retrying).await;
        assert_eq!(record.run_at.unwrap().since(record.updated_at), minutes * MINUTE, "{kind}");
    }
    running.shutdown().await;
}

async fn a_panic_in_what_the_user_hooked_in_ends_nothing(place: Place) {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let router = Router::new()
        .at("fails", |_: RawJob| async { Err::<(), _>(JobError::from("no")) })
        .at("hangs", |_: RawJob| async {
            let _grenade = Grenade;
            std::future::pending::<()>().await;
            ok(())
        })
        .at("well", |_: RawJob| async { ok(()) });
    let running = server(&place.client(), router)
        .concurrency(1)
        .on_event(|_| panic!("listener"))
        .on_error(|_, _| panic!("hook"))
        .is_failure(|_| panic!("judge"))
        .retry(RetryPolicy::custom(|_, _| panic!("policy")))
        .start()
        .await
        .unwrap();
    let fails = place.add(job("fails")).await;
    assert_eq!(place.until_state(&fails, JobState::Retrying).await.errors[0].message, "no");
    let hangs = place.add(job("hangs").with(|options| options.timeout(SECOND))).await;
    place.until_state(&hangs, JobState::Retrying).await;
    let well = place.add(job("well")).await;
    assert_eq!(place.client().wait(&well).await.unwrap().state, JobState::Completed);
    running.shutdown().await;
}

async fn a_result_over_the_limit_is_refused_with_its_reason(place: Place) {
    let router = || Router::new().at("big", |_: RawJob| async { ok(bytes::Bytes::from(vec![b'x'; 1024 * 1024 + 1])) });
    let record = run_one(&place, router(), job("big")).await;
    assert_eq!((record.state, record.reason.as_deref()), (JobState::Dead, Some("buried")));
    assert!(record.errors[0].message.contains("1048577 bytes"), "{}", record.errors[0].message);
    assert!(record.result.is_none());
}

on_every_store! {
    results_of_every_shape_are_kept
    a_wish_survives_question_marks_and_contexts
    waits_beyond_all_time_are_no_trouble
    the_hook_gets_the_original_error_and_the_context
    what_is_no_failure_burns_no_attempt
    a_panic_is_a_failed_attempt
    one_undecodable_job_of_a_claim_is_dead_and_the_others_run
    a_job_whose_deadline_has_passed_is_dead_and_its_handler_is_not_called
    follow_ups_come_with_a_good_end_only
    an_invalid_follow_up_is_an_error_of_the_handler
    after_many_snoozes_an_error_waits_as_a_first_retry
    each_kind_has_its_retry_policy
    a_panic_in_what_the_user_hooked_in_ends_nothing
    a_result_over_the_limit_is_refused_with_its_reason
}
