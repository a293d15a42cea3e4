//! Groups: jobs that wait together, and the one step that makes a job of them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::bench::{Bench, DAY, HOUR, MINUTE, SECOND, id, ids, queue};
use crate::{
    decide::operate::Action,
    job::{
        GroupInfo, GroupKey, GroupMember, JobFilter, JobId, JobOptions, MAX_MEMBERS, NewJob, Pattern, State, UniqueBy,
        Verdict,
    },
    store::{Enqueued, Flush, Flushed, MEMBERS_BYTES, Operated, StoreError},
};

fn key(name: &str) -> GroupKey {
    GroupKey::new(queue("default"), name)
}

fn grouped() -> JobOptions {
    JobOptions::new().group("g")
}

async fn groups(bench: &Bench) -> Vec<GroupInfo> {
    bench.store.groups(None, None, 100).await.expect("groups").items
}

async fn members(bench: &Bench, name: &str) -> Vec<GroupMember> {
    bench.store.members(&key(name), MAX_MEMBERS).await.expect("members")
}

/// A flush of what was read into a plain job of kind `digest`.
fn flush_of(bench: &Bench, read: &[GroupMember]) -> Flush {
    into(read, bench.job_of("digest", JobOptions::new()))
}

fn into(read: &[GroupMember], job: NewJob) -> Flush {
    Flush { group: key("g"), members: read.iter().map(GroupMember::read).collect(), into: job }
}

async fn flush(bench: &Bench, flush: &Flush) -> Flushed {
    bench.store.flush(flush).await.expect("flush")
}

/// Nothing has come of a flush: the members wait as they did and the new job is not there.
async fn assert_unchanged(bench: &Bench, attempted: &Flush, waiting: &[&JobId]) {
    assert_eq!(bench.get(&attempted.into.spec.id).await.map(|job| job.state), None, "the new job came in");
    for member in waiting {
        assert_eq!(bench.state(member).await, State::Aggregating);
    }
}

pub async fn a_job_of_a_group_waits_in_it_and_is_not_claimed(bench: Bench) {
    let job = bench.add(grouped()).await;
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.spec.group.as_deref()), (State::Aggregating, Some("g")));
    assert_eq!(ids(&bench.claim(10).await), []);
    assert_eq!(bench.promote().await, 0);
    let census = bench.census().await;
    assert_eq!(census.queues[0].by_state[State::Aggregating.code() as usize], 1);
}

pub async fn a_delayed_job_of_a_group_joins_it_when_its_time_has_come(bench: Bench) {
    let job = bench.add(grouped().process_in(MINUTE)).await;
    assert_eq!((bench.state(&job).await, groups(&bench).await.len()), (State::Scheduled, 0));
    bench.clock.advance(MINUTE);
    assert_eq!(bench.promote().await, 1);
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.run_at), (State::Aggregating, None));
    let now = bench.env.wall();
    assert_eq!(groups(&bench).await, [GroupInfo::new(key("g"), 1, now, now)]);
}

pub async fn a_group_is_shown_with_its_size_and_ages(bench: Bench) {
    let began = bench.env.wall();
    bench.add(grouped()).await;
    bench.clock.advance(MINUTE);
    bench.add_of("other", grouped()).await;
    let now = bench.env.wall();
    let page = bench.store.groups(None, None, 10).await.expect("groups");
    assert_eq!(page.items, [GroupInfo::new(key("g"), 2, began, now)]);
    assert_eq!((page.next, page.now), (None, now));
}

pub async fn groups_of_two_queues_are_two_groups(bench: Bench) {
    let ours = bench.add(grouped()).await;
    bench.add(grouped().queue("other")).await;
    let of = |groups: Vec<GroupInfo>| groups.into_iter().map(|group| (group.key.queue, group.size)).collect::<Vec<_>>();
    assert_eq!(of(groups(&bench).await), [(queue("default"), 1), (queue("other"), 1)]);
    let other = bench.store.groups(Some(queue("other")), None, 10).await.expect("groups");
    assert_eq!(of(other.items), [(queue("other"), 1)]);
    let read = members(&bench, "g").await;
    assert_eq!(read.iter().map(|member| &member.spec.id).collect::<Vec<_>>(), [&ours]);
}

