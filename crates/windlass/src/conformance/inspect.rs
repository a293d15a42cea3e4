//! What people and tools look at: one job, pages of jobs, and counts that always add up.

use std::collections::BTreeSet;

use super::bench::{Bench, HOUR, MINUTE, REACHABLE, SECOND, id, queue, report};
use crate::{
    decide::operate::Action,
    job::{DeadReason, JobFilter, JobId, JobOptions, Kind, KindFilter, State, Status, Timestamp, Verdict},
    store::{Bucket, Finish, Level, Tallies},
};

/// Walks all pages of a listing.
async fn walk(bench: &Bench, filter: &JobFilter, limit: u32) -> Vec<JobId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store.list(filter, after, limit).await.expect("list");
        assert!(page.items.len() <= limit as usize);
        found.extend(page.items.iter().map(|job| job.id().clone()));
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

async fn tallies(bench: &Bench, since: Timestamp) -> Tallies {
    bench.store.tallies(since).await.expect("tallies")
}

/// All lines added up.
async fn sum(bench: &Bench, since: Timestamp) -> Bucket {
    let mut all = Bucket::default();
    tallies(bench, since).await.lines.iter().for_each(|line| all.merge(&line.bucket));
    all
}

pub async fn an_unknown_id_is_nothing(bench: Bench) {
    assert!(bench.get(&id("unknown")).await.is_none());
}

pub async fn a_listing_shows_what_get_shows(bench: Bench) {
    for state in REACHABLE {
        bench.bring_to(state, JobOptions::new().tag("x")).await;
    }
    let page = bench.store.list(&JobFilter::default(), None, 100).await.expect("list");
    assert_eq!(page.items.len(), REACHABLE.len());
    for shown in page.items {
        let job = bench.record(shown.id()).await;
        assert_eq!(format!("{shown:?}"), format!("{job:?}"));
    }
}

pub async fn jobs_are_listed_in_order_of_enqueueing(bench: Bench) {
    let mut order = Vec::new();
    for (name, priority) in [("z", 0), ("a", 50), ("m", -50)] {
        bench.clock.step_wall_back(SECOND);
        order.push(bench.add(JobOptions::new().id(name).priority(priority)).await);
    }
    let claimed = bench.claim_one().await;
    bench.finish(claimed.lease(), Verdict::RetryIn(SECOND)).await;
    assert_eq!(walk(&bench, &JobFilter::default(), 10).await, order);
}

pub async fn pages_are_complete_and_do_not_repeat(bench: Bench) {
    let order = bench.add_many(25).await;
    for limit in [1, 7, 25, 100] {
        assert_eq!(walk(&bench, &JobFilter::default(), limit).await, order, "pages of {limit}");
    }
}

pub async fn pages_of_a_filter_are_complete_and_do_not_repeat(bench: Bench) {
    let mut tagged = Vec::new();
    for number in 0..30 {
        let options = if number % 3 == 0 { JobOptions::new().tag("third") } else { JobOptions::new() };
        let job = bench.add(options).await;
        if number % 3 == 0 {
            tagged.push(job);
        }
    }
    let filter = JobFilter { tag: Some("third".into()), ..JobFilter::default() };
    for limit in [1, 4, 10, 11] {
        assert_eq!(walk(&bench, &filter, limit).await, tagged, "pages of {limit}");
    }
}

pub async fn a_walk_goes_on_where_it_was_while_jobs_come_and_go(bench: Bench) {
    let jobs = bench.add_many(6).await;
    let first = bench.store.list(&JobFilter::default(), None, 3).await.expect("list");
    for gone in [&jobs[0], &jobs[2], &jobs[4]] {
        bench.operate(gone, Action::Delete).await;
    }
    let late = bench.add(JobOptions::new()).await;
    let next = bench.store.list(&JobFilter::default(), first.next, 10).await.expect("list");
    let seen: Vec<_> = next.items.iter().map(|job| job.id().clone()).collect();
    assert_eq!(seen, [jobs[3].clone(), jobs[5].clone(), late]);
}

pub async fn a_page_holds_a_thousand_jobs_at_most(bench: Bench) {
    bench.enqueue((0..1005).map(|_| bench.job(JobOptions::new())).collect()).await;
    let page = bench.store.list(&JobFilter::default(), None, 5000).await.expect("list");
    assert!(!page.items.is_empty() && page.items.len() <= 1000);
    assert!(page.next.is_some());
}

