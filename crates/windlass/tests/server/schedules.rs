//! Servers and clients with schedules: who ticks, how often, and what is shown.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::{
    CatchUp, Client, Error, Flavor, JobContext, JobFilter, JobOptions, JobState, Overlap, RawJob, Router,
    RunningServer, Schedule, ScheduleNews, ScheduleOrigin, Timestamp,
};

use crate::place::{HOUR, MINUTE, Place, SECOND, job, ok, server};

on_every_store! {
    each_tick_enqueues_one_job_however_many_servers_declare_it
    a_handler_learns_of_its_tick_and_of_the_schedule
    after_a_downtime_the_missed_ticks_are_made_up_for_by_the_policy
    a_server_that_does_not_declare_a_schedule_leaves_it_alone_and_it_is_shown_as_orphaned
    what_was_added_ticks_on_any_server_and_outlives_them
    a_paused_schedule_leaves_its_ticks_out_until_it_is_resumed
    the_newest_declaration_holds_and_an_older_server_does_not_take_it_back
    a_schedule_whose_jobs_get_another_queue_moves_there_and_misses_nothing
    a_schedule_that_was_left_half_way_to_another_queue_arrives
    of_two_that_were_declared_at_once_in_two_queues_one_ticks
    a_schedule_takes_its_history_along_into_another_queue
    what_is_paused_writes_nothing_down_until_it_is_resumed
    the_first_schedule_of_a_running_server_ticks_within_half_a_minute
    every_by_asynqs_rules_is_on_time
    no_tick_runs_in_place_of_a_job_of_now
    a_tick_waits_for_the_job_of_the_one_before
    a_tick_runs_in_place_of_a_job_that_still_runs
    a_job_of_now_comes_beside_the_ticks
    jitter_puts_the_jobs_off_and_not_the_ticks
    a_store_that_is_away_at_the_start_hears_of_the_schedules_later
    a_server_that_cannot_read_a_schedule_goes_on_with_the_others
    edits_at_once_all_count
    a_mistake_in_a_schedule_is_an_error_of_the_start_that_names_it
    what_is_not_there_is_said_so
}

fn minutely(name: &str) -> Schedule {
    Schedule::cron(name, "* * * * *").job(kept("tick"))
}

fn kept(kind: &str) -> RawJob {
    job(kind).with(|options| options.retention(24 * HOUR))
}

/// The ticks that ran, by schedule, as minutes since the tests' beginning.
#[derive(Clone, Default)]
struct Ticks(Arc<Mutex<BTreeMap<String, Vec<u64>>>>);

impl Ticks {
    fn router(&self) -> Router {
        let ticks = self.0.clone();
        Router::new().at("tick", move |_: RawJob, ctx: JobContext| {
            let (name, at) = (ctx.schedule().unwrap().to_owned(), ctx.scheduled_for().unwrap());
            ticks.lock().unwrap().entry(name).or_default().push(minute(at));
            async { ok(()) }
        })
    }

    fn of(&self, name: &str) -> Vec<u64> {
        let mut ticks = self.0.lock().unwrap().get(name).cloned().unwrap_or_default();
        ticks.sort_unstable();
        ticks
    }
}

fn minute(at: Timestamp) -> u64 {
    at.since(Timestamp::from_micros(1_767_225_600_000_000)).as_secs() / 60
}

async fn started(place: &Place, router: Router, schedules: Vec<Schedule>) -> RunningServer {
    let server = server(&place.client(), router);
    schedules.into_iter().fold(server, |server, schedule| server.schedule(schedule)).start().await.unwrap()
}

/// Lets time pass, and a little more for what is due at its end.
async fn pass(place: &Place, time: Duration) {
    place.env().sleep(time).await;
}

async fn enqueued(place: &Place) -> u64 {
    place.client().census().await.unwrap().enqueued
}

async fn each_tick_enqueues_one_job_however_many_servers_declare_it(place: Place) {
    let ticks = Ticks::default();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(started(&place, ticks.router(), vec![minutely("a"), minutely("b")]).await);
    }
    pass(&place, 10 * MINUTE + 5 * SECOND).await;
    let all: Vec<u64> = (1..=10).collect();
    assert_eq!((ticks.of("a"), ticks.of("b")), (all.clone(), all));
    assert_eq!(enqueued(&place).await, 20);
}

