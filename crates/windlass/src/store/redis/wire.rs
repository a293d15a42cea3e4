//! Asynq's messages (proto3, package `asynq`), as far as they are written and read here.
//! Field numbers and meanings are Asynq's; a field that we do not know is kept by the scripts, which splice messages
//! instead of writing them anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::job::Timestamp;

/// A task: field `msg` of its hash.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TaskMessage {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) payload: Bytes,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(string, tag = "4")]
    pub(super) queue: String,
    /// The most retries.
    #[prost(int32, tag = "5")]
    pub(super) retry: i32,
    /// Retries so far.
    #[prost(int32, tag = "6")]
    pub(super) retried: i32,
    #[prost(string, tag = "7")]
    pub(super) error_msg: String,
    /// Seconds; 0: none.
    #[prost(int64, tag = "8")]
    pub(super) timeout: i64,
    /// Seconds since 1970; 0: none.
    #[prost(int64, tag = "9")]
    pub(super) deadline: i64,
    #[prost(string, tag = "10")]
    pub(super) unique_key: String,
    /// Seconds since 1970; 0: never.
    #[prost(int64, tag = "11")]
    pub(super) last_failed_at: i64,
    /// Seconds; 0: removed at once.
    #[prost(int64, tag = "12")]
    pub(super) retention: i64,
    /// Seconds since 1970; 0: not completed.
    #[prost(int64, tag = "13")]
    pub(super) completed_at: i64,
    #[prost(string, tag = "14")]
    pub(super) group_key: String,
    #[prost(btree_map = "string, string", tag = "15")]
    pub(super) headers: BTreeMap<String, String>,
}

/// google.protobuf.Timestamp.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Moment {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// A server, as Asynq's tools show it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerRecord {
    #[prost(string, tag = "1")]
    pub(super) host: String,
    #[prost(int32, tag = "2")]
    pub(super) pid: i32,
    #[prost(string, tag = "3")]
    pub(super) server_id: String,
    #[prost(int32, tag = "4")]
    pub(super) concurrency: i32,
    #[prost(btree_map = "string, int32", tag = "5")]
    pub(super) queues: BTreeMap<String, i32>,
    #[prost(bool, tag = "6")]
    pub(super) strict_priority: bool,
    #[prost(string, tag = "7")]
    pub(super) status: String,
    #[prost(message, optional, tag = "8")]
    pub(super) start_time: Option<Moment>,
    #[prost(int32, tag = "9")]
    pub(super) active_worker_count: i32,
}

impl From<Timestamp> for Moment {
    /// What lies outside of the years 1 to 9999, which the message cannot say, is at their ends.
    fn from(at: Timestamp) -> Self {
        let (seconds, micros) = (at.as_micros().div_euclid(1_000_000), at.as_micros().rem_euclid(1_000_000));
        let seconds = seconds.clamp(-62_135_596_800, 253_402_300_799);
        Self { seconds, nanos: i32::try_from(micros * 1000).unwrap_or(0) }
    }
}

/// A run, as Asynq's tools show it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WorkerRecord {
    #[prost(string, tag = "1")]
    pub(super) host: String,
    #[prost(int32, tag = "2")]
    pub(super) pid: i32,
    #[prost(string, tag = "3")]
    pub(super) server_id: String,
    #[prost(string, tag = "4")]
    pub(super) task_id: String,
    #[prost(string, tag = "5")]
    pub(super) kind: String,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) payload: Bytes,
    #[prost(string, tag = "7")]
    pub(super) queue: String,
    #[prost(message, optional, tag = "8")]
    pub(super) start_time: Option<Moment>,
    #[prost(message, optional, tag = "9")]
    pub(super) deadline: Option<Moment>,
}

impl Moment {
    /// What the zero of Go's time is written as: never.
    pub(super) const NEVER: Self = Self { seconds: -62_135_596_800, nanos: 0 };

    /// The moment; none for never, and for one that was not said.
    pub(super) fn at(moment: Option<Self>) -> Option<Timestamp> {
        let Self { seconds, nanos } = moment.filter(|moment| *moment != Self::NEVER)?;
        Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos) / 1000)?))
    }
}

/// An entry of a scheduler, as Asynq's tools show it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SchedulerEntry {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) spec: String,
    #[prost(string, tag = "3")]
    pub(super) kind: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) payload: Bytes,
    /// As Go would write them: `Queue("q")`.
    #[prost(string, repeated, tag = "5")]
    pub(super) options: Vec<String>,
    #[prost(message, optional, tag = "6")]
    pub(super) next: Option<Moment>,
    #[prost(message, optional, tag = "7")]
    pub(super) previous: Option<Moment>,
}

