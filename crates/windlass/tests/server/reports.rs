//! What handlers say while they run: progress, log lines and checkpoints, on their way to the store and back to the
//! next run.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use windlass::{Client, Error, EventKind, JobContext, JobRecord, JobState, RawJob, Router, StopCause, StoreError};

use crate::{
    faulty::Op,
    log::Log,
    place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server},
};

fn texts(record: &JobRecord) -> Vec<&str> {
    record.log.iter().map(|line| &*line.line).collect()
}

async fn what_a_quick_job_says_goes_with_its_finish(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.progress(0.5, "half");
        ctx.log("first");
        ctx.client().env().sleep(20 * MS).await;
        ctx.progress(1.0, "whole");
        ctx.log("second");
        ok(())
    });
    let (client, line) = place.line();
    let running = server(&client, router).start().await.unwrap();
    let id = place.add(job("x")).await;
    let record = place.until_state(&id, JobState::Completed).await;
    let progress = record.progress.as_ref().unwrap();
    assert_eq!((progress.fraction, &*progress.message, texts(&record)), (1.0, "whole", vec!["first", "second"]));
    running.shutdown().await;
    assert_eq!(line.calls(Op::Report), 0, "it costs no call of its own");
}

async fn progress_is_seen_while_the_job_runs_and_costs_few_calls(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        for step in 0..2000 {
            ctx.progress(f64::from(step) / 2000.0, "");
            ctx.log(step.to_string());
            ctx.client().env().sleep(MS).await;
        }
        ok(())
    });
    let (client, line) = place.line();
    let running = server(&client, router).start().await.unwrap();
    let id = place.add(job("x")).await;
    let seen = |fraction: f64| {
        let (place, id) = (&place, &id);
        async move { place.record(id).await.progress.is_some_and(|progress| progress.fraction >= fraction) }
    };
    place.until(|| seen(0.1)).await;
    assert_eq!(place.record(&id).await.state, JobState::Running);
    place.until(|| seen(0.6)).await;
    let record = place.until_state(&id, JobState::Completed).await;
    assert_eq!((record.log.len(), record.log[99].number, &*record.log[99].line), (100, 2000, "1999"));
    let calls = line.calls(Op::Report);
    assert!((10..=25).contains(&calls), "{calls} calls in two seconds");
    running.shutdown().await;
}

async fn a_checkpoint_is_in_the_store_when_it_returns(place: Place) {
    let store = place.store.clone();
    let router = Router::new().at("x", move |_: RawJob, ctx: JobContext| {
        let store = store.clone();
        async move {
            for page in [3u32, 4] {
                ctx.log(format!("page {page}"));
                ctx.checkpoint(&page).await?;
                let record = store.get(ctx.id()).await?.ok_or("it runs")?;
                assert_eq!(record.checkpoint.as_deref(), Some(page.to_string().as_bytes()));
                assert_eq!(record.log.len() as u32, page - 2, "what was said before it goes with it");
                assert_eq!(ctx.last_checkpoint::<u32>()?, Some(page));
            }
            ok(())
        }
    });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x")).await;
    assert_eq!(place.client().wait(&id).await.unwrap().state, JobState::Completed);
    running.shutdown().await;
}

async fn the_next_run_finds_the_last_checkpoint(place: Place) {
    let found = Arc::new(Mutex::new(Vec::new()));
    let inner = found.clone();
    let router = Router::new().at("x", move |_: RawJob, ctx: JobContext| {
        let found = inner.clone();
        async move {
            let last = ctx.last_checkpoint::<u32>()?;
            found.lock().unwrap().push(last);
            let next = last.unwrap_or(0) + 1;
            ctx.checkpoint(&next).await?;
            if next < 3 { Err("not yet".into()) } else { ok(()) }
        }
    });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.client().wait(&id).await.unwrap();
    assert_eq!(*found.lock().unwrap(), [None, Some(1), Some(2)]);
    running.shutdown().await;
}

/// Says one thing, and another while the report of the first is on its way.
fn speaker() -> Router {
    Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.log("first");
        ctx.client().env().sleep(SECOND).await;
        ctx.log("second");
        ctx.progress(1.0, "");
        ok(())
    })
}