pub async fn each_condition_of_a_filter_holds(bench: Bench) {
    bench.add_of("mail", JobOptions::new().id("a").queue("q1").tenant("acme").tag("x").tag("y")).await;
    bench.add_of("mail", JobOptions::new().id("b").queue("q2").tag("y")).await;
    bench.add_of("image", JobOptions::new().id("c").queue("q1").tenant("bolt").process_in(HOUR)).await;
    let filter = |change: &dyn Fn(&mut JobFilter)| {
        let mut filter = JobFilter::default();
        change(&mut filter);
        filter
    };
    let kind = |name: &str| Some(Kind::new(name).expect("a kind"));
    let cases: [(JobFilter, &[&str]); 11] = [
        (filter(&|_| ()), &["a", "b", "c"]),
        (filter(&|f| f.kind = kind("mail")), &["a", "b"]),
        (filter(&|f| f.kind = kind("mai")), &[]),
        (filter(&|f| f.queue = Some(queue("q1"))), &["a", "c"]),
        (filter(&|f| f.queue = Some(queue("unknown"))), &[]),
        (filter(&|f| f.tenant = Some("acme".into())), &["a"]),
        (filter(&|f| f.tag = Some("y".into())), &["a", "b"]),
        (filter(&|f| f.tag = Some("x".into())), &["a"]),
        (JobFilter::default().state(State::Scheduled), &["c"]),
        (JobFilter::default().state(State::Scheduled).state(State::Pending), &["a", "b", "c"]),
        (filter(&|f| (f.kind, f.queue, f.tag) = (kind("mail"), Some(queue("q1")), Some("y".into()))), &["a"]),
    ];
    for (filter, expected) in cases {
        assert_eq!(walk(&bench, &filter, 10).await, expected.iter().map(|name| id(name)).collect::<Vec<_>>());
    }
}

pub async fn each_state_and_each_status_can_be_listed(bench: Bench) {
    let mut all = Vec::new();
    for state in REACHABLE {
        all.push((state, bench.bring_to(state, JobOptions::new()).await.0));
    }
    for (state, job) in &all {
        assert_eq!(walk(&bench, &JobFilter::default().state(*state), 2).await, std::slice::from_ref(job));
    }
    for status in [Status::Pending, Status::Running, Status::Completed, Status::Failed] {
        let expected: Vec<_> =
            all.iter().filter(|(state, _)| state.status() == status).map(|(_, job)| job.clone()).collect();
        assert_eq!(walk(&bench, &JobFilter::default().status(status), 2).await, expected);
    }
}

pub async fn queues_are_counted_apart_and_sorted_by_name(bench: Bench) {
    for name in ["b", "a", "b"] {
        bench.add(JobOptions::new().queue(name)).await;
    }
    bench.take(&bench.request_from(&["b"], 1)).await;
    let census = bench.census().await;
    let counts: Vec<_> = census
        .queues
        .iter()
        .map(|queue| (queue.name.as_str(), queue.by_state[State::Pending.code() as usize], queue.by_state[4]))
        .collect();
    assert_eq!(counts, [("a", 1, 0), ("b", 1, 1)]);
    assert_eq!(census.now, bench.env.wall());
}

pub async fn the_oldest_pending_job_is_known(bench: Bench) {
    assert_eq!(bench.census().await.queues, []);
    let start = bench.env.wall();
    bench.add(JobOptions::new().priority(-5)).await;
    bench.clock.advance(SECOND);
    bench.add(JobOptions::new()).await;
    assert_eq!(bench.census().await.queues[0].oldest_pending, Some(start));
    bench.claim(2).await;
    assert_eq!(bench.census().await.queues[0].oldest_pending, None);
}

pub async fn a_job_given_back_to_the_front_does_not_hide_the_oldest(bench: Bench) {
    bench.add(JobOptions::new()).await;
    let waiting = bench.env.wall();
    bench.add(JobOptions::new()).await;
    let held = bench.claim_one().await;
    bench.clock.advance(MINUTE);
    bench.finish(held.lease(), Verdict::Release).await;
    assert_eq!(bench.census().await.queues[0].oldest_pending, Some(waiting));
}

pub async fn outstanding_jobs_are_those_a_server_has_still_to_end(bench: Bench) {
    let outstanding = async |queue_name: &str, kind: &str| {
        let kinds = KindFilter::of([kind]).expect("a pattern");
        bench.store.outstanding(&[queue("unknown"), queue(queue_name)], &kinds, &[]).await.expect("outstanding")
    };
    for state in REACHABLE {
        let (job, lease) = bench.bring_to(state, JobOptions::new()).await;
        let name = bench.record(&job).await.spec.queue.clone();
        // A member of a group is that of who aggregates the group.
        let counts = !state.is_terminal() && state != State::Aggregating;
        assert_eq!(outstanding(name.as_str(), "work").await > 0, counts, "{state}");
        assert_eq!(outstanding(name.as_str(), "wor").await, 0, "of these kinds only");
        assert_eq!(outstanding("elsewhere", "*").await, 0, "of these queues only");
        if let Some(lease) = lease {
            bench.finish(lease, Verdict::Complete).await;
        }
        bench.operate(&job, Action::Delete).await;
        assert_eq!(outstanding(name.as_str(), "*").await, 0);
    }
}

