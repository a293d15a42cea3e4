//! Servers that make one job of the members of a group.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use windlass::{
    Client, Error, Group, GroupKey, GroupRules, JobFilter, JobId, JobOptions, JobState, QueueName, RawJob, Router,
    UniqueBy,
};

use crate::{
    faulty::Op,
    place::{HOUR, MINUTE, MS, Place, SECOND, job, ok, server},
};

on_every_store! {
    a_group_becomes_a_job_once_nobody_has_joined_for_the_grace_period
    a_group_that_others_keep_joining_is_flushed_after_its_longest_delay
    a_group_of_the_largest_size_is_flushed_and_what_is_left_waits
    a_delayed_member_joins_its_group_and_is_flushed_with_it
    only_a_server_of_the_queue_with_an_aggregator_of_the_name_flushes
    the_most_exact_pattern_aggregates
    an_aggregator_that_fails_or_panics_is_tried_again_and_loses_nobody
    a_payload_over_the_limit_becomes_several_jobs
    a_job_that_is_taken_is_waited_for
    the_job_goes_into_the_groups_queue_or_where_the_aggregator_says
    a_job_of_the_very_same_group_is_refused
    two_servers_make_each_member_a_part_of_one_job
    a_lost_reply_to_a_flush_doubles_nobody
    a_server_that_ends_between_reading_and_flushing_loses_nobody
    an_operators_wish_flushes_what_is_there
    an_operator_deletes_a_group
}

fn key() -> GroupKey {
    GroupKey::new(QueueName::new("default").unwrap(), "g")
}

/// When a `digest` ran, and its payload.
type Digest = (Duration, Vec<String>);

/// What ran.
#[derive(Clone, Default)]
struct Digests(Arc<Mutex<Vec<Digest>>>);

impl Digests {
    fn router(&self, place: &Place) -> Router {
        let (digests, env, began) = (self.clone(), place.env(), place.now());
        Router::new().at("digest", move |raw: RawJob| {
            digests
                .0
                .lock()
                .unwrap()
                .push((env.monotonic().since(began), serde_json::from_slice(&raw.payload).unwrap()));
            async { ok(()) }
        })
    }

    fn all(&self) -> Vec<Digest> {
        self.0.lock().unwrap().clone()
    }

    fn parts(&self) -> Vec<Vec<String>> {
        self.all().into_iter().map(|(_, parts)| parts).collect()
    }

    async fn until(&self, place: &Place, count: usize) {
        place.until(async || self.all().len() >= count).await;
    }

    fn assert_each_once(&self, members: u32) {
        let mut parts: Vec<u32> = self.parts().concat().iter().map(|part| part.parse().unwrap()).collect();
        parts.sort_unstable();
        assert_eq!(parts, (0..members).collect::<Vec<_>>());
    }
}

/// The payloads of all members, as one array.
fn digest(group: &Group) -> windlass::Result<RawJob> {
    let parts: Vec<String> = group.payloads()?;
    Ok(RawJob::new("digest", serde_json::to_vec(&parts)?))
}

async fn add(client: &Client, text: &str) -> JobId {
    let note = RawJob::new("note", format!("{text:?}")).with(|options| options.group("g").retention(24 * HOUR));
    client.enqueue(note).await.unwrap().id().clone()
}

/// The time was reached within the second in which a server looks.
fn assert_about(time: Duration, expected: Duration) {
    assert!(time >= expected && time < expected + 2 * SECOND, "{time:?} is not about {expected:?}");
}

async fn a_group_becomes_a_job_once_nobody_has_joined_for_the_grace_period(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let running = server(&client, digests.router(&place)).aggregate("g", GroupRules::new(), digest);
    let running = running.start().await.unwrap();
    let one = add(&client, "one").await;
    place.clock_turn().await;
    client.env().sleep(40 * SECOND).await;
    add(&client, "two").await;
    digests.until(&place, 1).await;
    let (at, parts) = digests.all().remove(0);
    assert_eq!(parts, ["one", "two"]);
    assert_about(at, 100 * SECOND);
    let member = place.record(&one).await;
    assert_eq!((member.state, member.attempt), (JobState::Completed, 0));
    assert!(member.flushed_into.is_some());
    assert_eq!(client.servers().await.unwrap()[0].groups, ["g"]);
    running.shutdown().await;
}

