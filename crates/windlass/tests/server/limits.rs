//! How many jobs a server takes, of which kinds, and from which queues.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use windlass::{EventKind, JobContext, JobState, QueueName, RawJob, Router};

use crate::{
    log::Log,
    place::{HOUR, MS, Place, SECOND, job, ok, server},
};

/// How many run now and ran at most at once, by kind; and all that ran, in order, by queue and payload.
#[derive(Clone, Default)]
struct Gauge(Arc<Mutex<Readings>>);

#[derive(Default)]
struct Readings {
    now: BTreeMap<String, (u32, u32)>,
    order: Vec<(String, String)>,
}

impl Gauge {
    fn router(&self, patterns: &[&str], takes: Duration) -> Router {
        patterns.iter().fold(Router::new(), |router, pattern| {
            let gauge = self.clone();
            router.at(*pattern, move |raw: RawJob, ctx: JobContext| {
                let gauge = gauge.clone();
                async move {
                    gauge.enter(&raw, &ctx);
                    ctx.client().env().sleep(takes).await;
                    gauge.0.lock().unwrap().now.get_mut(&raw.kind).unwrap().0 -= 1;
                    ok(())
                }
            })
        })
    }

    fn enter(&self, raw: &RawJob, ctx: &JobContext) {
        let mut readings = self.0.lock().unwrap();
        let (now, most) = readings.now.entry(raw.kind.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        readings.order.push((ctx.queue().into(), String::from_utf8_lossy(&raw.payload).into()));
    }

    fn most(&self, kind: &str) -> u32 {
        self.0.lock().unwrap().now.get(kind).map_or(0, |(_, most)| *most)
    }

    fn queues(&self) -> Vec<String> {
        self.0.lock().unwrap().order.iter().map(|(queue, _)| queue.clone()).collect()
    }

    fn payloads(&self) -> Vec<String> {
        self.0.lock().unwrap().order.iter().map(|(_, payload)| payload.clone()).collect()
    }
}

async fn fill(place: &Place, count: usize, raw: impl Fn() -> RawJob) {
    place.client().enqueue_all((0..count).map(|_| raw())).await.unwrap();
}

async fn drained(place: &Place, count: u64) {
    place.until(async || place.client().census().await.unwrap().removed == count).await;
}

async fn limits_of_kinds_hold_exactly_and_are_used_up(place: Place) {
    let gauge = Gauge::default();
    let router = gauge.router(&["one", "two:*", "free"], 10 * MS);
    let running = server(&place.client(), router)
        .concurrency(12)
        .kind_concurrency("one", 1)
        .kind_concurrency("two:*", 2)
        .start()
        .await
        .unwrap();
    for kind in ["one", "two:a", "free", "two:a"] {
        fill(&place, 20, || job(kind)).await;
    }
    drained(&place, 80).await;
    running.shutdown().await;
    assert_eq!((gauge.most("one"), gauge.most("two:a")), (1, 2));
    assert!(gauge.most("free") > 2, "the control: without a limit more of them run at once");
}

async fn two_kinds_under_one_limit_share_it(place: Place) {
    let running_now = Arc::new(Mutex::new((0, 0)));
    let counter = running_now.clone();
    let router = Router::new().at("*", move |_: RawJob, ctx: JobContext| {
        let counter = counter.clone();
        async move {
            {
                let mut counter = counter.lock().unwrap();
                counter.0 += 1;
                counter.1 = counter.1.max(counter.0);
            }
            ctx.client().env().sleep(10 * MS).await;
            counter.lock().unwrap().0 -= 1;
            ok(())
        }
    });
    let running = server(&place.client(), router).kind_concurrency("image:*", 3).start().await.unwrap();
    for kind in ["image:a", "image:b", "image:c"] {
        fill(&place, 10, || job(kind)).await;
    }
    drained(&place, 30).await;
    running.shutdown().await;
    assert_eq!(running_now.lock().unwrap().1, 3);
}

async fn a_limited_kind_goes_on_without_hints_from_the_store(place: Place) {
    let gauge = Gauge::default();
    let (client, line) = place.line();
    line.without_hints();
    fill(&place, 50, || job("one")).await;
    let begun = place.now();
    let running = server(&client, gauge.router(&["one"], 10 * MS)).kind_concurrency("one", 1).start().await.unwrap();
    drained(&place, 50).await;
    let took = place.now().since(begun);
    assert!(took < 3 * SECOND, "one after the other without waiting for a poll: {took:?}");
    running.shutdown().await;
}

async fn no_more_is_held_than_slots_and_prefetch(place: Place) {
    for (prefetch, most) in [(Some(0), 4), (Some(5), 9), (None, 204)] {
        let held = Arc::new(Mutex::new((0i64, 0i64)));
        let (claims, ends) = (held.clone(), held.clone());
        let router = Router::new().at("x", move |_: RawJob, ctx: JobContext| {
            let ends = ends.clone();
            async move {
                ctx.client().env().sleep(MS).await;
                ends.lock().unwrap().0 -= 1;
                ok(())
            }
        });
        let listener = move |event: &windlass::Event| {
            if event.event == EventKind::Claimed {
                let mut held = claims.lock().unwrap();
                held.0 += 1;
                held.1 = held.1.max(held.0);
            }
        };
        let already = place.client().census().await.unwrap().removed;
        let mut set_up = server(&place.client(), router).concurrency(4).on_event(listener);
        if let Some(prefetch) = prefetch {
            set_up = set_up.prefetch(prefetch);
        }
        fill(&place, 400, || job("x")).await;
        let running = set_up.start().await.unwrap();
        drained(&place, already + 400).await;
        running.shutdown().await;
        let seen = held.lock().unwrap().1;
        assert!(seen <= most && seen >= most.min(9), "prefetch {prefetch:?}: {seen} of at most {most}");
    }
}

/// A handler whose runs take as long as their payload says, in milliseconds.
fn by_payload() -> Router {
    Router::new().at("*", |raw: RawJob, ctx: JobContext| async move {
        let ms: u32 = std::str::from_utf8(&raw.payload).unwrap().parse().unwrap();
        ctx.client().env().sleep(ms * MS).await;
        ok(())
    })
}

async fn pending(place: &Place) -> u64 {
    place.client().census().await.unwrap().queues[0].by_state[JobState::Pending.code() as usize]
}

async fn what_was_prefetched_and_does_not_start_is_given_back_within_a_second(place: Place) {
    let log = Log::new();
    let set_up = server(&place.client(), by_payload()).concurrency(2).poll_interval(HOUR).on_event(log.listener());
    let running = set_up.start().await.unwrap();
    fill(&place, 50, || RawJob::new("x", "1")).await;
    drained(&place, 50).await;
    let begun = place.now();
    // The same kind, which has been quick so far.
    fill(&place, 6, || RawJob::new("x", "600000")).await;
    log.wait_count(EventKind::Released, 4).await;
    assert!(place.now().since(begun) < 2 * SECOND);
    assert_eq!(pending(&place).await, 4);
    let second = server(&place.client(), Gauge::default().router(&["x"], MS)).start().await.unwrap();
    drained(&place, 54).await;
    second.shutdown().await;
    running.shutdown().await;
}

/// Else a process that is killed takes hundreds of jobs with it that it had not begun, and its neighbours stay idle.
async fn a_kind_that_has_not_run_here_is_claimed_for_free_slots_alone(place: Place) {
    let log = Log::new();
    let set_up = server(&place.client(), by_payload()).concurrency(2).poll_interval(HOUR).on_event(log.listener());
    let running = set_up.start().await.unwrap();
    fill(&place, 50, || RawJob::new("quick", "1")).await;
    drained(&place, 50).await;
    fill(&place, 6, || RawJob::new("slow", "600000")).await;
    log.wait_count(EventKind::Started, 52).await;
    assert_eq!((log.count(EventKind::Claimed), pending(&place).await), (52, 4), "as many as there are slots");
    // Quick ones are held in advance all the same, and overtake nobody.
    fill(&place, 3, || RawJob::new("quick", "1")).await;
    log.wait_count(EventKind::Claimed, 55).await;
    assert_eq!(pending(&place).await, 4);
    running.shutdown().await;
}

const QUEUES: [(&str, u32); 3] = [("critical", 6), ("default", 3), ("low", 1)];

async fn three_full_queues(place: &Place) {
    for (queue, _) in QUEUES {
        fill(place, 100, || job("x").with(|options| options.queue(queue))).await;
    }
}

async fn weights_are_shares_of_what_is_claimed(place: Place) {
    let gauge = Gauge::default();
    three_full_queues(&place).await;
    let router = gauge.router(&["x"], MS);
    let running = server(&place.client(), router).queues(QUEUES).concurrency(1).prefetch(0).start().await.unwrap();
    place.until(async || gauge.queues().len() >= 100).await;
    running.shutdown().await;
    let first = &gauge.queues()[..100];
    let shares = QUEUES.map(|(queue, _)| first.iter().filter(|of| *of == queue).count());
    assert_eq!(shares, [60, 30, 10]);
}

async fn strict_empties_the_heaviest_queue_first(place: Place) {
    let gauge = Gauge::default();
    three_full_queues(&place).await;
    let router = gauge.router(&["x"], MS);
    let set_up = server(&place.client(), router).queues(QUEUES).strict(true).concurrency(1).prefetch(0);
    let running = set_up.start().await.unwrap();
    place.until(async || gauge.queues().len() >= 250).await;
    running.shutdown().await;
    let order = gauge.queues();
    assert!(order[..100].iter().all(|queue| queue == "critical"));
    assert!(order[100..200].iter().all(|queue| queue == "default"));
}

async fn a_light_queue_may_use_all_slots_when_the_others_are_empty(place: Place) {
    let gauge = Gauge::default();
    fill(&place, 10, || job("x").with(|options| options.queue("low"))).await;
    let router = gauge.router(&["x"], SECOND);
    let running = server(&place.client(), router).queues(QUEUES).start().await.unwrap();
    drained(&place, 10).await;
    running.shutdown().await;
    assert_eq!(gauge.most("x"), 10);
}

async fn a_paused_queue_gives_nothing_until_it_is_resumed(place: Place) {
    let (gauge, client) = (Gauge::default(), place.client());
    let low = QueueName::new("low").unwrap();
    fill(&place, 3, || job("x").with(|options| options.queue("low"))).await;
    assert!(client.pause(&low).await.unwrap());
    let running = server(&client, gauge.router(&["x"], MS)).queues(QUEUES).start().await.unwrap();
    fill(&place, 3, || job("x")).await;
    drained(&place, 3).await;
    assert_eq!(gauge.queues(), ["default"; 3]);
    assert!(client.resume(&low).await.unwrap());
    drained(&place, 6).await;
    running.shutdown().await;
}

async fn higher_priorities_run_first_and_equals_in_order(place: Place) {
    let gauge = Gauge::default();
    for (payload, priority) in [("a", 0), ("b", -5), ("c", 100), ("d", 0), ("e", 100)] {
        let raw = RawJob::new("x", payload).with(|options| options.priority(priority));
        place.client().enqueue(raw).await.unwrap();
    }
    let running = server(&place.client(), gauge.router(&["x"], MS)).concurrency(1).start().await.unwrap();
    drained(&place, 5).await;
    running.shutdown().await;
    assert_eq!(gauge.payloads(), ["c", "e", "a", "d", "b"]);
}

on_every_store! {
    limits_of_kinds_hold_exactly_and_are_used_up
    two_kinds_under_one_limit_share_it
    a_limited_kind_goes_on_without_hints_from_the_store
    no_more_is_held_than_slots_and_prefetch
    what_was_prefetched_and_does_not_start_is_given_back_within_a_second
    a_kind_that_has_not_run_here_is_claimed_for_free_slots_alone
    weights_are_shares_of_what_is_claimed
    strict_empties_the_heaviest_queue_first
    a_light_queue_may_use_all_slots_when_the_others_are_empty
    a_paused_queue_gives_nothing_until_it_is_resumed
    higher_priorities_run_first_and_equals_in_order
}