/// Looks at pending, running, scheduled, retrying jobs one after the other can miss one that goes round.
pub async fn a_job_that_goes_from_place_to_place_is_outstanding_all_the_while(bench: Bench) {
    const ROUNDS: u32 = 40;
    bench.add_of("other", JobOptions::new().process_in(HOUR)).await;
    bench.add(JobOptions::new().max_retry(ROUNDS)).await;
    let goes_round = async {
        for round in 0..ROUNDS {
            let job = bench.claim_one().await;
            tokio::task::yield_now().await;
            let verdict = if round % 2 == 0 { Verdict::Snooze(SECOND) } else { Verdict::RetryIn(SECOND) };
            bench.finish(job.lease(), verdict).await;
            tokio::task::yield_now().await;
            bench.pass(SECOND).await;
            assert_eq!(bench.promote().await, 1);
            tokio::task::yield_now().await;
        }
    };
    let is_seen = async {
        let kinds = KindFilter::of(["work"]).expect("a pattern");
        loop {
            let seen = bench.store.outstanding(&[queue("default")], &kinds, &[]).await.expect("outstanding");
            assert!(seen > 0, "it was there all the while");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = goes_round => {}
        () = is_seen => {}
    }
}

pub async fn what_ended_is_counted_whatever_is_kept(bench: Bench) {
    let since = bench.env.wall();
    bench.run(JobOptions::new(), Verdict::Complete).await;
    let kept = bench.run(JobOptions::new().retention(HOUR), Verdict::Complete).await;
    let dead = bench.run(JobOptions::new(), Verdict::Bury(DeadReason::Exhausted)).await;
    bench.run(JobOptions::new(), Verdict::Cancel("x".into())).await;
    bench.run(JobOptions::new(), Verdict::RetryIn(HOUR)).await;
    bench.run(JobOptions::new(), Verdict::Snooze(HOUR)).await;
    bench.operate(&kept, Action::Delete).await;
    bench.operate(&dead, Action::Delete).await;
    let all = sum(&bench, since).await;
    assert_eq!((all.completed, all.dead, all.cancelled, all.retried), (2, 1, 1, 1));
}

pub async fn what_operators_and_rescuers_end_is_counted(bench: Bench) {
    let since = bench.env.wall();
    for action in [Action::Bury, Action::Cancel { reason: "x".into() }] {
        let job = bench.add(JobOptions::new()).await;
        bench.operate(&job, action).await;
    }
    bench.start(JobOptions::new()).await;
    bench.lapse().await;
    let rules = crate::store::RescueRules { poison_after: 1, ..super::bench::rules() };
    bench.rescue_by(&rules).await;
    let all = sum(&bench, since).await;
    assert_eq!((all.dead, all.cancelled, all.completed), (2, 1, 0));
}

pub async fn tallies_go_by_queue_and_kind(bench: Bench) {
    let since = bench.env.wall();
    for (kind, name) in [("mail", "a"), ("mail", "b"), ("image", "a"), ("mail", "a")] {
        bench.add_of(kind, JobOptions::new().queue(name)).await;
        let job = bench.take(&bench.request_from(&[name], 1)).await.remove(0);
        bench.finish(job.lease(), Verdict::Complete).await;
    }
    let lines: BTreeSet<_> = tallies(&bench, since)
        .await
        .lines
        .into_iter()
        .map(|line| (line.queue, line.kind, line.bucket.completed))
        .collect();
    let line = |queue: &str, kind: &str, completed| (queue.to_owned(), kind.to_owned(), completed);
    assert_eq!(lines, [line("a", "image", 1), line("a", "mail", 2), line("b", "mail", 1)].into());
}

pub async fn tallies_go_by_tenant_too(bench: Bench) {
    let since = bench.env.wall();
    bench.run(JobOptions::new().tenant("acme"), Verdict::Complete).await;
    bench.run(JobOptions::new().tenant("acme"), Verdict::RetryIn(HOUR)).await;
    bench.run(JobOptions::new().tenant("bolt"), Verdict::Complete).await;
    bench.run(JobOptions::new(), Verdict::Complete).await;
    let Tallies { lines, tenants } = tallies(&bench, since).await;
    let counts: Vec<_> =
        tenants.iter().map(|(name, bucket)| (name.as_str(), bucket.completed, bucket.retried)).collect();
    assert_eq!(counts, [("acme", 1, 1), ("bolt", 1, 0)]);
    let mut all = Bucket::default();
    lines.iter().for_each(|line| all.merge(&line.bucket));
    assert_eq!(
        tenants.values().map(|bucket| (bucket.wait.total(), bucket.run.total())).collect::<Vec<_>>(),
        [(2, 2), (1, 1)]
    );
    assert_eq!(all.run.total(), 4, "who has no tenant is counted in its line");
    // What comes later is added to what is there.
    let (_, lease) = bench.start(JobOptions::new().tenant("bolt")).await;
    let long = Finish { ran: HOUR, ..report(lease, Verdict::Complete) };
    bench.store.finish(vec![long]).await.expect("finish");
    let bolt = tallies(&bench, since).await.tenants.remove("bolt").expect("it is counted");
    assert_eq!((bolt.completed, bolt.run.total()), (2, 2));
    assert!(bolt.run.quantile(1.0).expect("a run") > HOUR * 7 / 8);
}

/// More counters in each minute than a store reads at once.
pub async fn tallies_of_many_kinds_in_several_minutes_add_up(bench: Bench) {
    let since = bench.env.wall();
    for _ in 0..3 {
        let jobs = (0..700).map(|kind| bench.job_of(&format!("kind-{kind}"), JobOptions::new())).collect();
        bench.store.enqueue(jobs).await.expect("enqueue");
        let claimed = bench.claim(700).await;
        let finishes = claimed.iter().map(|job| super::bench::report(job.lease(), Verdict::Complete)).collect();
        bench.store.finish(finishes).await.expect("finish");
        bench.clock.advance(MINUTE);
    }
    let lines = tallies(&bench, since).await.lines;
    assert_eq!((lines.len(), lines.iter().filter(|line| line.bucket.completed == 3).count()), (700, 700));
}

pub async fn tallies_begin_with_the_minute_asked_for(bench: Bench) {
    for _ in 0..3 {
        bench.run(JobOptions::new(), Verdict::Complete).await;
        bench.clock.advance(MINUTE);
    }
    let now = bench.env.wall();
    for (minutes, completed) in [(0, 0), (1, 1), (2, 2), (3, 3), (60, 3)] {
        assert_eq!(sum(&bench, now.before(MINUTE * minutes)).await.completed, completed, "{minutes} minutes back");
    }
    let half = now.before(MINUTE + MINUTE / 2);
    assert_eq!(sum(&bench, half).await.completed, 2, "a minute that began before counts whole");
}

pub async fn histograms_count_runs_waits_and_lifetimes(bench: Bench) {
    let since = bench.env.wall();
    for (wait, verdict) in [(3, Verdict::Complete), (3, Verdict::RetryIn(HOUR)), (3, Verdict::Complete)] {
        bench.add(JobOptions::new()).await;
        bench.clock.advance(wait * SECOND);
        let job = bench.claim_one().await;
        bench.clock.advance(SECOND);
        let finish = Finish { ran: SECOND, ..report(job.lease(), verdict) };
        bench.finish_with(finish).await;
    }
    let all = sum(&bench, since).await;
    assert_eq!((all.run.total(), all.wait.total()), (3, 3));
    let near = |shown: Option<std::time::Duration>, exact: f64| {
        let shown = shown.expect("it counted something").as_secs_f64();
        assert!((shown / exact - 1.0).abs() <= 0.125, "{shown} is not about {exact}");
    };
    near(all.run.quantile(0.5), 1.0);
    near(all.wait.quantile(0.99), 3.0);
    assert_eq!(all.duration_us, 8_000_000, "two jobs lived for four seconds each");
}

pub async fn a_healthy_store_finds_nothing_that_fails_and_says_what_to_do_about_the_rest(bench: Bench) {
    bench.add(JobOptions::new()).await;
    let checks = bench.store.checkup().await.expect("checkup");
    let names: BTreeSet<_> = checks.iter().map(|check| check.name.to_string()).collect();
    assert_eq!(names.len(), checks.len(), "each name once");
    for check in &checks {
        assert!(check.level < Level::Fail, "{check:?}");
        assert!(!check.found.is_empty(), "{check:?}");
        assert_eq!(check.level == Level::Ok, check.advice.is_none(), "{check:?}");
    }
    assert_eq!(bench.store.census().await.expect("census").enqueued, 1, "it changes nothing");
}
