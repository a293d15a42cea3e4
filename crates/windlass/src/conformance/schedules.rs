//! Schedules: the compare-and-set that changes one and enqueues its jobs in the same step, and looking at them.

use std::{collections::BTreeSet, sync::Arc};

use super::bench::{Bench, HOUR, id, queue};
use crate::{
    job::{JobId, JobOptions, NewJob, State, UniqueBy},
    store::{
        HISTORY_KEPT, MAX_CHANGE_JOBS, Revision, ScheduleChange, ScheduleChanged, ScheduleKey, ScheduleLine,
        StoreError, StoredSchedule,
    },
};

fn key(name: &str) -> ScheduleKey {
    key_in("default", name)
}

fn key_in(place: &str, name: &str) -> ScheduleKey {
    ScheduleKey::new(queue(place), name)
}

fn change_of(key: &ScheduleKey, from: Option<Revision>, to: Option<&str>) -> ScheduleChange {
    ScheduleChange { key: key.clone(), from, to: to.map(Into::into), jobs: Vec::new(), history: Vec::new() }
}

async fn change(bench: &Bench, change: &ScheduleChange) -> ScheduleChanged {
    bench.store.change_schedule(change).await.expect("change")
}

/// A change that must be made; answers the new version.
async fn changed(bench: &Bench, wanted: &ScheduleChange) -> Revision {
    match change(bench, wanted).await {
        ScheduleChanged::Done(Some(revision)) => revision,
        other => panic!("a change of {:?} came to {other:?}", wanted.key),
    }
}

async fn add(bench: &Bench, key: &ScheduleKey, text: &str) -> Revision {
    changed(bench, &change_of(key, None, Some(text))).await
}

async fn remove(bench: &Bench, key: &ScheduleKey, from: Revision) {
    assert_eq!(change(bench, &change_of(key, Some(from), None)).await, ScheduleChanged::Done(None));
}

async fn all(bench: &Bench) -> Vec<StoredSchedule> {
    bench.store.schedules(None, 1000).await.expect("schedules").items
}

async fn history(bench: &Bench, key: &ScheduleKey, before: Option<u64>, limit: u32) -> Vec<ScheduleLine> {
    bench.store.schedule_history(key, before, limit).await.expect("history")
}

fn texts(lines: &[ScheduleLine]) -> Vec<&str> {
    lines.iter().map(|line| &*line.text).collect()
}

fn job_with_id(bench: &Bench, id: &str) -> NewJob {
    bench.job(JobOptions::new().id(id))
}

pub async fn a_schedule_comes_back_byte_for_byte(bench: Bench) {
    let text = "{ \"b\":1.0,\t\"a\": [\"ü\\u0000\", 12345678901234567890]}\n ";
    let odd = key_in("ü 'q' \\ %", "nightly/{a}:\"b\" ☃");
    let revision = add(&bench, &odd, text).await;
    bench
        .store
        .change_schedule(&ScheduleChange { history: vec![text.into()], ..change_of(&key("h"), None, Some("")) })
        .await
        .expect("add");
    let found = bench.store.schedules_named(&odd.name).await.expect("named").items;
    assert_eq!(found, [StoredSchedule { key: odd.clone(), revision, text: text.into() }]);
    assert!(all(&bench).await.contains(&found[0]));
    assert_eq!(texts(&history(&bench, &key("h"), None, 10).await), [text]);
}

pub async fn a_new_schedule_is_added_only_where_there_is_none(bench: Bench) {
    let revision = add(&bench, &key("a"), "first").await;
    assert_eq!(change(&bench, &change_of(&key("a"), None, Some("second"))).await, ScheduleChanged::Conflict);
    assert_eq!(all(&bench).await, [StoredSchedule { key: key("a"), revision, text: "first".into() }]);
}