pub async fn groups_come_in_pages_by_queue_and_name(bench: Bench) {
    // Names that are a part of another, and a queue between two others.
    let made = [("a", "z"), ("a b", "a"), ("a", "a"), ("b", "a"), ("a", "a b"), ("a", "A")];
    for (queue, group) in made {
        bench.add(JobOptions::new().queue(queue).group(group)).await;
    }
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store.groups(None, after, 2).await.expect("groups");
        assert!(page.items.len() <= 2);
        walked.extend(page.items.into_iter().map(|group| group.key));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut sorted: Vec<_> = made.iter().map(|(name, group)| GroupKey::new(queue(name), *group)).collect();
    sorted.sort();
    assert_eq!(walked, sorted);
    let of_a = bench.store.groups(Some(queue("a")), Some(GroupKey::new(queue("a"), "A")), 10).await.expect("groups");
    let names: Vec<_> = of_a.items.iter().map(|group| &*group.key.name).collect();
    assert_eq!(names, ["a", "a b", "z"]);
}

pub async fn members_come_the_oldest_first_and_no_more_than_asked_for(bench: Bench) {
    let second = bench.add(grouped().process_in(SECOND)).await;
    let first = bench.add_of("other", grouped()).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    bench.clock.advance(SECOND);
    let third = bench.add(grouped()).await;
    let read = |members: Vec<GroupMember>| members.into_iter().map(|m| m.spec.id.clone()).collect::<Vec<_>>();
    assert_eq!(read(members(&bench, "g").await), [first.clone(), second.clone(), third]);
    let two = bench.store.members(&key("g"), 2).await.expect("members");
    assert_eq!(read(two), [first, second]);
    assert_eq!(read(members(&bench, "unknown").await), []);
}

pub async fn members_are_read_with_their_payload_up_to_so_many_bytes(bench: Bench) {
    let add = async |bytes: usize| {
        let mut job = bench.job(grouped());
        std::sync::Arc::get_mut(&mut job.spec).expect("a new job").payload = Bytes::from(vec![b'x'; bytes]);
        bench.add_job(job).await
    };
    add(MEMBERS_BYTES / 2).await;
    add(MEMBERS_BYTES / 2).await;
    add(1).await;
    let read = members(&bench, "g").await;
    assert_eq!(read.iter().map(|m| m.spec.payload.len()).sum::<usize>(), MEMBERS_BYTES);
    flush(&bench, &flush_of(&bench, &read)).await;
    add(MEMBERS_BYTES + 1).await;
    let read = members(&bench, "g").await;
    flush(&bench, &flush_of(&bench, &read)).await;
    assert_eq!(members(&bench, "g").await.len(), 1, "one that is too large comes alone");
}

pub async fn a_flush_makes_one_job_and_the_members_name_it(bench: Bench) {
    let (one, two) = (bench.add(grouped().retention(HOUR)).await, bench.add(grouped().retention(HOUR)).await);
    bench.clock.advance(MINUTE);
    let flushing = flush_of(&bench, &members(&bench, "g").await);
    let digest = flushing.into.spec.id.clone();
    assert_eq!(flush(&bench, &flushing).await, Flushed::Into(digest.clone()));
    for member in [one, two] {
        let record = bench.record(&member).await;
        assert_eq!((record.state, record.flushed_into.as_ref()), (State::Completed, Some(&digest)));
        assert_eq!((record.completed_at, record.attempt), (Some(bench.env.wall()), 0));
        assert_eq!(serde_json::to_value(&record).expect("JSON")["flushed_into"], digest.to_string());
    }
    assert_eq!(groups(&bench).await, []);
    assert_eq!(ids(&bench.claim(10).await), [digest]);
}

