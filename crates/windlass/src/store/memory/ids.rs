//! The numbers of the jobs by id. The ids themselves stand with the jobs: beside a number only the hash is kept, so that
//! an index of millions stays small enough for the caches.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::table::Table;
use crate::job::JobId;

/// The number of each job by its id.
#[derive(Default)]
pub(super) struct Ids(HashTable<Entry>);

struct Entry {
    hash: u64,
    seq: u64,
}

impl Ids {
    /// Adds a job whose id is not there.
    pub(super) fn insert(&mut self, id: &JobId, seq: u64) {
        let hash = hash(id);
        self.0.insert_unique(hash, Entry { hash, seq }, |entry| entry.hash);
    }

    pub(super) fn find(&self, id: &JobId, jobs: &Table) -> Option<u64> {
        let hash = hash(id);
        let is = |entry: &Entry| entry.hash == hash && jobs.get(entry.seq).is_some_and(|job| job.record.spec.id == *id);
        self.0.find(hash, is).map(|entry| entry.seq)
    }

    pub(super) fn remove(&mut self, id: &JobId, seq: u64) {
        if let Ok(entry) = self.0.find_entry(hash(id), |entry| entry.seq == seq) {
            entry.remove();
        }
    }
}

fn hash(id: &JobId) -> u64 {
    FxBuildHasher.hash_one(id)
}