async fn a_handler_learns_of_its_tick_and_of_the_schedule(place: Place) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let router = Router::new().at("tick", move |_: RawJob, ctx: JobContext| {
        note.lock().unwrap().push((ctx.schedule().map(str::to_owned), ctx.scheduled_for()));
        async { ok(()) }
    });
    let _server = started(&place, router, vec![minutely("a")]).await;
    let began = place.env().wall();
    place.client().enqueue(job("tick")).await.unwrap();
    pass(&place, MINUTE + SECOND).await;
    let tick = Timestamp::from_micros(began.as_micros() / 60_000_000 * 60_000_000).after(MINUTE);
    assert_eq!(*seen.lock().unwrap(), [(None, None), (Some("a".to_owned()), Some(tick))]);
}

async fn after_a_downtime_the_missed_ticks_are_made_up_for_by_the_policy(place: Place) {
    let ticks = Ticks::default();
    let all = || {
        let of = |name: &str, policy| minutely(name).catch_up(policy);
        vec![of("skip", CatchUp::Skip), of("one", CatchUp::One), of("all", CatchUp::All(4))]
    };
    started(&place, ticks.router(), all()).await.shutdown().await;
    pass(&place, 7 * MINUTE + 30 * SECOND).await;
    let _server = started(&place, ticks.router(), all()).await;
    pass(&place, 5 * SECOND).await;
    assert_eq!((ticks.of("skip"), ticks.of("one"), ticks.of("all")), (vec![], vec![7], vec![4, 5, 6, 7]));
    let missed = async |name: &str| place.client().schedule(name).await.unwrap().record.missed.values().sum::<u64>();
    assert_eq!((missed("skip").await, missed("one").await, missed("all").await), (7, 6, 3));
    pass(&place, MINUTE).await;
    assert_eq!((ticks.of("skip"), ticks.of("one")), (vec![8], vec![7, 8]));
}

async fn a_server_that_does_not_declare_a_schedule_leaves_it_alone_and_it_is_shown_as_orphaned(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let newer = started(&place, ticks.router(), vec![minutely("a"), minutely("b")]).await;
    let _older = started(&place, ticks.router(), vec![minutely("a")]).await;
    assert!(!client.schedule("b").await.unwrap().orphaned);
    newer.shutdown().await;
    pass(&place, 3 * MINUTE + 5 * SECOND).await;
    assert_eq!((ticks.of("a"), ticks.of("b")), (vec![1, 2, 3], vec![]));
    let page = client.schedules(None, 10).await.unwrap();
    let shown: Vec<_> = page.items.iter().map(|info| (&*info.record.name, info.orphaned)).collect();
    assert_eq!((shown, page.next), (vec![("a", false), ("b", true)], None));
    let checked = async || client.checkup().await.into_iter().find(|check| check.name == "schedules").unwrap().found;
    assert_eq!(checked().await, "1 of the first 2 schedules are declared by no live server: b");
    client.remove_schedule("b").await.unwrap();
    assert_eq!(client.schedules(None, 10).await.unwrap().items.len(), 1);
    assert_eq!(checked().await, "each of the first 1 schedules has a live server");
}

async fn what_was_added_ticks_on_any_server_and_outlives_them(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let added = client.add_schedule(minutely("a")).await.unwrap();
    assert_eq!((added.orphaned, added.record.origin), (false, ScheduleOrigin::Stored));
    for minutes in [2, 4] {
        let server = started(&place, ticks.router(), vec![]).await;
        pass(&place, 2 * MINUTE + SECOND).await;
        server.shutdown().await;
        assert_eq!(ticks.of("a"), (1..=minutes).collect::<Vec<_>>());
    }
    let document = serde_json::to_value(client.schedule("a").await.unwrap()).unwrap();
    assert_eq!((&document["origin"], &document["spec"]), (&"stored".into(), &"* * * * *".into()));
    assert_eq!((&document["enqueued"], &document["kind"]), (&4.into(), &"tick".into()));
}