pub async fn members_without_retention_are_removed_and_counted(bench: Bench) {
    let members_there = [bench.add(grouped()).await, bench.add(grouped().tenant("acme")).await];
    bench.clock.advance(10 * SECOND);
    flush(&bench, &flush_of(&bench, &members(&bench, "g").await)).await;
    for member in &members_there {
        assert!(bench.get(member).await.is_none());
    }
    let census = bench.census().await;
    let there: u64 = census.queues.iter().flat_map(|queue| queue.by_state).sum();
    assert_eq!((census.enqueued, census.removed, there), (3, 2, 1));
    let tallies = bench.store.tallies(bench.env.wall()).await.expect("tallies");
    let members = tallies.lines.iter().find(|line| line.kind == "work").expect("the members are counted");
    assert_eq!((members.bucket.completed, members.bucket.duration_us), (2, 20_000_000));
    assert_eq!(members.bucket.run.total(), 0, "a member has not run");
    assert_eq!(tallies.tenants["acme"].completed, 1);
}

pub async fn a_flushed_member_is_kept_for_its_retention(bench: Bench) {
    let member = bench.add(grouped().retention(HOUR)).await;
    flush(&bench, &flush_of(&bench, &members(&bench, "g").await)).await;
    let prune = async || bench.store.prune(&crate::store::Prune::Expired, 10).await.expect("prune").removed;
    assert_eq!(prune().await, 0);
    bench.clock.advance(HOUR);
    assert_eq!(prune().await, 1);
    assert!(bench.get(&member).await.is_none());
}

pub async fn a_flush_leaves_those_who_came_later(bench: Bench) {
    bench.add(grouped()).await;
    let read = members(&bench, "g").await;
    let later = bench.add(grouped()).await;
    assert!(matches!(flush(&bench, &flush_of(&bench, &read)).await, Flushed::Into(_)));
    assert_eq!((bench.state(&later).await, groups(&bench).await[0].size), (State::Aggregating, 1));
}

pub async fn a_flush_of_a_member_that_left_meanwhile_changes_nothing(bench: Bench) {
    for action in [Action::Cancel { reason: "x".into() }, Action::Bury, Action::Delete, Action::RunNow] {
        let (stays, leaves) = (bench.add(grouped()).await, bench.add(grouped()).await);
        let flushing = flush_of(&bench, &members(&bench, "g").await);
        bench.operate(&leaves, action.clone()).await;
        assert_eq!(flush(&bench, &flushing).await, Flushed::Changed, "{action:?}");
        assert_unchanged(&bench, &flushing, &[&stays]).await;
        bench.operate(&stays, Action::Delete).await;
    }
}

pub async fn a_flush_of_an_edited_member_changes_nothing(bench: Bench) {
    let job = bench.add(grouped()).await;
    let flushing = flush_of(&bench, &members(&bench, "g").await);
    bench.operate(&job, Action::Edit { payload: Bytes::from_static(b"new") }).await;
    assert_eq!(flush(&bench, &flushing).await, Flushed::Changed);
    assert_unchanged(&bench, &flushing, &[&job]).await;
    let read = members(&bench, "g").await;
    assert_eq!(&read[0].spec.payload[..], b"new");
    assert!(matches!(flush(&bench, &flush_of(&bench, &read)).await, Flushed::Into(_)));
}

pub async fn a_flush_of_a_member_that_left_and_came_back_changes_nothing(bench: Bench) {
    let job = bench.add(grouped()).await;
    let flushing = flush_of(&bench, &members(&bench, "g").await);
    bench.operate(&job, Action::Bury).await;
    bench.operate(&job, Action::Edit { payload: Bytes::from_static(b"new") }).await;
    assert_eq!(bench.operate(&job, Action::Redrive).await, Operated::Done(State::Aggregating));
    assert_eq!(flush(&bench, &flushing).await, Flushed::Changed);
    assert_unchanged(&bench, &flushing, &[&job]).await;
}

pub async fn of_two_flushes_of_one_reading_the_second_changes_nothing(bench: Bench) {
    bench.add(grouped().retention(HOUR)).await;
    let read = members(&bench, "g").await;
    let (one, two) = (flush_of(&bench, &read), flush_of(&bench, &read));
    assert!(matches!(flush(&bench, &one).await, Flushed::Into(_)));
    assert_eq!(flush(&bench, &two).await, Flushed::Changed);
    assert!(bench.get(&two.into.spec.id).await.is_none());
    // The very same one again, as after a lost reply.
    assert_eq!(flush(&bench, &one).await, Flushed::Changed);
    let digest = one.into.spec.id.clone();
    assert_eq!(ids(&bench.claim(10).await), [digest]);
}

