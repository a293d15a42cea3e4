//! A memory store that lets a waiter's repeat count only once half of its place has passed, as the contract allows and
//! SQLite does, so that a waiter who asks often seldom writes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;
use windlass::{
    Env, Fence, LockName, Monotonic,
    store::{Backend, LockReply, LockRequest, Result},
    testing::Layer,
};

/// Until when a place is kept, in which boot.
type Until = (Monotonic, Arc<str>);

pub(crate) struct ByHalves {
    inner: Arc<dyn Backend>,
    env: Env,
    places: Mutex<HashMap<(LockName, Uuid), Until>>,
}

impl ByHalves {
    pub(crate) fn new(inner: Arc<dyn Backend>, env: Env) -> Self {
        Self { inner, env, places: Mutex::default() }
    }

    fn after(&self, span: Duration) -> Until {
        (self.env.monotonic().after(span), self.env.boot())
    }
}

#[async_trait]
impl Layer for ByHalves {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockReply> {
        let Some(place) = request.place else { return self.inner.acquire_lock(request).await };
        let key = (request.name.clone(), request.token);
        let (half, boot) = self.after(place / 2);
        let is_kept = self.places.lock().get(&key).is_some_and(|kept| kept.1 == boot && kept.0 > half);
        let place = request.place.filter(|_| !is_kept);
        let reply = self.inner.acquire_lock(&LockRequest { place, ..request.clone() }).await?;
        match (reply, place) {
            (LockReply::Busy { .. }, Some(place)) => _ = self.places.lock().insert(key, self.after(place)),
            (LockReply::Held(_), _) => _ = self.places.lock().remove(&key),
            _ => {}
        }
        Ok(reply)
    }

    async fn release_lock(&self, name: &LockName, token: Uuid, fence: Option<Fence>) -> Result<bool> {
        self.places.lock().remove(&(name.clone(), token));
        self.inner.release_lock(name, token, fence).await
    }
}
