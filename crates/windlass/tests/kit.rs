//! The test kit from the outside, as users' tests use it: no paused time, no sleeping.
#![cfg(all(feature = "testing", feature = "macros"))]

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use windlass::{
    Client, DeadReason, ErrorClass, Group, GroupRules, Job, JobContext, JobOptions, JobState, Json, QueueName, RawJob,
    RetryPolicy, Router, Schedule, State, Verdict,
    store::memory::MemoryStore,
    testing::{Call, FaultyStore, Kit, ManualClock, Network, World, assert_enqueued, enqueued, refute_enqueued},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "email:send")]
struct SendEmail {
    to: String,
}

fn mail(to: &str) -> SendEmail {
    SendEmail { to: to.into() }
}

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "note")]
struct Note(u32);

/// What handlers did, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Sends to addresses; whatever else stands there says what the handler does.
async fn send_email(mail: SendEmail, State(log): State<Log>, ctx: JobContext) -> windlass::Result<Json<String>> {
    use windlass::ResultExt;
    log.lock().unwrap().push(format!("{} {}", mail.to, ctx.attempt()));
    match mail.to.as_str() {
        "fail" => return Err("the server said no".into()),
        "bury" => return Err("no such address").or_bury()?,
        "snooze" => return Err("closed").or_snooze(60 * SECOND)?,
        "panic" => panic!("what is this?"),
        "follow" => drop(ctx.then(Note(1))?),
        "enqueue" => drop(ctx.client().enqueue(Note(2)).await?),
        _ => {}
    }
    Ok(Json(format!("sent to {}", mail.to)))
}

async fn note(Note(number): Note, State(log): State<Log>) -> windlass::Result {
    log.lock().unwrap().push(format!("note {number}"));
    Ok(())
}

fn router() -> (Router, Log) {
    let log = Log::default();
    (Router::new().job(send_email).job(note).with_state(log.clone()), log)
}

fn kit() -> (Kit, Log) {
    let (router, log) = router();
    (Kit::new(router), log)
}

/// A kit whose server makes one note of the notes of a group: their number.
fn kit_with_groups() -> (Kit, Log) {
    let (router, log) = router();
    let count = |group: &Group| -> windlass::Result<Note> {
        match group.payloads::<u32>()?.as_slice() {
            [] => Err("no member".into()),
            numbers if numbers.contains(&0) => Err("zero is nothing".into()),
            numbers => Ok(Note(numbers.len() as u32 * 100)),
        }
    };
    let rules = GroupRules::new().grace(60 * SECOND).max_size(3);
    (Kit::builder(router).server(move |server| server.aggregate("notes:*", rules, count)).build(), log)
}

fn in_group(number: u32, group: &str) -> impl windlass::Enqueue {
    Note(number).with(|options| options.group(group))
}

fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