pub async fn a_group_that_was_read_and_not_flushed_is_there_again(bench: Bench) {
    bench.add(grouped()).await;
    let read = members(&bench, "g").await;
    let page = bench.store.groups(None, None, 10).await.expect("groups");
    assert_eq!(page.items.iter().map(|group| (&*group.key.name, group.size)).collect::<Vec<_>>(), [("g", 1)]);
    let again = members(&bench, "g").await;
    assert_eq!(again.iter().map(|member| member.read()).collect::<Vec<_>>(), [read[0].read()]);
}

pub async fn a_flush_that_changes_nothing_makes_no_queue(bench: Bench) {
    bench.add(grouped()).await;
    let read = members(&bench, "g").await;
    assert!(matches!(flush(&bench, &flush_of(&bench, &read)).await, Flushed::Into(_)));
    let late = into(&read, bench.job_of("digest", JobOptions::new().queue("elsewhere")));
    assert_eq!(flush(&bench, &late).await, Flushed::Changed);
    let queues = bench.census().await.queues;
    assert_eq!(queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["default"]);
}

pub async fn flushes_at_once_take_each_member_once(bench: Bench) {
    for _ in 0..20 {
        bench.add(grouped().retention(HOUR)).await;
    }
    let read = members(&bench, "g").await;
    let flushers: Vec<_> = (0..4)
        .map(|place| {
            // Each has read some that another has read, too.
            let flushing = flush_of(&bench, &read[place * 3..place * 3 + 8]);
            let bench = bench.clone();
            tokio::spawn(async move { (flush(&bench, &flushing).await, flushing) })
        })
        .collect();
    let mut gone = BTreeSet::new();
    for flusher in flushers {
        let (flushed, flushing) = flusher.await.expect("no flusher fails");
        if flushed != Flushed::Changed {
            let taken: Vec<_> = flushing.members.into_iter().filter(|(id, _)| !gone.insert(id.clone())).collect();
            assert!(taken.is_empty(), "taken twice: {taken:?}");
        }
    }
    assert!(!gone.is_empty());
    assert_eq!(members(&bench, "g").await.len(), 20 - gone.len());
}

pub async fn a_flush_that_names_a_member_twice_or_one_of_another_group_changes_nothing(bench: Bench) {
    let (ours, theirs) = (bench.add(grouped()).await, bench.add(JobOptions::new().group("h")).await);
    let (g, h) = (members(&bench, "g").await, members(&bench, "h").await);
    for read in [[&g[0], &g[0]], [&g[0], &h[0]]] {
        let flushing = flush_of(&bench, &read.map(Clone::clone));
        assert_eq!(flush(&bench, &flushing).await, Flushed::Changed);
        assert_unchanged(&bench, &flushing, &[&ours, &theirs]).await;
    }
}

pub async fn a_flush_into_a_taken_id_or_key_changes_nothing(bench: Bench) {
    let unique = || JobOptions::new().unique(UniqueBy::until_done("k"));
    let holder = bench.add_of("digest", unique().id("holder")).await;
    let member = bench.add(grouped()).await;
    let read = members(&bench, "g").await;
    let taken = Flushed::Taken(holder.clone(), Some(State::Pending));
    let by_key = into(&read, bench.job_of("digest", unique()));
    assert_eq!(flush(&bench, &by_key).await, taken);
    assert_unchanged(&bench, &by_key, &[&member]).await;
    let by_id = into(&read, bench.job_of("digest", JobOptions::new().id("holder")));
    assert_eq!(flush(&bench, &by_id).await, taken);
    assert_eq!(bench.state(&member).await, State::Aggregating);
    let into_itself = into(&read, bench.job_of("digest", JobOptions::new().id(member.to_string())));
    assert_eq!(flush(&bench, &into_itself).await, Flushed::Taken(member, Some(State::Aggregating)));
}

