//! Every call of the contract, in one history, over connections that lose each call's request, or its reply, or that say
//! nothing any more, or are slow: whatever was lost is asked again, and after each call the store looks as it does when
//! nothing is lost.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use uuid::Uuid;
use windlass::{
    Action, GroupKey, JobFilter, JobId, JobOptions, JobState as State, LockName, News, Progress, QueueName, Start,
    Timestamp, Verdict,
    conformance::{Bench, HOUR},
    store::{
        ClaimRequest, Flush, Hold, LockReply, LockRequest, PromoteRules, Prune, Report, RescueRules, ScheduleChange,
        ScheduleKey, ServerInfo, StoreError,
    },
};

use crate::{LEASE, Place, ended, proxy::Lose, until_answered};

const RULES: RescueRules = RescueRules { poison_after: 3, lease: LEASE, limit: 10, ran_late: false };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Lost(Lose),
    HalfOpen,
    Slow,
}

struct History {
    place: Place,
    bench: Bench,
    fault: Fault,
    /// The calls, and what the store looked like after each.
    seen: Vec<(&'static str, String)>,
    /// How often each was asked.
    asked: Vec<u32>,
}

impl History {
    async fn new(fault: Fault) -> Self {
        let place = Place::start().await;
        // Of a half-open connection only our own limit tells.
        let wait = if fault == Fault::HalfOpen { "timeout=400ms" } else { "timeout=10s" };
        let bench = place.bench(&format!("notify=off&pool=2&{wait}")).await;
        Self { place, bench, fault, seen: Vec::new(), asked: Vec::new() }
    }

    /// Makes a call under the fault, until it is answered, and notes what the store looks like then.
    async fn call<T>(&mut self, what: &'static str, call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
        match self.fault {
            Fault::None => {}
            Fault::Lost(what) => self.place.proxy.lose(what),
            Fault::HalfOpen => self.place.proxy.leave_half_open(),
            Fault::Slow => self.place.proxy.delay(Duration::from_millis(5)),
        }
        let (answer, times) = until_answered(&self.place.env, call).await;
        self.place.proxy.keep();
        self.place.proxy.delay(Duration::ZERO);
        self.asked.push(times);
        self.seen.push((what, look(&self.bench).await));
        answer
    }