/// That an entry has enqueued a task.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SchedulerEvent {
    #[prost(string, tag = "1")]
    pub(super) task_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) at: Option<Moment>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(message: &impl Message) -> String {
        data_encoding::HEXLOWER.encode(&message.encode_to_vec())
    }

    /// What Go's library writes for the same values.
    #[test]
    fn a_plain_task_is_what_go_writes() {
        let task = TaskMessage {
            kind: "email:send".into(),
            payload: Bytes::from_static(br#"{"user":42}"#),
            id: "task-1".into(),
            queue: "default".into(),
            retry: 25,
            timeout: 1800,
            ..TaskMessage::default()
        };
        let golden = "0a0a656d61696c3a73656e64120b7b2275736572223a34327d1a067461736b2d31220764656661756c74281940880e";
        assert_eq!(hex(&task), golden);
    }

    #[test]
    fn a_task_with_every_field_is_what_go_writes() {
        let task = TaskMessage {
            kind: "ty".into(),
            payload: Bytes::from_static(b"pl"),
            id: "id1".into(),
            queue: "default".into(),
            retry: 25,
            retried: 1,
            error_msg: "boom".into(),
            timeout: 1800,
            deadline: 2_000_000_000,
            unique_key: "asynq:{default}:unique:ty:abc".into(),
            last_failed_at: 1_700_000_000,
            retention: 60,
            completed_at: 1_700_000_100,
            group_key: "g".into(),
            headers: [("k".to_owned(), "v".to_owned())].into(),
        };
        let golden = "0a0274791202706c1a03696431220764656661756c74281930013a04626f6f6d40880e4880a8d6b907521d6173796e71\
                      3a7b64656661756c747d3a756e697175653a74793a6162635880e2cfaa06603c68e4e2cfaa067201677a060a016b120176";
        assert_eq!(hex(&task), golden);
        let bytes = data_encoding::HEXLOWER.decode(golden.as_bytes()).expect("hex");
        assert_eq!(TaskMessage::decode(&*bytes).expect("it is one of ours"), task);
    }

    #[test]
    fn a_run_is_what_go_writes() {
        let at = |seconds| Some(Moment { seconds, nanos: 0 });
        let run = WorkerRecord {
            host: "h".into(),
            pid: 7,
            server_id: "sid".into(),
            task_id: "tid".into(),
            kind: "ty".into(),
            payload: Bytes::from_static(b"pl"),
            queue: "q".into(),
            start_time: at(1_700_000_000),
            deadline: at(1_700_001_800),
        };
        let golden = "0a016810071a0373696422037469642a0274793202706c3a017142060880e2cfaa064a060888f0cfaa06";
        assert_eq!(hex(&run), golden);
    }

    #[test]
    fn an_entry_of_a_scheduler_is_what_go_writes() {
        let entry = SchedulerEntry {
            id: "eid".into(),
            spec: "@every 1m".into(),
            kind: "ty".into(),
            payload: Bytes::from_static(b"pl"),
            options: vec![r#"Queue("q")"#.into(), "MaxRetry(3)".into()],
            next: Some(Moment { seconds: 1_700_000_060, nanos: 0 }),
            previous: Some(Moment::NEVER),
        };
        let golden = "0a03656964120940657665727920316d1a0274792202706c2a0a517565756528227122292a0b4d617852657472792833293206\
                      08bce2cfaa063a0b088092b8c398feffffff01";
        assert_eq!(hex(&entry), golden);
        assert_eq!(Moment::at(entry.next), Some(Timestamp::from_micros(1_700_000_060_000_000)));
        assert_eq!((Moment::at(entry.previous), Moment::at(None)), (None, None));
        let event = SchedulerEvent { task_id: "tid".into(), at: Some(Moment { seconds: 1_700_000_000, nanos: 0 }) };
        assert_eq!(hex(&event), "0a0374696412060880e2cfaa06");
    }

    #[test]
    fn a_moment_is_one_that_go_can_show() {
        let at = |micros| Moment::from(Timestamp::from_micros(micros));
        assert_eq!(at(1_500_000), Moment { seconds: 1, nanos: 500_000_000 });
        assert_eq!(at(-1), Moment { seconds: -1, nanos: 999_999_000 });
        assert_eq!(at(i64::MAX).seconds, 253_402_300_799);
    }

    #[test]
    fn a_server_is_what_go_writes() {
        let server = ServerRecord {
            host: "h".into(),
            pid: 7,
            server_id: "sid".into(),
            concurrency: 10,
            queues: [("default".to_owned(), 3)].into(),
            strict_priority: true,
            status: "active".into(),
            start_time: Some(Moment { seconds: 1_700_000_000, nanos: 5 }),
            active_worker_count: 2,
        };
        let golden = "0a016810071a03736964200a2a0b0a0764656661756c74100330013a0661637469766542080880e2cfaa0610054802";
        assert_eq!(hex(&server), golden);
    }
}