pub async fn a_members_key_is_held_while_it_waits_and_free_once_it_is_flushed(bench: Bench) {
    let unique = || grouped().unique(UniqueBy::until_done("k")).retention(HOUR);
    let member = bench.add(unique()).await;
    let again = bench.enqueue(vec![bench.job(unique())]).await;
    assert_eq!(again, [Enqueued::Duplicate(member, Some(State::Aggregating))]);
    flush(&bench, &flush_of(&bench, &members(&bench, "g").await)).await;
    assert!(bench.enqueue(vec![bench.job(unique())]).await[0].is_new());
}

pub async fn a_members_key_is_free_for_the_job_that_it_becomes(bench: Bench) {
    let unique = || JobOptions::new().unique(UniqueBy::until_done("k"));
    bench.add_of("digest", unique().group("g")).await;
    let flushing = into(&members(&bench, "g").await, bench.job_of("digest", unique()));
    let digest = flushing.into.spec.id.clone();
    assert_eq!(flush(&bench, &flushing).await, Flushed::Into(digest.clone()));
    let again = bench.enqueue(vec![bench.job_of("digest", unique())]).await;
    assert_eq!(again, [Enqueued::Duplicate(digest, Some(State::Pending))]);
}

pub async fn a_flush_of_none_or_of_too_many_is_refused(bench: Bench) {
    let many: Vec<_> = (0..=i64::from(MAX_MEMBERS)).map(|number| (id(&format!("job-{number}")), number)).collect();
    for members in [Vec::new(), many] {
        let flushing = Flush { members, ..flush_of(&bench, &[]) };
        assert!(matches!(bench.store.flush(&flushing).await, Err(StoreError::Invalid(_))));
    }
}

pub async fn a_group_of_the_largest_size_is_flushed_in_one_step(bench: Bench) {
    let jobs = (0..=MAX_MEMBERS).map(|_| bench.job(grouped())).collect();
    bench.enqueue(jobs).await;
    assert_eq!(groups(&bench).await[0].size, MAX_MEMBERS, "it is counted up to the largest size");
    let read = bench.store.members(&key("g"), u32::MAX).await.expect("members");
    assert_eq!(read.len(), MAX_MEMBERS as usize);
    assert!(matches!(flush(&bench, &flush_of(&bench, &read)).await, Flushed::Into(_)));
    assert_eq!(groups(&bench).await[0].size, 1);
}

pub async fn a_group_ends_with_its_last_member_and_is_there_again_with_the_next(bench: Bench) {
    let job = bench.add(grouped()).await;
    bench.store.ask_flush(&key("g")).await.expect("ask");
    bench.cancel(&job, "x").await;
    assert_eq!(groups(&bench).await, []);
    assert!(!bench.store.ask_flush(&key("g")).await.expect("ask"), "there is no such group");
    bench.clock.step_wall_back(DAY);
    bench.add(grouped()).await;
    let now = bench.env.wall();
    assert_eq!(groups(&bench).await, [GroupInfo::new(key("g"), 1, now, now)]);
}

pub async fn a_wish_to_flush_is_for_the_members_that_are_there(bench: Bench) {
    bench.add(grouped()).await;
    assert!(bench.store.ask_flush(&key("g")).await.expect("ask"));
    assert!(groups(&bench).await[0].flush_asked);
    let read = members(&bench, "g").await;
    bench.clock.advance(SECOND);
    bench.add(grouped()).await;
    assert!(groups(&bench).await[0].flush_asked, "the first one still waits");
    flush(&bench, &flush_of(&bench, &read)).await;
    let left = groups(&bench).await;
    assert_eq!((left[0].size, left[0].flush_asked), (1, false));
}

pub async fn a_wish_to_flush_outlives_a_step_back_of_the_clock(bench: Bench) {
    bench.add(grouped()).await;
    bench.clock.step_wall_back(HOUR);
    bench.store.ask_flush(&key("g")).await.expect("ask");
    assert!(groups(&bench).await[0].flush_asked);
}