    /// What the call answered is part of what was seen.
    fn note(&mut self, answer: impl std::fmt::Debug) {
        self.seen.push(("it answered", format!("{answer:?}")));
    }
}

/// All that the store holds, but for names that are made up anew in each history.
async fn look(bench: &Bench) -> String {
    let mut text = String::new();
    for job in bench.store.list(&JobFilter::default(), None, 100).await.expect("list").items {
        let job = bench.record(job.id()).await;
        text += &format!(
            "{} {} attempt {} failures {} crashes {} cancel {:?} reason {:?} until {:?} due {:?} payload {:?} {:?} {:?} \
             {:?} {:?} into {:?} waits for {:?}\n",
            job.id(),
            job.state,
            job.attempt,
            job.failures,
            job.crashes,
            job.cancel_requested,
            job.reason,
            job.lease_until,
            job.run_at,
            job.spec.payload,
            job.progress,
            job.checkpoint,
            job.log,
            job.errors.len(),
            job.flushed_into,
            job.waits_for
        );
    }
    let tallies = bench.store.tallies(Timestamp::from_micros(0)).await.expect("tallies");
    let log = bench.store.cancelled(Some(0)).await.expect("the cancel log");
    // A wish may be said twice.
    let wishes: BTreeSet<_> = log.wishes.iter().map(|wish| (wish.lease.id.clone(), wish.reason.clone())).collect();
    let queues = bench.census().await;
    // Without their fences, which are other ones in each history.
    let locks = bench.store.locks(None, 10).await.expect("locks").items;
    let locks: Vec<_> = locks.iter().map(|lock| (lock.name.clone(), lock.slots, lock.held, lock.waiting)).collect();
    text += &format!("{queues:?} {:?} {wishes:?} {locks:?}\n", tallies.lines);
    for schedule in bench.store.schedules(None, 10).await.expect("schedules").items {
        let lines = bench.store.schedule_history(&schedule.key, None, 10).await.expect("a schedule's history");
        text += &format!("{:?} {} {lines:?}\n", schedule.key, schedule.text);
    }
    text
}

fn group() -> GroupKey {
    GroupKey::new(QueueName::new("default").unwrap(), "g")
}

/// One history in which every call is made.
async fn history(fault: Fault) -> History {
    let mut all = History::new(fault).await;
    let bench = all.bench.clone();
    let store = bench.store.clone();
    let id = |name: &str| name.parse::<JobId>().unwrap();
    let job = |name: &str, options: JobOptions| bench.job(options.id(name));
    let kept = || JobOptions::new().retention(HOUR);

    let jobs = vec![
        job("a", kept()),
        job("b", kept()),
        job("c", JobOptions::new()),
        job("d", kept()),
        job("later", kept().process_in(LEASE)),
        job("g1", kept().group("g")),
        job("g2", kept().group("g")),
        job("g3", kept().group("g")),
    ];
    all.call("enqueue", async || store.enqueue(jobs.clone()).await).await;
    let request = bench.request(4);
    let claimed = all.call("claim", async || store.claim(&request).await).await.jobs;
    all.note(claimed.iter().map(|job| (job.spec.id.clone(), job.attempt)).collect::<Vec<_>>());
    let leases: Vec<_> = claimed.iter().map(|job| job.lease()).collect();
    bench.clock.advance(LEASE / 4);
    let renewal = bench.renewal(&leases);
    let lost = all.call("extend", async || store.extend(&renewal).await).await;
    all.note(lost);
    let news = News {
        number: 1,
        progress: Some(Progress::new(0.5, "half")),
        checkpoint: Some(Bytes::from_static(b"here")),
        ..News::default()
    };
    let report = vec![Report { lease: leases[3].clone(), news }];
    all.call("report", async || store.report(report.clone()).await).await;
    let mut batch = vec![
        ended(leases[0].clone(), Verdict::Complete),
        ended(leases[1].clone(), Verdict::RetryIn(HOUR)),
        ended(leases[2].clone(), Verdict::Complete),
    ];
    batch[0].then = vec![job("next", kept())];
    all.call("finish", async || store.finish(batch.clone()).await).await;
    all.call("cancel", async || store.operate(&id("d"), &Action::Cancel { reason: "x".into() }).await).await;
    all.call("edit", async || store.operate(&id("next"), &Action::Edit { payload: "[1]".into() }).await).await;
    all.call("bury", async || store.operate(&id("b"), &Action::Bury).await).await;
    all.call("redrive", async || store.operate(&id("b"), &Action::Redrive).await).await;
    let hour = Action::Reschedule { start: Start::In(HOUR) };
    all.call("reschedule", async || store.operate(&id("b"), &hour).await).await;
    all.call("run now", async || store.operate(&id("b"), &Action::RunNow).await).await;
    all.call("delete", async || store.operate(&id("b"), &Action::Delete).await).await;
    let queue = QueueName::new("default").unwrap();
    all.call("pause", async || store.pause(&queue, true).await).await;
    all.call("resume", async || store.pause(&queue, false).await).await;
    bench.pass(LEASE).await;
    all.call("promote", async || store.promote(&PromoteRules::all(10)).await).await;
    all.call("rescue", async || store.rescue(&RULES).await).await;

    let groups = all.call("groups", async || store.groups(None, None, 10).await).await.items.len();
    all.note(groups);
    let members = all.call("members", async || store.members(&group(), 2).await).await;
    let into = job("digest", kept());
    let flush = Flush { group: group(), members: members.iter().map(|member| member.read()).collect(), into };
    all.call("flush", async || store.flush(&flush).await).await;
    all.call("ask_flush", async || store.ask_flush(&group()).await).await;
    all.call("delete_members", async || store.delete_members(&group(), 10).await).await;

    let mut info = ServerInfo::new(bench.server, bench.env.wall());
    info.kinds = vec!["work".into()];
    all.call("beat", async || store.beat(&info).await).await;
    let servers = all.call("servers", async || store.servers().await).await.len();
    all.note(servers);
    all.call("sweep_unknown", async || store.sweep_unknown(HOUR, 10).await).await;
    all.call("leave", async || store.leave(bench.server).await).await;
    let late = bench.request(4);
    let none = all.call("a claim of who left", async || store.claim(&late).await).await.jobs.len();
    all.note(none);
    exclusive(&mut all).await;
    locks(&mut all).await;
    schedules(&mut all).await;
    reads(&mut all).await;
    bench.clock.advance(2 * HOUR);
    all.call("prune", async || store.prune(&Prune::Expired, 100).await).await;
    let older = Prune::Older { than: Duration::ZERO, states: vec![State::Cancelled, State::Dead] };
    all.call("prune older", async || store.prune(&older, 100).await).await;
    all
}

/// Whoever is let in is let in once.
async fn exclusive(all: &mut History) {
    let (bench, store) = (all.bench.clone(), all.bench.store.clone());
    let job = |name: &str| bench.job(JobOptions::new().id(name).queue("own").exclusive("key"));
    let jobs: Vec<_> = ["one", "two", "three", "four"].map(job).into();
    all.call("enqueue of one key", async || store.enqueue(jobs.clone()).await).await;
    let request = ClaimRequest { server: bench.other, ..bench.request_from(&["own"], 4) };
    let claimed = all.call("a claim of its holder", async || store.claim(&request).await).await.jobs;
    all.note(claimed.iter().map(|job| job.spec.id.clone()).collect::<Vec<_>>());
    let mut end = ended(claimed[0].lease(), Verdict::Complete);
    end.then = vec![job("five")];
    all.call("the end of the holder", async || store.finish(vec![end.clone()]).await).await;
    let cancel = Action::Cancel { reason: "x".into() };
    all.call("a cancelled holder", async || store.operate(&"two".parse().unwrap(), &cancel).await).await;
    all.call("a deleted holder", async || store.operate(&"three".parse().unwrap(), &Action::Delete).await).await;
    all.call("a redrive behind a holder", async || store.operate(&"two".parse().unwrap(), &Action::Redrive).await)
        .await;
}

/// A tick is one change; its repeat finds another version, and its job is there once.
async fn schedules(all: &mut History) {
    let (bench, store) = (all.bench.clone(), all.bench.store.clone());
    let key = ScheduleKey::new(QueueName::new("default").unwrap(), "nightly");
    let tick = vec![bench.job(JobOptions::new().id("tick"))];
    let change = |from, to: Option<&str>, jobs, line: Option<&str>| {
        let history = line.into_iter().map(Into::into).collect();
        ScheduleChange { key: key.clone(), from, to: to.map(Into::into), jobs, history }
    };
    let add = change(None, Some("0"), Vec::new(), None);
    all.call("change_schedule", async || store.change_schedule(&add).await).await;
    let found = all.call("schedules", async || store.schedules(None, 10).await).await.items;
    let ticked = change(Some(found[0].revision), Some("1"), tick, Some("ticked"));
    all.call("a tick", async || store.change_schedule(&ticked).await).await;
    let found = all.call("schedules_named", async || store.schedules_named("nightly").await).await.items;
    all.note(&found[0].text);
    let lines = all.call("schedule_history", async || store.schedule_history(&key, None, 10).await).await;
    all.note(lines);
    let removal = change(Some(found[0].revision), None, Vec::new(), None);
    all.call("a removal", async || store.change_schedule(&removal).await).await;
}

/// What an attempt gets, its repeat gets.
async fn locks(all: &mut History) {
    let store = all.bench.store.clone();
    let name = LockName::new("a").unwrap();
    let attempt = |number: u128, place: Option<Duration>| LockRequest {
        name: name.clone(),
        slots: 2,
        token: Uuid::from_u128(number),
        ttl: LEASE,
        place,
        holder: "h".into(),
    };
    let (first, second, waits) = (attempt(1, None), attempt(2, None), attempt(3, Some(LEASE)));
    let taken = all.call("acquire_lock", async || store.acquire_lock(&first).await).await;
    let LockReply::Held(fence) = taken else { panic!("{taken:?}") };
    all.call("the other slot", async || store.acquire_lock(&second).await).await;
    let busy = all.call("a place in line", async || store.acquire_lock(&waits).await).await;
    all.note(matches!(busy, LockReply::Busy { ahead: 0, .. }));
    let hold = Hold { name: name.clone(), token: first.token, fence };
    let held = all.call("extend_lock", async || store.extend_lock(&hold, LEASE).await).await;
    all.note(held);
    let listed = all.call("locks", async || store.locks(None, 10).await).await.items.len();
    all.note(listed);
    all.call("release_lock", async || store.release_lock(&name, hold.token, Some(fence)).await).await;
    let next = all.call("the first in line", async || store.acquire_lock(&waits).await).await;
    all.note(matches!(next, LockReply::Held(next) if next > fence));
    all.call("break_lock", async || store.break_lock(&name).await).await;
}

async fn reads(all: &mut History) {
    let store = all.bench.store.clone();
    let found = all.call("get", async || store.get(&"a".parse().unwrap()).await).await.map(|job| job.state);
    all.note(found);
    let listed = all.call("list", async || store.list(&JobFilter::default(), None, 3).await).await.items.len();
    all.note(listed);
    let counted = all.call("census", async || store.census().await).await.enqueued;
    all.note(counted);
    let queue = [QueueName::new("default").unwrap()];
    let kinds = windlass::KindFilter::all();
    let left = all.call("outstanding", async || store.outstanding(&queue, &kinds, &[]).await).await;
    all.note(left);
    let lines = all.call("tallies", async || store.tallies(Timestamp::from_micros(0)).await).await.lines.len();
    all.note(lines);
    let last = all.call("cancelled", async || store.cancelled(None).await).await.last;
    all.note(last);
    let checks = all.call("checkup", async || store.checkup().await).await.len();
    all.note(checks);
}

/// After each call the store is as it is without the fault; with one that loses something each call was made again.
async fn as_without(fault: Fault) {
    let (sound, faulty) = tokio::join!(history(Fault::None), history(fault));
    for (sound, faulty) in std::iter::zip(&sound.seen, &faulty.seen) {
        assert_eq!(sound, faulty, "under {fault:?}");
    }
    assert_eq!(sound.seen.len(), faulty.seen.len());
    assert!(sound.asked.iter().all(|times| *times == 1), "the control: nothing is asked twice by itself");
    let repeated = faulty.asked.iter().filter(|times| **times > 1).count();
    let expected = if fault == Fault::Slow { 0 } else { faulty.asked.len() };
    assert_eq!(repeated, expected, "the control: {fault:?} met the calls {:?}", faulty.asked);
}

#[tokio::test]
async fn a_call_whose_request_is_lost_is_made_by_its_repeat() {
    as_without(Fault::Lost(Lose::Request(0))).await;
}

#[tokio::test]
async fn a_call_whose_reply_is_lost_is_made_once() {
    as_without(Fault::Lost(Lose::Reply(0))).await;
}

#[tokio::test]
async fn a_call_over_a_half_open_connection_is_made_by_its_repeat() {
    as_without(Fault::HalfOpen).await;
}

#[tokio::test]
async fn a_slow_way_to_the_store_only_costs_time() {
    as_without(Fault::Slow).await;
}