async fn a_paused_schedule_leaves_its_ticks_out_until_it_is_resumed(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let server = started(&place, ticks.router(), vec![minutely("a")]).await;
    assert!(client.pause_schedule("a").await.unwrap() && !client.pause_schedule("a").await.unwrap());
    pass(&place, 2 * MINUTE + 30 * SECOND).await;
    // A restart does not resume it, and what nobody saw while it was paused is not made up for either.
    server.shutdown().await;
    pass(&place, 2 * MINUTE).await;
    assert_eq!(client.schedule("a").await.unwrap().next, None);
    assert!(client.resume_schedule("a").await.unwrap());
    let _server = started(&place, ticks.router(), vec![minutely("a")]).await;
    pass(&place, MINUTE).await;
    assert_eq!(ticks.of("a"), [5]);
    let info = client.schedule("a").await.unwrap();
    assert_eq!(serde_json::to_value(&info.record.missed).unwrap(), serde_json::json!({ "paused": 4 }));
    let history = client.schedule_history("a", None, 100).await.unwrap();
    let news: Vec<_> = history.items.iter().rev().map(|event| event.what.clone()).collect();
    assert_eq!(news[..2], [ScheduleNews::Declared { origin: ScheduleOrigin::Code }, ScheduleNews::Paused]);
    assert!(news.contains(&ScheduleNews::Resumed), "{news:?}");
}

async fn the_newest_declaration_holds_and_an_older_server_does_not_take_it_back(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let _old = started(&place, ticks.router(), vec![minutely("a")]).await;
    pass(&place, MINUTE + SECOND).await;
    let rarely = || Schedule::cron("a", "*/5 * * * *").job(kept("tick"));
    let new = started(&place, ticks.router(), vec![rarely()]).await;
    pass(&place, 10 * MINUTE).await;
    assert_eq!(ticks.of("a"), [1, 5, 10]);
    new.shutdown().await;
    pass(&place, 5 * MINUTE).await;
    assert_eq!(ticks.of("a"), [1, 5, 10, 15], "the older server ticks by the newer rule");
    assert_eq!(client.schedule("a").await.unwrap().record.generation, 2);
    let declared = client.add_schedule(minutely("a")).await;
    assert!(matches!(declared, Err(Error::ScheduleDeclared { .. })), "{declared:?}");
}

async fn a_schedule_whose_jobs_get_another_queue_moves_there_and_misses_nothing(place: Place) {
    let client = place.client();
    let to = |queue: &str| Schedule::cron("a", "* * * * *").job(kept("tick").with(|options| options.queue(queue)));
    client.add_schedule(to("one").catch_up(CatchUp::All(10))).await.unwrap();
    pass(&place, 2 * MINUTE + SECOND).await;
    let moved = client.add_schedule(to("two").catch_up(CatchUp::All(10))).await.unwrap();
    assert_eq!((moved.record.queue().as_str(), moved.record.generation), ("two", 1));
    assert_eq!(client.schedules(None, 10).await.unwrap().items.len(), 1);
    let _server = started(&place, Ticks::default().router(), vec![]).await;
    pass(&place, MINUTE).await;
    let census = client.census().await.unwrap();
    let jobs: Vec<_> =
        census.queues.iter().map(|queue| (queue.name.as_str(), queue.by_state.iter().sum::<u64>())).collect();
    assert_eq!(jobs.iter().map(|(_, count)| count).sum::<u64>(), 3, "{jobs:?}");
    assert_eq!(jobs, [("one", 2), ("two", 1)]);
}

async fn a_schedule_that_was_left_half_way_to_another_queue_arrives(place: Place) {
    use windlass::store::{ScheduleChange, ScheduleKey};
    let client = place.client();
    client.add_schedule(minutely("a")).await.unwrap();
    // As it is once the mover was killed after its first step: what it says and where it stands are at odds.
    let stored = place.client().store().schedules_named("a").await.unwrap().items.remove(0);
    let text = stored.text.replace("\"queue\":\"default\"", "\"queue\":\"other\"").into();
    let from = Some(stored.revision);
    let change = ScheduleChange { key: stored.key, from, to: Some(text), jobs: Vec::new(), history: Vec::new() };
    place.client().store().change_schedule(&change).await.unwrap();
    assert_eq!(client.schedules(None, 10).await.unwrap().items.len(), 0, "on its way it is in neither place");
    let _server = started(&place, Ticks::default().router(), vec![]).await;
    pass(&place, MINUTE + 6 * SECOND).await;
    let found = place.client().store().schedules(None, 10).await.unwrap().items;
    let keys: Vec<_> = found.into_iter().map(|stored| stored.key).collect();
    assert_eq!(keys, [ScheduleKey::new(windlass::QueueName::new("other").unwrap(), "a")]);
    assert_eq!(enqueued(&place).await, 1);
}