async fn a_group_that_others_keep_joining_is_flushed_after_its_longest_delay(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let rules = GroupRules::new().grace(MINUTE).max_delay(5 * MINUTE);
    let running = server(&client, digests.router(&place)).aggregate("*", rules, digest).start().await.unwrap();
    for number in 0..12 {
        add(&client, &number.to_string()).await;
        client.env().sleep(30 * SECOND).await;
    }
    digests.until(&place, 1).await;
    assert_about(digests.all()[0].0, 5 * MINUTE);
    running.shutdown().await;
}

async fn a_group_of_the_largest_size_is_flushed_and_what_is_left_waits(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    for number in 0..7 {
        add(&client, &number.to_string()).await;
    }
    let rules = GroupRules::new().max_size(3);
    let running = server(&client, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap();
    digests.until(&place, 2).await;
    assert_eq!(digests.parts(), [["0", "1", "2"], ["3", "4", "5"]]);
    assert!(digests.all()[1].0 < 5 * SECOND);
    digests.until(&place, 3).await;
    let (at, parts) = digests.all().remove(2);
    assert_eq!(parts, ["6"]);
    assert_about(at, MINUTE);
    running.shutdown().await;
}

async fn a_delayed_member_joins_its_group_and_is_flushed_with_it(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let running = server(&client, digests.router(&place)).aggregate("g", GroupRules::new(), digest);
    let running = running.start().await.unwrap();
    let later = RawJob::new("note", "\"later\"").with(|options| options.group("g").process_in(10 * MINUTE));
    client.enqueue(later).await.unwrap();
    digests.until(&place, 1).await;
    assert_about(digests.all()[0].0, 11 * MINUTE);
    assert_eq!(digests.parts(), [["later"]]);
    running.shutdown().await;
}

async fn only_a_server_of_the_queue_with_an_aggregator_of_the_name_flushes(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let member = add(&client, "0").await;
    let rules = GroupRules::new().grace(SECOND);
    let others = [
        server(&client, digests.router(&place)).start().await.unwrap(),
        server(&client, digests.router(&place)).aggregate("other*", rules, digest).start().await.unwrap(),
        server(&client, digests.router(&place))
            .queues([("low", 1)])
            .aggregate("*", rules, digest)
            .start()
            .await
            .unwrap(),
    ];
    client.env().sleep(HOUR).await;
    assert_eq!((place.record(&member).await.state, digests.all().len()), (JobState::Aggregating, 0));
    for other in others {
        other.shutdown().await;
    }
}

async fn the_most_exact_pattern_aggregates(place: Place) {
    let client = place.client();
    let named = |name: &'static str| move |_: &Group| ok(RawJob::new(name, "[]"));
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&client, Router::new().at("other", |_: RawJob| async { ok(()) }));
    let running = running.aggregate("*", rules, named("any")).aggregate("g", rules, named("exact"));
    let running = running.aggregate("g*", rules, named("prefix")).start().await.unwrap();
    let member = add(&client, "0").await;
    let into = place.until_state(&member, JobState::Completed).await.flushed_into.unwrap();
    assert_eq!(place.record(&into).await.spec.kind.as_str(), "exact");
    running.shutdown().await;
}

