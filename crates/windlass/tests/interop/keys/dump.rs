//! A whole database as lines `path = value` that two sides can be compared by.
//!
//! What makes two runs of the same steps comparable, and nothing else is left out or changed:
//! - keys with `:x:` and fields that begin with `x:` are ours alone and left out;
//! - a moment is written as `now`, or as `now+600` for one of [`WAITS`], if it (less that wait) lies between the last
//!   dump and this one, give or take the second by which one side rounds up; what was there in the last dump keeps its
//!   name; any other moment is written as it is;
//! - `pending_since` is a moment, or `a fence` (ours, with a `+`);
//! - ids that are random (of servers, in their keys and in texts), host and process are names in angle brackets, and
//!   today's date in a counter's name is `<today>`;
//! - of a server's record, host, process, id and the number of busy workers, which is as old as the last heartbeat, are
//!   left out;
//! - a task's message is one line a field; whether its bytes are those that Go writes for these fields is a line too;
//! - a time to live is a line `expires`, without how long.

use std::collections::BTreeMap;

use prost::Message;
use redis::{Connection, FromRedisValue};

use super::messages::{Server, Task, Worker};

/// The waits of the scenarios: of servers' records (Go, ours), leases and retries, schedules, retention, timeouts; in
/// seconds.
const WAITS: [i64; 6] = [0, 10, 30, 600, 1200, 1800];

/// A value before moments have got names.
#[derive(Clone, PartialEq)]
enum Raw {
    Text(String),
    Moment(i64),
}

/// Takes dumps of one database, one after the other.
pub(crate) struct Dumper {
    redis: Connection,
    since: i64,
    /// What the last dump found, and its name.
    last: BTreeMap<String, (Raw, String)>,
}

impl Dumper {
    pub(crate) fn new(redis: Connection) -> Self {
        let mut dumper = Self { redis, since: 0, last: BTreeMap::new() };
        dumper.since = dumper.now();
        dumper
    }

    fn now(&mut self) -> i64 {
        let (seconds, _): (i64, i64) = redis::cmd("TIME").query(&mut self.redis).expect("TIME");
        seconds
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.redis).expect("an answer")
    }

    /// All that there is now.
    pub(crate) fn take(&mut self) -> BTreeMap<String, String> {
        let mut raw = BTreeMap::new();
        let keys: Vec<String> = self.ask(&["KEYS", "*"]);
        for key in keys.into_iter().filter(|key| !key.contains(":x:")) {
            self.key(&key, &mut raw);
        }
        let now = self.now();
        let named = raw.into_iter().map(|(path, raw)| {
            let name = match (&raw, self.last.get(&path)) {
                (_, Some((before, name))) if *before == raw => name.clone(),
                (Raw::Text(text), _) => text.clone(),
                (Raw::Moment(at), _) => moment(*at, self.since, now),
            };
            (path, (raw, name))
        });
        self.last = named.collect();
        self.since = now;
        self.last.iter().map(|(path, (_, name))| (path.clone(), name.clone())).collect()
    }

    fn key(&mut self, key: &str, raw: &mut BTreeMap<String, Raw>) {
        let kind: String = self.ask(&["TYPE", key]);
        let path = name(key);
        let mut put = |part: &str, value: Raw| drop(raw.insert(join(&path, part), value));
        if self.ask::<i64>(&["TTL", key]) > 0 {
            put("expires", Raw::Text("yes".into()));
        }
        match kind.as_str() {
            "hash" if key.starts_with("asynq:workers:") => {
                put("", Raw::Text("hash".into()));
                for (id, record) in self.ask::<BTreeMap<String, Vec<u8>>>(&["HGETALL", key]) {
                    of_worker(&id, &record, &mut put);
                }
            }
            "hash" => {
                put("", Raw::Text("hash".into()));
                for (field, value) in self.ask::<BTreeMap<String, Vec<u8>>>(&["HGETALL", key]) {
                    if !field.starts_with("x:") {
                        of_field(&field, &value, &mut put);
                    }
                }
            }
            "zset" => {
                put("", Raw::Text("zset".into()));
                let members: Vec<(String, f64)> = self.ask(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
                for (member, score) in members {
                    assert_eq!(score.fract(), 0.0, "scores are whole seconds: {key} {member}");
                    put(&name(&member), Raw::Moment(score as i64));
                }
            }
            "list" => {
                put("", Raw::Text(format!("list {}", self.ask::<Vec<String>>(&["LRANGE", key, "0", "-1"]).join(" "))))
            }
            "set" => {
                let mut members: Vec<String> = self.ask(&["SMEMBERS", key]);
                members.sort();
                put("", Raw::Text(format!("set {}", members.join(" "))));
            }
            "string" if key.starts_with("asynq:servers:") => of_server(&self.ask::<Vec<u8>>(&["GET", key]), &mut put),
            "string" => match self.ask::<String>(&["GET", key]) {
                text if key.ends_with(":paused") => put("", Raw::Moment(text.parse().expect("seconds"))),
                text => put("", Raw::Text(text)),
            },
            other => panic!("{key} is a {other}, which Asynq has none of"),
        }
    }
}