async fn of_two_that_were_declared_at_once_in_two_queues_one_ticks(place: Place) {
    use windlass::store::{ScheduleChange, ScheduleKey};
    let (ticks, client) = (Ticks::default(), place.client());
    client.add_schedule(minutely("a")).await.unwrap();
    // As it is when both programs had found nothing under the name.
    let stored = client.store().schedules_named("a").await.unwrap().items.remove(0);
    let text = stored.text.replace("\"queue\":\"default\"", "\"queue\":\"other\"").into();
    let key = ScheduleKey::new(windlass::QueueName::new("other").unwrap(), "a");
    let change = ScheduleChange { key, from: None, to: Some(text), jobs: Vec::new(), history: Vec::new() };
    client.store().change_schedule(&change).await.unwrap();
    let running = server(&client, ticks.router()).queues([("default", 1), ("other", 1)]).start().await.unwrap();
    pass(&place, 3 * MINUTE + SECOND).await;
    assert_eq!(client.store().schedules(None, 10).await.unwrap().items.len(), 1);
    running.shutdown().await;
    assert_eq!(ticks.of("a"), [1, 2, 3]);
}

async fn a_schedule_takes_its_history_along_into_another_queue(place: Place) {
    let client = place.client();
    let to = |queue: &str| Schedule::cron("a", "* * * * *").job(kept("tick").with(|options| options.queue(queue)));
    client.add_schedule(to("one")).await.unwrap();
    let job = client.run_schedule_now("a").await.unwrap();
    client.add_schedule(to("two")).await.unwrap();
    let history = client.schedule_history("a", None, 100).await.unwrap().items;
    let news: Vec<_> = history.into_iter().rev().map(|event| event.what).collect();
    let origin = ScheduleOrigin::Stored;
    let (declared, changed) = (ScheduleNews::Declared { origin }, ScheduleNews::Changed { origin });
    assert_eq!(news, [declared, ScheduleNews::RunNow { job }, changed]);
}

async fn what_is_paused_writes_nothing_down_until_it_is_resumed(place: Place) {
    let client = place.client();
    let _server = started(&place, Ticks::default().router(), vec![minutely("a")]).await;
    client.pause_schedule("a").await.unwrap();
    let before = client.store().schedules_named("a").await.unwrap().items.remove(0).revision;
    pass(&place, 5 * MINUTE + SECOND).await;
    let after = client.store().schedules_named("a").await.unwrap().items.remove(0).revision;
    assert_eq!((before, client.schedule_history("a", None, 100).await.unwrap().items.len()), (after, 2));
    client.resume_schedule("a").await.unwrap();
    let missed = serde_json::to_value(&client.schedule("a").await.unwrap().record.missed).unwrap();
    assert_eq!(missed, serde_json::json!({ "paused": 5 }));
}

async fn the_first_schedule_of_a_running_server_ticks_within_half_a_minute(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let server = started(&place, ticks.router(), vec![]).await;
    pass(&place, 55 * SECOND).await;
    let added = client.add_schedule(minutely("a")).await.unwrap();
    assert!(added.attended);
    pass(&place, 31 * SECOND).await;
    assert_eq!(ticks.of("a"), [1]);
    client.add_schedule(minutely("b")).await.unwrap();
    pass(&place, 35 * SECOND).await;
    assert_eq!(ticks.of("b"), [2], "others are seen within seconds");
    server.shutdown().await;
    assert!(!client.schedule("a").await.unwrap().attended);
}

async fn every_by_asynqs_rules_is_on_time(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let schedule = Schedule::cron("a", "@every 60s").flavor(Flavor::Asynq).catch_up(CatchUp::Skip).job(kept("tick"));
    let _server = started(&place, ticks.router(), vec![schedule]).await;
    pass(&place, 3 * MINUTE + SECOND).await;
    assert_eq!(ticks.of("a"), [1, 2, 3]);
    assert!(client.schedule("a").await.unwrap().record.missed.is_empty());
}

