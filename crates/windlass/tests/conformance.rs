//! Every store runs the whole conformance suite: one line each.
#![cfg(feature = "conformance")]

mod memory {
    use windlass::{conformance::Opened, store::memory::MemoryStore};

    windlass::conformance_tests!(async |env| Opened::new(MemoryStore::new(env)));
}