async fn a_finish_does_not_overtake_what_was_said_before_it(place: Place) {
    let log = Log::new();
    let (client, line) = place.line();
    line.hold_back(Op::Report);
    let running = server(&client, speaker()).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    line.called(Op::Report, 1).await;
    let record = place.until_state(&id, JobState::Completed).await;
    assert_eq!(texts(&record), ["first", "second"], "the report is still under way");
    line.let_through(Op::Report);
    place.clock_turn().await;
    assert_eq!(texts(&place.record(&id).await), ["first", "second"]);
    assert_eq!(log.count(EventKind::Stale), 0, "that it came late is no lost lease");
    running.shutdown().await;
}

async fn a_lost_reply_doubles_no_line(place: Place) {
    let (client, line) = place.line();
    line.lose_replies(Op::Report, 3);
    let running = server(&client, speaker()).start().await.unwrap();
    let id = place.add(job("x")).await;
    let record = place.until_state(&id, JobState::Completed).await;
    assert_eq!(texts(&record), ["first", "second"]);
    assert!(line.calls(Op::Report) > 3);
    running.shutdown().await;
}

async fn a_checkpoint_waits_for_a_store_that_is_away(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.client().env().sleep(SECOND).await;
        ctx.checkpoint(&7).await?;
        ok(())
    });
    let (client, line) = place.line();
    let log = Log::new();
    let running = server(&client, router).on_event(log.listener()).start().await.unwrap();
    let id = place.add(job("x")).await;
    log.wait(&id, EventKind::Started).await;
    line.cut(true);
    place.env().sleep(4 * SECOND).await;
    assert_eq!(place.record(&id).await.checkpoint, None);
    line.cut(false);
    let record = place.until_state(&id, JobState::Completed).await;
    assert_eq!((record.checkpoint.as_deref(), record.crashes), (Some(&b"7"[..]), 0));
    running.shutdown().await;
}

async fn a_run_that_lost_its_lease_hears_it_from_its_checkpoint(place: Place) {
    let heard = Arc::new(Mutex::new(None));
    let router = || {
        let heard = heard.clone();
        Router::new().at("x", move |_: RawJob, ctx: JobContext| {
            let heard = heard.clone();
            async move {
                if ctx.crashes() > 0 {
                    ctx.checkpoint(&"second").await?;
                    return ok(());
                }
                ctx.client().env().sleep(40 * SECOND).await;
                let refused = ctx.checkpoint(&"first").await;
                *heard.lock().unwrap() = Some((matches!(refused, Err(Error::Stale(_))), ctx.stop_cause()));
                ok(())
            }
        })
    };
    let (client, line) = place.line();
    // Its renewals do not come through, and it hears nothing of it.
    line.hold_back(Op::Extend);
    let first = server(&client, router()).concurrency(1).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.until_state(&id, JobState::Running).await;
    let second = server(&place.client(), router()).start().await.unwrap();
    let record = place.until_state(&id, JobState::Completed).await;
    place.until(async || heard.lock().unwrap().is_some()).await;
    assert_eq!(*heard.lock().unwrap(), Some((true, Some(StopCause::LeaseLost))));
    assert_eq!(record.checkpoint.as_deref(), Some(&b"\"second\""[..]));
    line.let_through(Op::Extend);
    first.shutdown().await;
    second.shutdown().await;
}

async fn a_checkpoint_over_the_limit_is_refused_with_advice(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        ctx.checkpoint(&"x".repeat(256 * 1024 - 2)).await?;
        ctx.checkpoint(&"x".repeat(256 * 1024 - 1)).await?;
        ok(())
    });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.max_retry(0))).await;
    let record = place.client().wait(&id).await.unwrap();
    let message = &record.errors[0].message;
    assert!(message.contains("262145 bytes") && message.contains("keep the data elsewhere"), "{message}");
    assert_eq!(record.checkpoint.map(|bytes| bytes.len()), Some(262_144));
    running.shutdown().await;
}

