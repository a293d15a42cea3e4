//! What is the SQLite store's own; the contract is tested by the conformance suite.

mod caller;
mod file;
mod plans;
mod sharing;
mod upgrade;
mod writing;

use std::{path::PathBuf, sync::Arc, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;

use super::SqliteStore;
use crate::{
    decide::queues::QueueShare,
    env::Env,
    job::{JobOptions, Kind, KindFilter, Lease, NewJob, QueueName, ServerId, Verdict},
    store::{Claim, ClaimRequest, Create, ExtendRequest, Finish, Result, Store},
};

const LEASE: Duration = Duration::from_secs(10);

/// A directory with one file in it, removed at the end.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("jobs.db")
    }

    fn url(&self, query: &str) -> String {
        format!("{}{query}", self.path().display())
    }

    async fn try_open(&self, create: Create) -> Result<SqliteStore> {
        SqliteStore::open(&self.url(""), create, Env::system()).await
    }

    async fn open(&self) -> Arc<SqliteStore> {
        Arc::new(self.try_open(Create::IfMissing).await.unwrap())
    }

    /// The file as an application sees it.
    fn raw(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn
    }

    fn number(&self, sql: &str) -> i64 {
        self.raw().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn job(id: &str) -> NewJob {
    job_of(id, b"{}".to_vec())
}

fn job_of(id: &str, payload: Vec<u8>) -> NewJob {
    let options = JobOptions::new().id(id);
    options.resolve(&Kind::new("k").unwrap(), payload.into(), || unreachable!("it has an id"), 64 << 20).unwrap()
}

fn request(sequence: u64, limit: u32) -> ClaimRequest {
    ClaimRequest {
        server: ServerId(uuid::Uuid::from_u128(7)),
        sequence,
        limit,
        slots: limit,
        quick: Default::default(),
        shares: vec![QueueShare { queue: QueueName::new("default").unwrap(), quota: limit }],
        kinds: KindFilter::all(),
        lease: LEASE,
        suspect: false,
    }
}

async fn claim(store: &SqliteStore, sequence: u64, limit: u32) -> Claim {
    store.claim(&request(sequence, limit)).await.unwrap()
}

fn ids(claim: &Claim) -> Vec<String> {
    claim.jobs.iter().map(|job| job.spec.id.to_string()).collect()
}

fn report(lease: Lease, verdict: Verdict) -> Finish {
    Finish {
        lease,
        verdict,
        error: None,
        result: None,
        then: Vec::new(),
        ran: Duration::from_millis(3),
        news: Vec::new(),
    }
}

fn renewal(leases: Vec<Lease>) -> ExtendRequest {
    ExtendRequest { server: ServerId(uuid::Uuid::from_u128(7)), leases, lease: LEASE, ran_late: false }
}