async fn an_aggregator_that_fails_or_panics_is_tried_again_and_loses_nobody(place: Place) {
    let (client, digests, tries) = (place.client(), Digests::default(), Arc::new(AtomicU32::new(0)));
    let counted = tries.clone();
    let fails = move |group: &Group| match counted.fetch_add(1, Ordering::SeqCst) {
        0 | 2 => Err("the template is missing".into()),
        1 | 3 => std::panic::resume_unwind(Box::new("scripted")),
        _ => digest(group),
    };
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&client, digests.router(&place)).aggregate("g", rules, fails).start().await.unwrap();
    let member = add(&client, "0").await;
    digests.until(&place, 1).await;
    assert_eq!((tries.load(Ordering::SeqCst), digests.parts()), (5, vec![vec!["0".to_owned()]]));
    assert_eq!(place.record(&member).await.state, JobState::Completed);
    // After 1, 2, 4 and 8 seconds, each between half of it and all of it.
    let at = digests.all()[0].0;
    assert!(at > 8 * SECOND && at < 22 * SECOND, "{at:?}");
    running.shutdown().await;
}

async fn a_payload_over_the_limit_becomes_several_jobs(place: Place) {
    let (patient, digests) = (place.client(), Digests::default());
    let small = Client::builder().env(place.env()).max_payload_bytes(16).on(place.line().1);
    for number in 0..8 {
        add(&patient, &number.to_string()).await;
    }
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&small, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap();
    digests.until(&place, 3).await;
    // Four have 17 bytes: of eight, the half and the half of that are tried, of the six that are left the half.
    assert_eq!(digests.parts(), [vec!["0", "1"], vec!["2", "3", "4"], vec!["5", "6", "7"]]);
    digests.assert_each_once(8);
    running.shutdown().await;
}

async fn a_job_that_is_taken_is_waited_for(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let one_at_a_time = |group: &Group| {
        let unique = JobOptions::new().unique(UniqueBy::until_done("digest"));
        ok(digest(group)?.with(|_| unique))
    };
    add(&client, "0").await;
    client.pause(&key().queue).await.unwrap();
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&client, digests.router(&place)).aggregate("g", rules, one_at_a_time).start().await.unwrap();
    place.until(async || client.groups(None, None, 1).await.unwrap().items.is_empty()).await;
    let second = add(&client, "1").await;
    client.env().sleep(20 * MINUTE).await;
    assert_eq!(place.record(&second).await.state, JobState::Aggregating);
    client.resume(&key().queue).await.unwrap();
    digests.until(&place, 2).await;
    digests.assert_each_once(2);
    running.shutdown().await;
}

async fn the_job_goes_into_the_groups_queue_or_where_the_aggregator_says(place: Place) {
    let client = place.client();
    let elsewhere = |group: &Group| ok(digest(group)?.with(|options| options.queue("mail").priority(7)));
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&client, Router::new().at("other", |_: RawJob| async { ok(()) })).queues([("low", 1)]);
    let running = running.aggregate("here", rules, digest).aggregate("there", rules, elsewhere).start().await.unwrap();
    for (name, expected, priority) in [("here", "low", 0), ("there", "mail", 7)] {
        let member = place.add(RawJob::new("note", "\"x\"").with(|o| o.queue("low").group(name))).await;
        let into = place.until_state(&member, JobState::Completed).await.flushed_into.unwrap();
        let spec = place.record(&into).await.spec;
        assert_eq!((spec.queue.as_str(), spec.priority), (expected, priority));
    }
    running.shutdown().await;
}

async fn a_job_of_the_very_same_group_is_refused(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let again = |group: &Group| ok(digest(group)?.with(|options| options.group("g")));
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&client, digests.router(&place)).aggregate("g", rules, again).start().await.unwrap();
    let member = add(&client, "0").await;
    client.env().sleep(MINUTE).await;
    assert_eq!(place.record(&member).await.state, JobState::Aggregating);
    assert_eq!(client.census().await.unwrap().enqueued, 1);
    running.shutdown().await;
}

