//! Locks as their users have them, on simulated time: a store that is away, answers that are lost, holders that are
//! frozen, killed and cut off, and a resource that looks at fences.
#![cfg(feature = "testing")]

mod holders;
mod leaders;
mod register;
mod waiters;

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use windlass::{
    Client, Env,
    store::{Backend, memory::MemoryStore},
    testing::{FaultyStore, Network, World},
};

const SECOND: Duration = Duration::from_secs(1);
/// How long locks are held without a renewal.
const TTL: Duration = Duration::from_secs(9);

/// A store, and the network to it.
struct Place {
    store: Arc<dyn Backend>,
    network: Network,
}

impl Place {
    fn new(world: &World) -> Self {
        Self { store: Arc::new(MemoryStore::new(world.env())), network: Network::new(world.env()) }
    }

    /// A client in a process, and its way to the store.
    fn client(&self, env: Env) -> (Client, FaultyStore) {
        let way = FaultyStore::around(self.store.clone(), &self.network);
        (Client::builder().env(env).on(way.backend()), way)
    }
}

/// Polls a call so many times, and drops it there. What it came to, if that was enough.
async fn polled<F: Future>(times: u32, call: F) -> Option<F::Output> {
    let (mut call, mut left) = (Box::pin(call), times);
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