pub async fn a_group_is_deleted_in_steps_and_its_members_count_as_removed(bench: Bench) {
    for _ in 0..5 {
        bench.add(grouped()).await;
        bench.clock.advance(SECOND);
    }
    let other = bench.add(JobOptions::new().group("h")).await;
    let oldest = members(&bench, "g").await[0].spec.id.clone();
    let delete = async |limit| bench.store.delete_members(&key("g"), limit).await.expect("delete");
    assert_eq!(delete(1).await, 1);
    assert!(bench.get(&oldest).await.is_none());
    assert_eq!((delete(3).await, delete(3).await, delete(3).await), (3, 1, 0));
    let census = bench.census().await;
    assert_eq!((census.enqueued, census.removed), (6, 5));
    assert_eq!(bench.state(&other).await, State::Aggregating);
}

pub async fn a_job_that_is_to_run_now_leaves_its_group_for_good(bench: Bench) {
    let job = bench.add(grouped()).await;
    assert_eq!(bench.operate(&job, Action::RunNow).await, Operated::Done(State::Pending));
    assert_eq!(groups(&bench).await, []);
    let lease = bench.claim_one().await.lease();
    bench.finish(lease, Verdict::RetryIn(SECOND)).await;
    bench.clock.advance(SECOND);
    assert_eq!(bench.promote().await, 1);
    assert_eq!(bench.state(&job).await, State::Pending, "who has run alone goes on alone");
    let lease = bench.claim_one().await.lease();
    bench.finish(lease, Verdict::Snooze(SECOND)).await;
    bench.clock.advance(SECOND);
    bench.promote().await;
    assert_eq!(bench.state(&job).await, State::Pending);
}

pub async fn a_cancelled_member_that_is_redriven_is_back_in_its_group(bench: Bench) {
    let job = bench.add(grouped()).await;
    bench.cancel(&job, "x").await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.operate(&job, Action::Redrive).await, Operated::Done(State::Aggregating));
    let (record, now) = (bench.record(&job).await, bench.env.wall());
    assert_eq!((record.reason, record.completed_at), (None, None));
    assert_eq!(groups(&bench).await, [GroupInfo::new(key("g"), 1, now, now)]);
}

pub async fn the_job_of_a_flush_may_wait_or_belong_to_a_group_itself(bench: Bench) {
    bench.add(grouped()).await;
    let nested = bench.job_of("digest", JobOptions::new().group("h"));
    let flushing = into(&members(&bench, "g").await, nested);
    flush(&bench, &flushing).await;
    assert_eq!(groups(&bench).await.iter().map(|group| &*group.key.name).collect::<Vec<_>>(), ["h"]);
    bench.add(grouped()).await;
    let later = bench.job_of("digest", JobOptions::new().process_in(MINUTE));
    let flushing = into(&members(&bench, "g").await, later);
    flush(&bench, &flushing).await;
    assert_eq!(bench.state(&flushing.into.spec.id).await, State::Scheduled);
}

pub async fn aggregating_jobs_can_be_listed_and_a_group_that_is_aggregated_is_outstanding(bench: Bench) {
    let job = bench.add(grouped()).await;
    bench.add(JobOptions::new()).await;
    let page = bench.store.list(&JobFilter::default().state(State::Aggregating), None, 10).await.expect("list");
    assert_eq!(page.items.iter().map(|job| job.id()).collect::<Vec<_>>(), [&job]);
    let outstanding = async |name: &str, groups: &[&str]| {
        let kinds = crate::job::KindFilter::of(["nothing"]).expect("a pattern");
        let groups: Vec<_> = groups.iter().map(|name| Pattern::new(name).expect("a pattern")).collect();
        bench.store.outstanding(&[queue(name)], &kinds, &groups).await.expect("outstanding")
    };
    assert!(outstanding("default", &["g"]).await > 0 && outstanding("default", &["x", "*"]).await > 0);
    assert_eq!(outstanding("default", &[]).await, 0);
    assert_eq!(outstanding("default", &["other*"]).await, 0);
    assert_eq!(outstanding("other", &["g"]).await, 0);
}
