//! The whole suite on the store of this crate: each fact is a test, with a new store of its own.

use std::sync::Arc;

use outside_store::Audited;
use windlass::{Env, conformance::Opened, store::memory::MemoryStore};

/// The clock comes from the suite, which moves it. What the store needs beside it lives as long as it does.
async fn open(env: Env) -> Opened {
    let place = tempfile::tempdir().expect("a temporary directory");
    let store = Audited::around(Arc::new(MemoryStore::new(env)), &place.path().join("audit.jsonl"));
    Opened::shared(store.expect("the audit file opens")).keep(place)
}

windlass::conformance_tests!(open);