fn of_field(field: &str, value: &[u8], put: &mut impl FnMut(&str, Raw)) {
    let text = || String::from_utf8_lossy(value).into_owned();
    match field {
        "msg" => of_message(value, put),
        "pending_since" if value.starts_with(b"+") => put(field, Raw::Text("a fence".into())),
        "pending_since" => {
            let nanos: i64 = text().parse().expect("nanoseconds");
            put(field, Raw::Moment(nanos / 1_000_000_000));
        }
        _ => put(field, Raw::Text(without_ids(&text()))),
    }
}

fn of_message(bytes: &[u8], put: &mut impl FnMut(&str, Raw)) {
    let task = Task::decode(bytes).expect("a task's message");
    let canonical = if task.encode_to_vec() == bytes { "as Go writes it" } else { "in other bytes than Go's" };
    put("msg", Raw::Text(canonical.into()));
    let texts = [
        ("kind", &task.kind),
        ("id", &task.id),
        ("queue", &task.queue),
        ("error_msg", &task.error_msg),
        ("unique_key", &task.unique_key),
        ("group_key", &task.group_key),
    ];
    for (part, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        put(&format!("msg.{part}"), Raw::Text(without_ids(text)));
    }
    put("msg.payload", Raw::Text(String::from_utf8_lossy(&task.payload).into_owned()));
    let numbers = [
        ("retry", i64::from(task.retry)),
        ("retried", i64::from(task.retried)),
        ("timeout", task.timeout),
        ("deadline", task.deadline),
        ("retention", task.retention),
    ];
    for (part, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        put(&format!("msg.{part}"), Raw::Text(number.to_string()));
    }
    for (part, at) in [("last_failed_at", task.last_failed_at), ("completed_at", task.completed_at)] {
        if at != 0 {
            put(&format!("msg.{part}"), Raw::Moment(at));
        }
    }
    for (header, value) in task.headers {
        put(&format!("msg.headers.{header}"), Raw::Text(value));
    }
}

fn of_server(bytes: &[u8], put: &mut impl FnMut(&str, Raw)) {
    let server = Server::decode(bytes).expect("a server's record");
    put("", Raw::Text("server".into()));
    put("concurrency", Raw::Text(server.concurrency.to_string()));
    put("queues", Raw::Text(format!("{:?}", server.queues)));
    put("strict_priority", Raw::Text(server.strict_priority.to_string()));
    put("status", Raw::Text(server.status));
    put("start_time", Raw::Moment(server.start_time.map_or(0, |at| at.seconds)));
}

fn of_worker(id: &str, bytes: &[u8], put: &mut impl FnMut(&str, Raw)) {
    let worker = Worker::decode(bytes).expect("a worker's record");
    let payload = String::from_utf8_lossy(&worker.payload);
    put(id, Raw::Text(format!("{} {} {payload} {}", worker.task_id, worker.kind, worker.queue)));
    for (part, at) in [("start_time", worker.start_time), ("deadline", worker.deadline)] {
        put(&format!("{id}.{part}"), Raw::Moment(at.map_or(0, |at| at.seconds)));
    }
}

/// A moment that one of the waits explains by it.
fn moment(at: i64, since: i64, until: i64) -> String {
    // The other side rounds up: a second more.
    let wait = WAITS.into_iter().find(|wait| (since..=until + 1).contains(&(at - wait)));
    match wait {
        None => at.to_string(),
        Some(0) => "now".into(),
        Some(wait) => format!("now+{wait}"),
    }
}

fn join(path: &str, part: &str) -> String {
    if part.is_empty() { path.to_owned() } else { format!("{path} {part}") }
}

/// A key without what is of this run alone.
fn name(key: &str) -> String {
    for kind in ["asynq:servers:", "asynq:workers:"] {
        if key.starts_with(kind) {
            return format!("{kind}{{<server>}}");
        }
    }
    match key.rsplit_once(':') {
        Some((counter, date)) if date.len() == 10 && date.starts_with("20") => format!("{counter}:<today>"),
        _ => key.to_owned(),
    }
}

/// A text in which each UUID is `<id>`.
fn without_ids(text: &str) -> String {
    const LENGTH: usize = 36;
    let mut left = text;
    let mut named = String::with_capacity(text.len());
    while let Some(first) = left.chars().next() {
        if left.get(..LENGTH).is_some_and(|start| uuid::Uuid::try_parse(start).is_ok()) {
            named.push_str("<id>");
            left = &left[LENGTH..];
        } else {
            named.push(first);
            left = &left[first.len_utf8()..];
        }
    }
    named
}

#[test]
fn moments_have_names_and_others_are_themselves() {
    assert_eq!(moment(100, 100, 101), "now");
    assert_eq!(moment(102, 100, 101), "now", "one side rounds up");
    assert_eq!(moment(701, 100, 101), "now+600");
    assert_eq!(moment(103, 100, 101), "103");
    assert_eq!(moment(99, 100, 101), "99");
}

#[test]
fn ids_have_a_name() {
    assert_eq!(without_ids("gone (server 0198b7a2-5f2a-7cc3-8a4e-0123456789ab)"), "gone (server <id>)");
    assert_eq!(name("asynq:{q}:processed:2026-01-31"), "asynq:{q}:processed:<today>");
}