async fn a_checkpoint_of_another_type_is_a_failed_attempt_that_does_not_quote_it(place: Place) {
    let router = Router::new().at("x", |_: RawJob, ctx: JobContext| async move {
        if ctx.attempt() == 1 {
            ctx.checkpoint(&"secret").await?;
        }
        ctx.last_checkpoint::<u32>()?;
        ok(())
    });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.max_retry(1))).await;
    let record = place.client().wait(&id).await.unwrap();
    let message = &record.errors[1].message;
    assert!(message.contains("checkpoint") && message.contains("u32") && !message.contains("secret"), "{message}");
    running.shutdown().await;
}

/// What a job in steps did, in order.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<u32>>>);

impl Steps {
    fn done(&self) -> Vec<u32> {
        self.0.lock().unwrap().clone()
    }
}

/// A job of twenty steps of 300 ms; it fails at `fails_at` the first time.
fn walker(steps: &Steps, fails_at: Option<u32>) -> Router {
    let (steps, failed) = (steps.clone(), Arc::new(AtomicU32::new(0)));
    Router::new().at("x", move |_: RawJob, ctx: JobContext| {
        let (steps, failed) = (steps.clone(), failed.clone());
        async move {
            let mut walk = ctx.steps(0u32)?;
            while let Some(step) = walk.next().await? {
                ctx.client().env().sleep(300 * MS).await;
                if Some(step) == fails_at && failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Err("once".into());
                }
                steps.0.lock().unwrap().push(step);
                if step < 19 {
                    walk.go_on_at(step + 1);
                }
            }
            ok(())
        }
    })
}

async fn after_an_error_no_finished_step_is_repeated(place: Place) {
    let steps = Steps::default();
    let running = server(&place.client(), walker(&steps, Some(5))).start().await.unwrap();
    let id = place.add(job("x")).await;
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!((record.state, record.failures, steps.done()), (JobState::Completed, 1, (0..20).collect()));
    running.shutdown().await;
}

async fn after_a_shutdown_no_finished_step_is_repeated_and_no_attempt_is_burned(place: Place) {
    let steps = Steps::default();
    let first = server(&place.client(), walker(&steps, None)).shutdown_timeout(100 * MS).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.until(async || steps.done().len() == 7).await;
    first.shutdown().await;
    let stopped = place.record(&id).await;
    assert_eq!((stopped.state, stopped.failures, stopped.snoozes), (JobState::Pending, 0, 0));
    let second = server(&place.client(), walker(&steps, None)).start().await.unwrap();
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!((record.attempt, record.crashes, steps.done()), (1, 0, (0..20).collect()));
    second.shutdown().await;
}

async fn after_a_crash_the_steps_of_the_last_second_are_repeated_at_most(place: Place) {
    let steps = Steps::default();
    let (client, line) = place.line();
    let first = server(&client, walker(&steps, None)).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.until(async || steps.done().len() == 12).await;
    line.cut(true);
    drop(first);
    let before = Steps::default();
    let second = server(&place.client(), walker(&before, None)).start().await.unwrap();
    let record = place.until_state(&id, JobState::Completed).await;
    let again = before.done();
    assert_eq!(record.crashes, 1);
    // Twelve steps were done; a checkpoint each second, which is every fourth step.
    assert!((8..=12).contains(&again[0]), "{again:?}");
    assert_eq!(again, (again[0]..20).collect::<Vec<_>>());
    second.shutdown().await;
}

async fn a_cancelled_walk_ends_before_its_next_step(place: Place) {
    let steps = Steps::default();
    let running = server(&place.client(), walker(&steps, None)).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.until(async || steps.done().len() == 3).await;
    place.client().cancel(&id, "enough").await.unwrap();
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!(record.state, JobState::Cancelled);
    assert!(steps.done().len() < 7, "{:?}", steps.done());
    assert!(record.checkpoint.is_some(), "where it stood is kept, for a redrive");
    running.shutdown().await;
}