async fn no_tick_runs_in_place_of_a_job_of_now(place: Place) {
    let client = place.client();
    let slow = Router::new().at("slow", |_: RawJob, ctx: JobContext| async move {
        ctx.client().env().sleep(90 * SECOND).await;
        ok(())
    });
    let schedule = Schedule::cron("a", "* * * * *").overlap(Overlap::CancelRunning).job(kept("slow"));
    let _server = started(&place, slow, vec![schedule]).await;
    let job = client.run_schedule_now("a").await.unwrap();
    pass(&place, 2 * MINUTE).await;
    assert_eq!(place.record(&job).await.state, JobState::Completed);
}

async fn a_tick_waits_for_the_job_of_the_one_before(place: Place) {
    let client = place.client();
    let env = place.env();
    let slow = Router::new().at("slow", move |_: RawJob| {
        let env = env.clone();
        async move {
            env.sleep(150 * SECOND).await;
            ok(())
        }
    });
    let of = |name: &str, policy| Schedule::cron(name, "* * * * *").overlap(policy).job(kept("slow"));
    let _server = started(&place, slow, vec![of("skip", Overlap::Skip), of("buffer", Overlap::BufferOne)]).await;
    pass(&place, 9 * MINUTE + 55 * SECOND).await;
    let enqueued = async |name: &str| client.schedule(name).await.unwrap().record.enqueued;
    // From minute 1 for 2:30; `skip` begins again at 4 and 7, `buffer` as soon as the one before has ended.
    assert_eq!((enqueued("skip").await, enqueued("buffer").await), (3, 4));
    let skipped = client.schedule("skip").await.unwrap().record.missed;
    assert_eq!(serde_json::to_value(skipped).unwrap(), serde_json::json!({ "overlap": 6 }));
    let running = JobFilter::default().state(JobState::Running);
    assert_eq!(client.list(&running, None, 10).await.unwrap().items.len(), 1);
}

async fn a_tick_runs_in_place_of_a_job_that_still_runs(place: Place) {
    let client = place.client();
    let endless = Router::new().at("endless", |_: RawJob, ctx: JobContext| async move {
        ctx.cancelled().await;
        windlass::Result::<()>::Err("told to stop".into())
    });
    let schedule = Schedule::cron("a", "* * * * *").overlap(Overlap::CancelRunning).job(kept("endless"));
    let _server = started(&place, endless, vec![schedule]).await;
    pass(&place, 3 * MINUTE + 30 * SECOND).await;
    let count = async |state| client.list(&JobFilter::default().state(state), None, 10).await.unwrap().items.len();
    assert_eq!((count(JobState::Cancelled).await, count(JobState::Running).await), (2, 1));
}

async fn a_job_of_now_comes_beside_the_ticks(place: Place) {
    let (ticks, client) = (Ticks::default(), place.client());
    let _server = started(&place, ticks.router(), vec![minutely("a").overlap(Overlap::Skip)]).await;
    client.pause_schedule("a").await.unwrap();
    let job = client.run_schedule_now("a").await.unwrap();
    place.until_state(&job, JobState::Completed).await;
    assert_eq!(ticks.of("a"), [0]);
    client.resume_schedule("a").await.unwrap();
    pass(&place, MINUTE + SECOND).await;
    assert_eq!(ticks.of("a"), [0, 1]);
    let history = client.schedule_history("a", None, 100).await.unwrap();
    assert!(history.items.iter().any(|event| event.what == ScheduleNews::RunNow { job: job.clone() }));
}

async fn jitter_puts_the_jobs_off_and_not_the_ticks(place: Place) {
    let client = place.client();
    client.add_schedule(minutely("a").jitter(30 * SECOND)).await.unwrap();
    let _server = started(&place, Ticks::default().router(), vec![]).await;
    pass(&place, MINUTE + SECOND / 2).await;
    let jobs = client.list(&JobFilter::default(), None, 10).await.unwrap().items;
    let tick: Timestamp = jobs[0].spec.headers["windlass-scheduled-for"].parse().unwrap();
    let start = jobs[0].run_at.expect("it is put off");
    assert!(start > tick && start < tick.after(30 * SECOND), "{start}");
    assert_eq!(minute(tick), 1);
}

async fn a_store_that_is_away_at_the_start_hears_of_the_schedules_later(place: Place) {
    let (client, line) = place.line();
    let ticks = Ticks::default();
    line.cut(true);
    let _server = server(&client, ticks.router()).schedule(minutely("a")).start().await.unwrap();
    pass(&place, MINUTE).await;
    line.cut(false);
    pass(&place, 2 * MINUTE + 5 * SECOND).await;
    assert_eq!(ticks.of("a"), [2, 3], "it ticks from when the store heard of it");
}

