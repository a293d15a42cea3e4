//! What a server runs, in Asynq's words: its tools show who runs a task since when, and until when it may.

use std::collections::BTreeMap;

use prost::Message;

use super::{Shared, read::fetch};
use crate::{
    job::{JobRecord, QueueName, State, Timestamp, micros},
    store::{Result, ServerInfo, redis::wire::WorkerRecord},
};

/// The most runs that are shown of a server, and the most bytes of a payload: they are for people to look at.
const SHOWN: usize = 100;
const SHOWN_BYTES: usize = 4096;

/// Id and record of each run, one after the other.
pub(super) async fn records(store: &Shared, server: &ServerInfo) -> Result<Vec<Vec<u8>>> {
    let mut by_queue: BTreeMap<QueueName, Vec<String>> = BTreeMap::new();
    for (id, held) in store.held.lock().iter().take(SHOWN) {
        by_queue.entry(held.queue.clone()).or_default().push(id.to_string());
    }
    let mut records = Vec::new();
    for (queue, ids) in by_queue {
        let found = fetch(store, &queue, &ids).await?;
        for (job, _) in found.into_iter().flatten() {
            if job.state == State::Running && job.server == Some(server.id) {
                let record = record(server, &job).encode_to_vec();
                records.extend([job.spec.id.to_string().into_bytes(), record]);
            }
        }
    }
    Ok(records)
}

fn record(server: &ServerInfo, job: &JobRecord) -> WorkerRecord {
    let spec = &*job.spec;
    let started = job.started_at.unwrap_or_default();
    let ends = Timestamp::from_micros(started.as_micros().saturating_add(micros(spec.timeout)));
    let payload = if spec.payload.len() > SHOWN_BYTES { Default::default() } else { spec.payload.clone() };
    WorkerRecord {
        host: server.host.clone(),
        pid: i32::try_from(server.pid).unwrap_or(i32::MAX),
        server_id: server.id.to_string(),
        task_id: spec.id.to_string(),
        kind: spec.kind.to_string(),
        payload,
        queue: spec.queue.to_string(),
        start_time: Some(started.into()),
        deadline: Some(spec.deadline.map_or(ends, |deadline| deadline.min(ends)).into()),
    }
}