pub async fn a_change_counts_only_for_the_version_that_was_read(bench: Bench) {
    let first = add(&bench, &key("a"), "1").await;
    let second = changed(&bench, &change_of(&key("a"), Some(first), Some("2"))).await;
    assert!(second > first, "versions rise");
    for stale in [Some(first), Some(Revision(second.0 + 1)), None] {
        assert_eq!(change(&bench, &change_of(&key("a"), stale, Some("3"))).await, ScheduleChanged::Conflict);
        assert_eq!(change(&bench, &change_of(&key("b"), Some(first), Some("3"))).await, ScheduleChanged::Conflict);
    }
    assert_eq!(change(&bench, &change_of(&key("a"), Some(first), None)).await, ScheduleChanged::Conflict);
    assert_eq!(all(&bench).await, [StoredSchedule { key: key("a"), revision: second, text: "2".into() }]);
}

pub async fn a_conflict_enqueues_nothing_and_says_nothing(bench: Bench) {
    let first = add(&bench, &key("a"), "1").await;
    changed(&bench, &change_of(&key("a"), Some(first), Some("2"))).await;
    let (jobs, history_lines) = (vec![job_with_id(&bench, "tick")], vec![Arc::from("ran")]);
    let stale = ScheduleChange { jobs, history: history_lines, ..change_of(&key("a"), Some(first), Some("3")) };
    assert_eq!(change(&bench, &stale).await, ScheduleChanged::Conflict);
    assert!(bench.get(&id("tick")).await.is_none());
    assert_eq!(bench.census().await.enqueued, 0);
    assert_eq!(history(&bench, &key("a"), None, 10).await, []);
}

pub async fn a_conflict_makes_no_queue(bench: Bench) {
    let first = add(&bench, &key("a"), "1").await;
    let stale = Some(Revision(first.0 + 1));
    for (key, from) in [(key("a"), stale), (key("b"), stale), (key("a"), None)] {
        let jobs = vec![bench.job(JobOptions::new())];
        let change_of_it = ScheduleChange { jobs, ..change_of(&key, from, Some("2")) };
        assert_eq!(change(&bench, &change_of_it).await, ScheduleChanged::Conflict);
        assert_eq!(bench.census().await.queues, [], "nothing has come into any queue");
    }
}

pub async fn the_jobs_of_a_change_come_in_with_it(bench: Bench) {
    let later = bench.job(JobOptions::new().id("later").process_in(HOUR));
    let jobs = vec![job_with_id(&bench, "now"), later];
    let first = changed(&bench, &ScheduleChange { jobs, ..change_of(&key("a"), None, Some("1")) }).await;
    assert_eq!(bench.state(&id("now")).await, State::Pending);
    assert_eq!(bench.state(&id("later")).await, State::Scheduled);
    assert_eq!(bench.claim_one().await.spec.id, id("now"));
    let jobs = vec![job_with_id(&bench, "last")];
    let removal = ScheduleChange { jobs, ..change_of(&key("a"), Some(first), None) };
    assert_eq!(change(&bench, &removal).await, ScheduleChanged::Done(None));
    assert_eq!(bench.state(&id("last")).await, State::Pending);
    assert_eq!(bench.census().await.enqueued, 3);
}

pub async fn a_job_of_a_change_that_is_there_already_is_left_as_it_is(bench: Bench) {
    let unique = || JobOptions::new().unique(UniqueBy::until_done("k"));
    bench.add(unique().id("tick").priority(7)).await;
    let jobs = vec![job_with_id(&bench, "tick"), bench.job(unique().id("same-key")), job_with_id(&bench, "new")];
    changed(&bench, &ScheduleChange { jobs, ..change_of(&key("a"), None, Some("1")) }).await;
    assert_eq!(bench.record(&id("tick")).await.spec.priority, 7);
    assert!(bench.get(&id("same-key")).await.is_none());
    assert_eq!(bench.state(&id("new")).await, State::Pending);
    assert_eq!(bench.census().await.enqueued, 2);
}

pub async fn a_repeat_after_a_lost_reply_is_a_conflict(bench: Bench) {
    let adding = ScheduleChange { jobs: vec![job_with_id(&bench, "1")], ..change_of(&key("a"), None, Some("1")) };
    let first = changed(&bench, &adding).await;
    assert_eq!(change(&bench, &adding).await, ScheduleChanged::Conflict);
    let same = ScheduleChange { jobs: vec![job_with_id(&bench, "2")], ..change_of(&key("a"), Some(first), Some("1")) };
    changed(&bench, &same).await;
    assert_eq!(change(&bench, &same).await, ScheduleChanged::Conflict, "an equal text has a version of its own, too");
    assert_eq!(bench.census().await.enqueued, 2);
}

