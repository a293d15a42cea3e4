//! Asynq's messages, written down for these tests apart from the store's own, so that both must be right.

use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Task {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(string, tag = "4")]
    pub(crate) queue: String,
    #[prost(int32, tag = "5")]
    pub(crate) retry: i32,
    #[prost(int32, tag = "6")]
    pub(crate) retried: i32,
    #[prost(string, tag = "7")]
    pub(crate) error_msg: String,
    #[prost(int64, tag = "8")]
    pub(crate) timeout: i64,
    #[prost(int64, tag = "9")]
    pub(crate) deadline: i64,
    #[prost(string, tag = "10")]
    pub(crate) unique_key: String,
    #[prost(int64, tag = "11")]
    pub(crate) last_failed_at: i64,
    #[prost(int64, tag = "12")]
    pub(crate) retention: i64,
    #[prost(int64, tag = "13")]
    pub(crate) completed_at: i64,
    #[prost(string, tag = "14")]
    pub(crate) group_key: String,
    #[prost(btree_map = "string, string", tag = "15")]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Moment {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Server {
    #[prost(int32, tag = "4")]
    pub(crate) concurrency: i32,
    #[prost(btree_map = "string, int32", tag = "5")]
    pub(crate) queues: BTreeMap<String, i32>,
    #[prost(bool, tag = "6")]
    pub(crate) strict_priority: bool,
    #[prost(string, tag = "7")]
    pub(crate) status: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) start_time: Option<Moment>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Worker {
    #[prost(string, tag = "4")]
    pub(crate) task_id: String,
    #[prost(string, tag = "5")]
    pub(crate) kind: String,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) payload: Vec<u8>,
    #[prost(string, tag = "7")]
    pub(crate) queue: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) start_time: Option<Moment>,
    #[prost(message, optional, tag = "9")]
    pub(crate) deadline: Option<Moment>,
}