/// What a future that panics says.
async fn panic_of<T>(future: impl Future<Output = T>) -> String {
    let panic = AssertUnwindSafe(future).catch_unwind().await.err().expect("it panics");
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[tokio::test]
async fn nothing_runs_until_the_test_says_so() {
    let (kit, log) = kit();
    kit.client().enqueue(mail("ada")).await.unwrap();
    kit.client().enqueue(mail("bob").with(|o| o.queue("low").process_in(HOUR))).await.unwrap();
    kit.client().enqueue(Note(1)).await.unwrap();
    let waiting = kit.enqueued::<SendEmail>().await;
    assert_eq!((waiting[0].job.clone(), waiting[1].job.clone()), (mail("ada"), mail("bob")));
    assert_eq!((waiting[1].record.state, waiting[1].record.spec.queue.as_str()), (JobState::Scheduled, "low"));
    assert_eq!(waiting[1].record.run_at, Some(kit.now().after(HOUR)));
    assert!(lines(&log).is_empty());
}

#[tokio::test]
async fn what_is_due_runs_in_order_out_of_every_queue_and_what_is_not_waits() {
    let (kit, log) = kit();
    kit.client().enqueue(mail("one")).await.unwrap();
    kit.client().enqueue(mail("two").with(|o| o.priority(5))).await.unwrap();
    kit.client().enqueue(Note(3).with(|o| o.queue("low"))).await.unwrap();
    kit.client().enqueue(mail("later").with(|o| o.process_in(HOUR))).await.unwrap();
    let ran = kit.run_due().await;
    assert_eq!((ran.completed, ran.runs()), (3, 3), "{ran}");
    let log = lines(&log);
    assert_eq!(log.iter().filter(|line| line.ends_with(" 1")).collect::<Vec<_>>(), ["two 1", "one 1"]);
    assert!(log.contains(&"note 3".to_owned()));
    assert_eq!(kit.enqueued::<SendEmail>().await.len(), 1);
    assert_eq!(kit.run_due().await.runs(), 0);
    assert_eq!(kit.total().completed, 3);
}

#[tokio::test]
async fn every_outcome_is_counted_and_its_error_is_told() {
    let (kit, _) = kit();
    for to in ["ok", "fail", "bury", "snooze", "panic"] {
        kit.client().enqueue(mail(to)).await.unwrap();
    }
    let ran = kit.run_due().await;
    assert_eq!((ran.completed, ran.retried, ran.snoozed, ran.dead), (1, 2, 1, 1), "{ran}");
    let said = ran.to_string();
    for text in ["email:send", "the server said no", "no such address", "the handler panicked: what is this?"] {
        assert!(said.contains(text), "{said}");
    }
}

#[tokio::test]
async fn what_handlers_enqueue_runs_too() {
    let (kit, log) = kit();
    kit.client().enqueue(mail("follow")).await.unwrap();
    kit.client().enqueue(mail("enqueue").with(|o| o.queue("other"))).await.unwrap();
    assert_eq!(kit.run_due().await.completed, 4);
    let mut log = lines(&log);
    log.sort();
    assert_eq!(log, ["enqueue 1", "follow 1", "note 1", "note 2"]);
}

#[tokio::test]
async fn as_time_passes_each_retry_runs_at_its_own_moment() {
    let (router, log) = router();
    let kit = Kit::builder(router).server(|server| server.retry(RetryPolicy::doubling(60 * SECOND))).build();
    let id = kit.client().enqueue(mail("fail").with(|o| o.max_retry(3))).await.unwrap().id().clone();
    assert_eq!(kit.run_due().await.retried, 1);
    let ran = kit.advance(59 * SECOND).await;
    assert_eq!(ran.runs(), 0, "{ran}");
    // 1, 2 and 4 minutes after one another.
    let began = kit.now();
    let ran = kit.advance(HOUR).await;
    assert_eq!((ran.retried, ran.dead), (2, 1), "{ran}");
    assert_eq!(kit.now(), began.after(HOUR));
    let job = kit.client().inspect(&id).await.unwrap();
    assert_eq!(job.completed_at, Some(began.after(SECOND + 6 * 60 * SECOND)));
    assert_eq!(lines(&log), ["fail 1", "fail 2", "fail 3", "fail 4"]);
}

#[tokio::test]
async fn moving_the_clock_alone_runs_nothing() {
    let (kit, log) = kit();
    kit.client().enqueue(mail("later").with(|o| o.process_in(HOUR))).await.unwrap();
    kit.clock().advance(2 * HOUR);
    assert!(lines(&log).is_empty());
    assert_eq!(kit.run_due().await.completed, 1);
}

#[tokio::test]
async fn time_takes_away_what_retention_lets_go() {
    let (kit, _) = kit();
    let id = kit.client().enqueue(mail("ada").with(|o| o.retention(HOUR))).await.unwrap().id().clone();
    kit.run_due().await;
    assert_eq!(kit.client().inspect(&id).await.unwrap().state, JobState::Completed);
    kit.advance(HOUR + SECOND).await;
    assert!(kit.client().get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn kinds_without_a_handler_and_paused_queues_stay_in_line() {
    let (kit, _) = kit();
    kit.client().enqueue(RawJob::new("unknown", "{}")).await.unwrap();
    kit.client().enqueue(mail("ada").with(|o| o.queue("stopped"))).await.unwrap();
    let stopped = QueueName::new("stopped").unwrap();
    kit.client().pause(&stopped).await.unwrap();
    assert_eq!(kit.run_due().await.runs(), 0);
    kit.client().resume(&stopped).await.unwrap();
    assert_eq!(kit.run_due().await.completed, 1);
    assert_eq!(kit.client().stats(None, None).await.unwrap().pending, 1);
}

#[tokio::test]
async fn one_job_is_performed_apart_from_the_store() {
    let (kit, log) = kit();
    kit.client().enqueue(mail("waits")).await.unwrap();
    let done = kit.perform(mail("ada").with(|o| o.process_in(HOUR))).await;
    assert!(done.is_completed(), "{done}");
    assert_eq!(done.result::<String>(), "sent to ada");

    let failed = kit.perform(mail("fail")).await;
    assert!(matches!(failed.verdict, Verdict::RetryIn(_)), "{failed}");
    assert_eq!((failed.error.as_deref(), failed.class), (Some("the server said no"), Some(ErrorClass::Error)));
    let last = kit.perform_attempt(26, mail("fail")).await;
    assert_eq!(last.verdict, Verdict::Bury(DeadReason::Exhausted));
    let undecodable = kit.perform(RawJob::new("email:send", "7")).await;
    assert_eq!(undecodable.verdict, Verdict::Bury(DeadReason::Undecodable));

    assert_eq!(lines(&log), ["ada 1", "fail 1", "fail 26"]);
    assert_eq!(kit.client().census().await.unwrap().enqueued, 1, "no performed job is in the store");
    assert_eq!(kit.enqueued::<SendEmail>().await.len(), 1, "the other job still waits");
}

#[tokio::test]
async fn what_a_performed_job_enqueues_waits_in_the_store() {
    let (kit, _) = kit();
    assert!(kit.perform(mail("follow")).await.is_completed());
    assert!(kit.perform(mail("enqueue")).await.is_completed());
    let notes: Vec<u32> = kit.enqueued::<Note>().await.iter().map(|note| note.0).collect();
    assert_eq!(notes, [1, 2]);
}

#[tokio::test]
async fn performing_a_kind_without_a_handler_says_so() {
    let (kit, _) = kit();
    let said = panic_of(kit.perform(RawJob::new("unknown", "{}"))).await;
    assert_eq!(said, "the kit's router has no handler for kind `unknown`");
}

#[tokio::test]
async fn inline_a_job_has_run_when_enqueue_returns() {
    let (router, log) = router();
    let kit = Kit::inline(router);
    kit.client().enqueue(mail("enqueue")).await.unwrap();
    assert_eq!(lines(&log), ["enqueue 1", "note 2"]);
    kit.client().enqueue(mail("fail")).await.unwrap();
    kit.client().enqueue(mail("later").with(|o| o.process_in(HOUR))).await.unwrap();
    assert_eq!(lines(&log), ["fail 1"]);
    assert_eq!((kit.total().completed, kit.total().retried), (2, 1));
    assert_eq!(kit.advance(HOUR).await.completed, 1);
}

#[tokio::test]
async fn inline_a_handler_may_enqueue_with_the_kits_own_client() {
    #[derive(Clone, Default)]
    struct Late(Arc<Mutex<Option<Client>>>);
    async fn countdown(Note(left): Note, State(late): State<Late>) -> windlass::Result {
        let client = late.0.lock().unwrap().clone().ok_or("no client")?;
        if left > 0 {
            client.enqueue(Note(left - 1)).await?;
        }
        Ok(())
    }
    let late = Late::default();
    let kit = Kit::inline(Router::new().job(countdown).with_state(late.clone()));
    *late.0.lock().unwrap() = Some(kit.client());
    kit.client().enqueue(Note(3)).await.unwrap();
    assert_eq!(kit.total().completed, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_slots_and_threads_end_as_one_does() {
    let (router, _) = router();
    let kit = Kit::builder(router).server(|server| server.concurrency(16)).build();
    let jobs = (0..500).map(|n| mail(&format!("{n}")).with(|o| o.queue(format!("q{}", n % 7))));
    kit.client().enqueue_all(jobs).await.unwrap();
    kit.client().enqueue_all((0..50).map(|_| mail("follow"))).await.unwrap();
    let ran = kit.run_due().await;
    assert_eq!((ran.completed, ran.runs()), (600, 600), "{ran}");
}

#[tokio::test]
async fn settings_reach_the_clients_and_the_server() {
    let (router, _) = router();
    let kit = Kit::builder(router)
        .client(|client| client.defaults(JobOptions::new().queue("mine")))
        .server(|server| server.queues([("mine", 1)]).is_failure(|_| false))
        .build();
    kit.client().enqueue(mail("fail")).await.unwrap();
    kit.client().enqueue(mail("enqueue")).await.unwrap();
    kit.client().enqueue(mail("ada").with(|o| o.queue("other"))).await.unwrap();
    let ran = kit.run_due().await;
    assert_eq!((ran.completed, ran.snoozed), (2, 1), "the note of a handler is in `mine`, too: {ran}");
    assert_eq!(
        assert_enqueued::<SendEmail>(&kit.client(), |mail| mail.to == "ada").await.record.state,
        JobState::Pending
    );
}

#[tokio::test]
async fn a_handler_that_waits_for_the_kits_time_goes_on_when_the_clock_is_moved() {
    async fn slow(_: Note, ctx: JobContext) -> windlass::Result {
        ctx.client().env().sleep(HOUR).await;
        Ok(())
    }
    let kit = Kit::builder(Router::new().job(slow)).server(|server| server.timeout_cap(60 * SECOND)).build();
    kit.client().enqueue(Note(1)).await.unwrap();
    let started = async {
        while kit.client().stats(None, None).await.unwrap().running == 0 {
            tokio::task::yield_now().await;
        }
        // The timeout, and the grace after it: a handler that does not listen is dropped.
        kit.clock().advance(60 * SECOND);
        tokio::task::yield_now().await;
        kit.clock().advance(5 * SECOND);
    };
    let (ran, ()) = tokio::join!(kit.run_due(), started);
    assert_eq!(ran.retried, 1, "{ran}");
    assert!(ran.errors[0].contains("ran longer than its timeout of 60s"), "{ran}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_fails_the_test_and_is_named() {
    async fn hang(_: Note) -> windlass::Result {
        std::future::pending().await
    }
    let kit = Kit::new(Router::new().job(hang));
    kit.client().enqueue(Note(1)).await.unwrap();
    let said = panic_of(kit.run_due()).await;
    assert!(said.starts_with("nothing has happened for 60s of real time; running: [note "), "{said}");
}

#[tokio::test]
async fn a_job_without_end_fails_the_test() {
    async fn again(_: Note, ctx: JobContext) -> windlass::Result {
        ctx.then(Note(0))?;
        Ok(())
    }
    let kit = Kit::new(Router::new().job(again));
    kit.client().enqueue(Note(0)).await.unwrap();
    let said = panic_of(kit.run_due()).await;
    assert!(said.contains("runs and no end"), "{said}");
}

#[tokio::test]
async fn an_assertion_that_fails_says_where_and_shows_what_waits() {
    let client = Client::open("memory:").await.unwrap();
    client.enqueue(Note(9)).await.unwrap();
    client.enqueue(mail("ada").with(|o| o.queue("low"))).await.unwrap();
    assert_enqueued::<SendEmail>(&client, |mail| mail.to == "ada").await;
    refute_enqueued::<SendEmail>(&client, |mail| mail.to == "bob").await;

    let said = panic_of(assert_enqueued::<SendEmail>(&client, |mail| mail.to == "bob")).await;
    assert!(said.contains("tests/kit.rs:"), "{said}");
    assert!(said.contains("no waiting job `email:send` is as expected\nwaiting: 2 jobs\n  email:send {\"to\":\"ada\"} (queue low, pending, id "), "{said}");
    assert!(said.contains("\n  note 9 (queue default"), "{said}");
    let said = panic_of(refute_enqueued::<SendEmail>(&client, |mail| mail.to == "ada")).await;
    assert!(said.contains("a job `email:send` waits that should not: email:send {\"to\":\"ada\"}"), "{said}");
}

#[tokio::test]
async fn more_jobs_than_a_page_are_all_seen() {
    let client = Client::open("memory:").await.unwrap();
    client.enqueue_all((0..2500).map(Note)).await.unwrap();
    assert_eq!(enqueued::<Note>(&client).await.len(), 2500);
    assert_enqueued::<Note>(&client, |note| note.0 == 2499).await;
    let said = panic_of(assert_enqueued::<Note>(&client, |note| note.0 == 2500)).await;
    assert_eq!(said.lines().count(), 2 + 20 + 1, "twenty of them are shown: {said}");
}

#[tokio::test]
async fn a_payload_of_another_shape_is_shown() {
    let client = Client::open("memory:").await.unwrap();
    client.enqueue(RawJob::new("note", "\"text\"")).await.unwrap();
    let said = panic_of(enqueued::<Note>(&client)).await;
    assert!(said.contains("a waiting job does not decode") && said.contains("note \"text\""), "{said}");
}

#[test]
fn a_program_is_tried_with_a_store_that_fails_in_between() {
    World::run(1, async |world| {
        let (router, log) = router();
        let faulty = FaultyStore::around(Arc::new(MemoryStore::new(world.env())), &Network::new(world.env()));
        let client = Client::builder().env(world.env()).on(faulty.backend());
        let server = windlass::Server::new(&client, router).start().await.unwrap();
        faulty.lose_replies(Call::Enqueue, 2);
        faulty.lose_replies(Call::Finish, 3);
        faulty.fail_next(Call::Claim, 2);
        let queued = client.enqueue(mail("ada").with(|o| o.retention(HOUR))).await.unwrap();
        assert!(queued.is_new());
        assert_eq!(client.wait(queued.id()).await.unwrap().state, JobState::Completed);
        assert_eq!(lines(&log), ["ada 1"]);
        server.shutdown().await;
        assert_eq!((faulty.calls(Call::Enqueue), faulty.calls(Call::Finish)), (3, 4));
        faulty.fail_next(Call::Enqueue, 4);
        assert!(client.enqueue(mail("bob")).await.is_err(), "a client gives up after its fourth try");
    });
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_kit_runs_on_any_store() {
    use windlass::store::{Create, sqlite::SqliteStore};
    let (clock, place) = (ManualClock::new(), tempfile::tempdir().unwrap());
    let path = place.path().join("jobs.db");
    let store = SqliteStore::open(path.to_str().unwrap(), Create::IfMissing, clock.env()).await.unwrap();
    let (router, log) = router();
    let kit = Kit::builder(router).store(Arc::new(store), clock).build();
    for to in ["ada", "fail", "snooze", "follow"] {
        kit.client().enqueue(mail(to)).await.unwrap();
    }
    let ran = kit.run_due().await;
    assert_eq!((ran.completed, ran.retried, ran.snoozed), (3, 1, 1), "{ran}");
    assert!(kit.perform(mail("bob")).await.is_completed());
    let ran = kit.advance(61 * SECOND).await;
    assert_eq!(ran.retried + ran.snoozed, 2, "{ran}");
    assert_eq!(lines(&log).iter().filter(|line| line.starts_with("fail")).count(), 2);
}

#[tokio::test]
async fn a_group_becomes_a_job_at_its_own_moment() {
    let (kit, log) = kit_with_groups();
    for number in [1, 2] {
        kit.client().enqueue(in_group(number, "notes:ann")).await.unwrap();
    }
    kit.client().enqueue(Note(7)).await.unwrap();
    let ran = kit.run_due().await;
    assert_eq!((ran.flushed, ran.completed, lines(&log)), (0, 1, vec!["note 7".to_owned()]), "{ran}");
    let ran = kit.advance(59 * SECOND).await;
    assert_eq!((ran.flushed, ran.runs()), (0, 0), "somebody may still join");
    let began = kit.now();
    let ran = kit.advance(HOUR).await;
    assert_eq!((ran.flushed, ran.completed, lines(&log)), (1, 1, vec!["note 200".to_owned()]), "{ran}");
    assert_eq!(kit.now().since(began), HOUR);
    assert_eq!(kit.total().flushed, 1);
}

#[tokio::test]
async fn a_tick_of_a_schedule_runs_at_its_own_moment() {
    let (router, log) = router();
    let hourly = || Schedule::cron("hourly", "@hourly").job(Note(3));
    let kit = Kit::builder(router).server(move |server| server.schedule(hourly())).build();
    assert_eq!(kit.run_due().await.runs(), 0, "there is no tick before the declaration");
    let began = kit.now();
    let ran = kit.advance(3 * HOUR).await;
    assert_eq!((ran.completed, lines(&log)), (3, vec!["note 3".to_owned(); 3]), "{ran}");
    assert_eq!(kit.now().since(began), 3 * HOUR);
}

#[tokio::test]
async fn a_full_group_is_due_at_once_and_a_larger_one_becomes_several() {
    let (kit, log) = kit_with_groups();
    for number in 1..=7 {
        kit.client().enqueue(in_group(number, "notes:ann")).await.unwrap();
    }
    let ran = kit.run_due().await;
    assert_eq!((ran.flushed, ran.completed), (2, 2), "{ran}");
    let ran = kit.advance(60 * SECOND).await;
    assert_eq!(
        (ran.flushed, lines(&log)),
        (1, ["note 300", "note 300", "note 100"].map(String::from).to_vec()),
        "{ran}"
    );
}

#[tokio::test]
async fn an_aggregator_that_fails_is_told_and_tried_again_as_time_passes() {
    let (kit, _log) = kit_with_groups();
    let bad = kit.client().enqueue(in_group(0, "notes:ann")).await.unwrap();
    let ran = kit.advance(60 * SECOND).await;
    assert_eq!((ran.flushed, ran.errors.as_slice()), (0, ["default notes:ann: zero is nothing".to_owned()].as_slice()));
    assert!(kit.run_due().await.errors.is_empty(), "not again at the same moment");
    kit.client().edit(bad.id(), "5").await.unwrap();
    let ran = kit.advance(HOUR).await;
    assert_eq!((ran.flushed, ran.completed), (1, 1), "{ran}");
}

#[tokio::test]
async fn a_group_without_an_aggregator_is_left_alone() {
    let (kit, _log) = kit_with_groups();
    kit.client().enqueue(in_group(1, "others")).await.unwrap();
    let ran = kit.advance(24 * HOUR).await;
    assert_eq!((ran.flushed, ran.runs(), kit.enqueued::<Note>().await.len()), (0, 0, 1), "{ran}");
}

#[derive(serde::Serialize, serde::Deserialize, Job)]
#[job(kind = "ask")]
struct Ask;

#[tokio::test]
async fn a_handler_may_wait_for_another_job() {
    async fn ask(_: Ask, ctx: JobContext) -> windlass::Result {
        let answer = ctx.client().enqueue_and_wait(mail("bob@example.com")).await?;
        assert_eq!(answer.state, JobState::Completed);
        Ok(())
    }
    let (router, _log) = router();
    let kit = Kit::builder(router.job(ask)).server(|server| server.concurrency(2)).build();
    kit.client().enqueue(Ask).await.unwrap();
    let ran = kit.run_due().await;
    assert_eq!(ran.completed, 2, "{ran}");
}