async fn a_server_that_cannot_read_a_schedule_goes_on_with_the_others(place: Place) {
    use windlass::store::{ScheduleChange, ScheduleKey};
    let (ticks, client) = (Ticks::default(), place.client());
    let key = ScheduleKey::new(windlass::QueueName::new("default").unwrap(), "0-newer");
    let text = Some("{\"version\":9}".into());
    let foreign = ScheduleChange { key: key.clone(), from: None, to: text, jobs: Vec::new(), history: Vec::new() };
    place.client().store().change_schedule(&foreign).await.unwrap();
    client.add_schedule(minutely("a")).await.unwrap();
    let _server = started(&place, ticks.router(), vec![]).await;
    pass(&place, MINUTE + SECOND).await;
    assert_eq!(ticks.of("a"), [1]);
    assert_eq!(client.schedules(None, 10).await.unwrap().unreadable, [key]);
    let refused = client.pause_schedule("0-newer").await.unwrap_err().to_string();
    assert!(refused.contains("newer program"), "{refused}");
    client.remove_schedule("0-newer").await.unwrap();
    assert_eq!(client.schedules(None, 10).await.unwrap().unreadable, []);
}

async fn edits_at_once_all_count(place: Place) {
    let client = place.client();
    client.add_schedule(minutely("a")).await.unwrap();
    let run = |_| {
        let client = client.clone();
        tokio::spawn(async move { client.run_schedule_now("a").await.unwrap() })
    };
    let mut jobs = Vec::new();
    for running in (0..6).map(run).collect::<Vec<_>>() {
        jobs.push(running.await.unwrap());
    }
    assert_eq!(client.schedule("a").await.unwrap().record.enqueued, 6);
}

async fn a_mistake_in_a_schedule_is_an_error_of_the_start_that_names_it(place: Place) {
    let client = place.client();
    let error = async |schedules: Vec<Schedule>| {
        let server =
            schedules.into_iter().fold(server(&client, Ticks::default().router()), |server, one| server.schedule(one));
        match server.start().await {
            Err(Error::Config(problem)) => problem,
            other => panic!("{:?}", other.map(drop)),
        }
    };
    let with = |change: fn(JobOptions) -> JobOptions| Schedule::cron("a", "@daily").job(job("x").with(change));
    let cases = [
        (vec![Schedule::cron("a", "61 * * * *").job(job("x"))], "minute `61`"),
        (vec![minutely("a").timezone("Mars/Olympus")], "time zone `Mars/Olympus`"),
        (vec![Schedule::every("a", Duration::ZERO).job(job("x"))], "interval"),
        (vec![minutely("a"), minutely("b"), minutely("a")], "schedule `a` is declared twice"),
        (vec![Schedule::cron("a", "@daily")], "it has no job"),
        (vec![Schedule::cron("a", "@daily").job(job(""))], "the kind is empty"),
        (vec![minutely(" ")], "the name is empty"),
        (vec![minutely(&"x".repeat(250))], "its name is too long"),
        (vec![with(|options| options.id("x"))], "its job has an id"),
        (vec![with(|options| options.process_in(SECOND))], "a deadline or a start time"),
        (vec![with(|options| options.priority(101))], "priority 101"),
        (vec![minutely("a").catch_up(CatchUp::All(0))], "catch_up of 0"),
        (vec![minutely("a").window(Duration::ZERO)], "a window of 0"),
    ];
    for (schedules, named) in cases {
        let problem = error(schedules).await;
        assert!(problem.contains(named) && problem.starts_with("schedule `"), "{named}: {problem}");
    }
}

async fn what_is_not_there_is_said_so(place: Place) {
    let client: Client = place.client();
    let missing = |answer: Result<(), Error>| matches!(answer, Err(Error::NoSchedule(name)) if &*name == "a");
    assert!(missing(client.schedule("a").await.map(drop)));
    assert!(missing(client.remove_schedule("a").await));
    assert!(missing(client.pause_schedule("a").await.map(drop)));
    assert!(missing(client.run_schedule_now("a").await.map(drop)));
    assert!(missing(client.schedule_history("a", None, 1).await.map(drop)));
}