async fn two_servers_make_each_member_a_part_of_one_job(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let rules = GroupRules::new().grace(5 * MS).max_size(4);
    let mut running = Vec::new();
    for _ in 0..2 {
        let client = place.client();
        running.push(server(&client, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap());
    }
    for number in 0..60 {
        add(&client, &number.to_string()).await;
        client.env().sleep(Duration::from_millis(number * 7 % 400)).await;
    }
    place.until(async || digests.parts().concat().len() >= 60).await;
    client.env().sleep(MINUTE).await;
    digests.assert_each_once(60);
    for running in running {
        running.shutdown().await;
    }
}

async fn a_lost_reply_to_a_flush_doubles_nobody(place: Place) {
    let ((client, line), digests) = (place.line(), Digests::default());
    line.lose_replies(Op::Flush, 1);
    let rules = GroupRules::new().grace(SECOND);
    let running = server(&client, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap();
    add(&place.client(), "0").await;
    line.called(Op::Flush, 1).await;
    add(&place.client(), "1").await;
    digests.until(&place, 2).await;
    client.env().sleep(MINUTE).await;
    assert_eq!(digests.parts(), [["0"], ["1"]]);
    running.shutdown().await;
}

async fn a_server_that_ends_between_reading_and_flushing_loses_nobody(place: Place) {
    let (mine, digests) = (place.client(), Digests::default());
    let (client, line) = place.line();
    let rules = GroupRules::new().grace(SECOND);
    line.hold_back(Op::Flush);
    let dies = server(&client, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap();
    for number in 0..3 {
        add(&mine, &number.to_string()).await;
    }
    line.called(Op::Flush, 1).await;
    line.silence();
    let survivor = server(&mine, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap();
    digests.until(&place, 1).await;
    // What the dead one had sent arrives after all.
    line.let_through(Op::Flush);
    mine.env().sleep(MINUTE).await;
    assert_eq!(digests.parts(), [["0", "1", "2"]]);
    survivor.shutdown().await;
    dies.shutdown().await;
}

async fn an_operators_wish_flushes_what_is_there(place: Place) {
    let (client, digests) = (place.client(), Digests::default());
    let rules = GroupRules::new().grace(HOUR);
    let running = server(&client, digests.router(&place)).aggregate("g", rules, digest).start().await.unwrap();
    assert!(!client.flush_group(&key()).await.unwrap(), "there is no such group yet");
    add(&client, "0").await;
    client.env().sleep(MINUTE).await;
    assert_eq!(digests.all().len(), 0);
    assert!(client.flush_group(&key()).await.unwrap());
    digests.until(&place, 1).await;
    assert_about(digests.all()[0].0, MINUTE);
    running.shutdown().await;
}

async fn an_operator_deletes_a_group(place: Place) {
    let client = place.client();
    let notes = (0..1200).map(|_| RawJob::new("note", "1").with(|options| options.group("g")));
    client.enqueue_all(notes).await.unwrap();
    let other = place.add(job("note").with(|options| options.group("h"))).await;
    assert_eq!(client.delete_group(&key()).await.unwrap(), 1200);
    assert_eq!(client.delete_group(&key()).await.unwrap(), 0);
    let waiting = client.list(&JobFilter::default().state(JobState::Aggregating), None, 10).await.unwrap();
    assert_eq!(waiting.items.iter().map(|job| job.id().clone()).collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn what_an_aggregator_may_not_be_is_said_at_the_start() {
    let client = Client::open("memory:").await.unwrap();
    let mistakes: BTreeMap<&str, (&str, GroupRules, &str)> = BTreeMap::from([
        ("the pattern is empty", (" ", GroupRules::new(), "*")),
        ("takes 1 to 500 members", ("g", GroupRules::new().max_size(0), "*")),
        ("is 1001; a flush takes", ("g", GroupRules::new().max_size(1001), "*")),
        ("have two aggregators", ("g*", GroupRules::new(), "g*")),
    ]);
    for (problem, (pattern, rules, other)) in mistakes {
        let router = Router::new().at("a", |_: RawJob| async { ok(()) });
        let wrong = server(&client, router).aggregate(other, GroupRules::new(), digest);
        match wrong.aggregate(pattern, rules, digest).start().await {
            Err(Error::Config(text)) => assert!(text.contains(problem), "{text}"),
            other => panic!("{problem}: {other:?}"),
        }
    }
}