async fn a_long_walk_makes_room_at_half_of_its_timeout_and_burns_no_attempt(place: Place) {
    let steps = Steps::default();
    let running = server(&place.client(), walker(&steps, None)).concurrency(1).start().await.unwrap();
    let id = place.add(job("x").with(|options| options.timeout(4 * SECOND).max_retry(0))).await;
    let other = place.add(job("x").with(|options| options.timeout(MINUTE))).await;
    let record = place.client().wait(&id).await.unwrap();
    assert_eq!((record.state, record.failures), (JobState::Completed, 0));
    assert!((2..=4).contains(&record.snoozes), "{}", record.snoozes);
    let waited_for = place.client().wait(&other).await.unwrap();
    assert!(waited_for.completed_at < record.completed_at, "the other one did not wait for all of it");
    running.shutdown().await;
}

async fn items_that_were_done_are_skipped(place: Place) {
    let done = Arc::new(Mutex::new(Vec::new()));
    let inner = done.clone();
    let router = Router::new().at("x", move |_: RawJob, ctx: JobContext| {
        let done = inner.clone();
        async move {
            let mut items = ctx.each(["a", "b", "c", "d"])?;
            while let Some(item) = items.next().await? {
                if item == "c" && ctx.attempt() == 1 {
                    return Err("once".into());
                }
                done.lock().unwrap().push(item);
            }
            ok(())
        }
    });
    let running = server(&place.client(), router).start().await.unwrap();
    let id = place.add(job("x")).await;
    place.client().wait(&id).await.unwrap();
    assert_eq!(*done.lock().unwrap(), ["a", "b", "c", "d"]);
    running.shutdown().await;
}

async fn a_refused_report_fails_nobody_elses(place: Place) {
    /// Refuses what one kind of job says.
    struct Picky(Arc<dyn windlass::store::Backend>);

    #[async_trait::async_trait]
    impl windlass::testing::Layer for Picky {
        fn inner(&self) -> &dyn windlass::store::Backend {
            &*self.0
        }

        async fn report(
            &self,
            reports: Vec<windlass::store::Report>,
        ) -> Result<Vec<windlass::store::Reported>, StoreError> {
            if reports.iter().any(|report| report.news.checkpoint.as_deref() == Some(b"13")) {
                return Err(StoreError::Invalid("not this one".into()));
            }
            self.0.report(reports).await
        }
    }

    let router = Router::new().at("x", |job: RawJob, ctx: JobContext| async move {
        let number: u32 = serde_json::from_slice(&job.payload)?;
        ctx.checkpoint(&number).await?;
        ok(())
    });
    let picky = Arc::new(windlass::testing::Layered(Picky(place.line().1)));
    let client = Client::builder().env(place.env()).on(picky);
    let running = server(&client, router).start().await.unwrap();
    let mut ids = Vec::new();
    for number in 10..16 {
        let job = RawJob::new("x", number.to_string()).with(|options| options.retention(HOUR).max_retry(0));
        ids.push(client.enqueue(job).await.unwrap().id().clone());
    }
    for (number, id) in (10..16).zip(&ids) {
        let record = client.wait(id).await.unwrap();
        let expected = if number == 13 { JobState::Dead } else { JobState::Completed };
        assert_eq!(record.state, expected, "{number}: {:?}", record.errors);
    }
    running.shutdown().await;
}

on_every_store! {
    what_a_quick_job_says_goes_with_its_finish
    progress_is_seen_while_the_job_runs_and_costs_few_calls
    a_checkpoint_is_in_the_store_when_it_returns
    the_next_run_finds_the_last_checkpoint
    a_finish_does_not_overtake_what_was_said_before_it
    a_lost_reply_doubles_no_line
    a_checkpoint_waits_for_a_store_that_is_away
    a_run_that_lost_its_lease_hears_it_from_its_checkpoint
    a_checkpoint_over_the_limit_is_refused_with_advice
    a_checkpoint_of_another_type_is_a_failed_attempt_that_does_not_quote_it
    after_an_error_no_finished_step_is_repeated
    after_a_shutdown_no_finished_step_is_repeated_and_no_attempt_is_burned
    after_a_crash_the_steps_of_the_last_second_are_repeated_at_most
    a_cancelled_walk_ends_before_its_next_step
    a_long_walk_makes_room_at_half_of_its_timeout_and_burns_no_attempt
    items_that_were_done_are_skipped
    a_refused_report_fails_nobody_elses
}