pub async fn of_many_who_change_one_version_one_wins(bench: Bench) {
    let mut from = add(&bench, &key("a"), "0").await;
    for round in 0..5 {
        let contenders = (0..8).map(|number| {
            let jobs = vec![job_with_id(&bench, &format!("{round}/{number}"))];
            let wanted = ScheduleChange { jobs, ..change_of(&key("a"), Some(from), Some(&format!("{number}"))) };
            let store = bench.store.clone();
            tokio::spawn(async move { (number, store.change_schedule(&wanted).await.expect("change")) })
        });
        let mut won = Vec::new();
        for contender in contenders.collect::<Vec<_>>() {
            match contender.await.expect("no contender panics") {
                (number, ScheduleChanged::Done(Some(revision))) => won.push((number, revision)),
                (_, other) => assert_eq!(other, ScheduleChanged::Conflict),
            }
        }
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        let (number, revision) = won[0];
        assert_eq!(&*all(&bench).await[0].text, number.to_string());
        assert!(bench.get(&id(&format!("{round}/{number}"))).await.is_some());
        assert_eq!(bench.census().await.enqueued, round + 1);
        from = revision;
    }
}

pub async fn a_version_never_comes_again(bench: Bench) {
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let first = add(&bench, &key("a"), "1").await;
        let second = changed(&bench, &change_of(&key("a"), Some(first), Some("1"))).await;
        assert!(seen.insert(first) && seen.insert(second) && second > first);
        remove(&bench, &key("a"), second).await;
        assert_eq!(change(&bench, &change_of(&key("a"), Some(first), Some("1"))).await, ScheduleChanged::Conflict);
        bench.clock.step_wall_back(HOUR);
    }
}

pub async fn a_removed_schedule_is_gone_with_its_history(bench: Bench) {
    let said = |text: &str| ScheduleChange { history: vec![text.into()], ..change_of(&key("a"), None, Some("1")) };
    let first = changed(&bench, &said("before")).await;
    remove(&bench, &key("a"), first).await;
    assert_eq!(all(&bench).await, []);
    assert_eq!(bench.store.schedules_named("a").await.expect("named").items, []);
    assert_eq!(history(&bench, &key("a"), None, 10).await, []);
    assert_eq!(change(&bench, &change_of(&key("a"), Some(first), None)).await, ScheduleChanged::Conflict);
    changed(&bench, &said("after")).await;
    assert_eq!(texts(&history(&bench, &key("a"), None, 10).await), ["after"]);
}

pub async fn history_is_read_newest_first_in_pages(bench: Bench) {
    let lines = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect::<Vec<Arc<str>>>();
    let first = ScheduleChange { history: lines(&["1", "2"]), ..change_of(&key("a"), None, Some("x")) };
    let from = changed(&bench, &first).await;
    let second = ScheduleChange { history: lines(&["3", "4", "5"]), ..change_of(&key("a"), Some(from), Some("x")) };
    changed(&bench, &second).await;
    add(&bench, &key_in("other", "a"), "x").await;
    let page = history(&bench, &key("a"), None, 2).await;
    assert_eq!(texts(&page), ["5", "4"]);
    let page = history(&bench, &key("a"), Some(page[1].number), 2).await;
    assert_eq!(texts(&page), ["3", "2"]);
    assert_eq!(texts(&history(&bench, &key("a"), Some(page[1].number), 2).await), ["1"]);
    assert_eq!(history(&bench, &key_in("other", "a"), None, 10).await, []);
}

pub async fn only_the_newest_lines_of_a_history_are_kept(bench: Bench) {
    let mut from = None;
    for part in 0..3 {
        let lines = (0..HISTORY_KEPT / 2).map(|number| format!("{part}/{number}").into());
        let said = ScheduleChange { history: lines.collect(), ..change_of(&key("a"), from, Some("x")) };
        from = Some(changed(&bench, &said).await);
    }
    let mut kept = Vec::new();
    let mut before = None;
    loop {
        let page = history(&bench, &key("a"), before, 300).await;
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        kept.extend(page);
    }
    assert_eq!((kept.len(), &*kept[0].text), (HISTORY_KEPT, &*format!("2/{}", HISTORY_KEPT / 2 - 1)));
    assert_eq!(&*kept[HISTORY_KEPT - 1].text, "1/0");
}

pub async fn schedules_are_listed_in_pages_by_queue_and_name(bench: Bench) {
    let keys = ["a/x", "a/y", "b/X", "b/a", "b/x"].map(|path| {
        let (place, name) = path.split_once('/').expect("a test's path");
        key_in(place, name)
    });
    for key in keys.iter().rev() {
        add(&bench, key, "x").await;
    }
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = bench.store.schedules(after, 2).await.expect("schedules");
        assert!(page.items.len() <= 2);
        assert_eq!(page.now, bench.env.wall());
        found.extend(page.items.into_iter().map(|item| item.key));
        (after, pages) = (page.next, pages + 1);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((&found[..], pages), (&keys[..], 3));
}

pub async fn a_name_in_two_queues_is_two_schedules(bench: Bench) {
    let one = add(&bench, &key_in("a", "x"), "1").await;
    let two = add(&bench, &key_in("b", "x"), "2").await;
    add(&bench, &key_in("b", "y"), "3").await;
    let named = bench.store.schedules_named("x").await.expect("named");
    let item = |key, revision, text: &str| StoredSchedule { key, revision, text: text.into() };
    assert_eq!(named.items, [item(key_in("a", "x"), one, "1"), item(key_in("b", "x"), two, "2")]);
    assert_eq!((named.next, named.now), (None, bench.env.wall()));
    remove(&bench, &key_in("a", "x"), one).await;
    assert_eq!(all(&bench).await.len(), 2);
}

pub async fn a_change_that_no_store_takes_is_refused(bench: Bench) {
    let jobs = |jobs: Vec<NewJob>| ScheduleChange { jobs, ..change_of(&key("a"), None, Some("1")) };
    let many = (0..=MAX_CHANGE_JOBS).map(|_| bench.job(JobOptions::new())).collect();
    let elsewhere = vec![bench.job(JobOptions::new().queue("elsewhere"))];
    let said = ScheduleChange { history: vec!["gone".into()], ..change_of(&key("a"), None, None) };
    for refused in [jobs(many), jobs(elsewhere), said] {
        assert!(matches!(bench.store.change_schedule(&refused).await, Err(StoreError::Invalid(_))));
    }
    assert_eq!((all(&bench).await.len(), bench.census().await.enqueued), (0, 0));
}

pub async fn a_change_of_the_largest_size_is_one_step(bench: Bench) {
    let jobs: Vec<_> = (0..MAX_CHANGE_JOBS).map(|number| job_with_id(&bench, &format!("t/{number}"))).collect();
    let ids: Vec<JobId> = jobs.iter().map(|job| job.spec.id.clone()).collect();
    changed(&bench, &ScheduleChange { jobs, ..change_of(&key("a"), None, Some("1")) }).await;
    assert_eq!(bench.census().await.enqueued, MAX_CHANGE_JOBS as u64);
    let claimed = bench.claim(MAX_CHANGE_JOBS as u32).await;
    assert_eq!(super::bench::ids(&claimed), ids, "they stand in line in their order");
}

pub async fn the_jobs_of_a_change_wake_whoever_waits(bench: Bench) {
    let mut wakeups = bench.store.wakeups();
    wakeups.mark_seen();
    let jobs = vec![bench.job(JobOptions::new())];
    changed(&bench, &ScheduleChange { jobs, ..change_of(&key("a"), None, Some("1")) }).await;
    let woken = tokio::time::timeout(std::time::Duration::from_secs(10), wakeups.changed()).await;
    assert!(woken.is_ok(), "the job of a change wakes nobody");
}
