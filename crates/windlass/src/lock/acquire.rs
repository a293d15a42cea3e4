//! Asks for a lock, and waits for it in line. Each attempt has a token of its own, so a repeat after a lost answer gets
//! the same hold, and an attempt that is given up takes back what it may have got.

use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use tracing::debug;

use super::{Lock, LockGuard};
use crate::{
    client::Client,
    decide::lock::{KEEP_PLACE, ask_after, deaf_for, good_for},
    error::Error,
    job::{LockName, Monotonic},
    store::{Hold, LockReply, LockRequest, StoreError},
};

/// For how long a store that is away is asked again: for one who does not wait, and for one who waits for as long as it
/// takes.
const PATIENCE: Duration = Duration::from_secs(2);
const WAITERS_PATIENCE: Duration = Duration::from_secs(30);
/// How long until a store that is away is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn whenever(lock: &Lock) -> Result<LockGuard, Error> {
    loop {
        if let Some(guard) = unless(lock, None, pending()).await? {
            return Ok(guard);
        }
    }
}

pub(super) async fn within(lock: &Lock, patience: Duration) -> Result<Option<LockGuard>, Error> {
    unless(lock, Some(patience), pending()).await
}

/// Waits for so long, or for as long as it takes, and no longer than until `stop` resolves. Without a guard there is
/// nothing left in the store.
pub(super) async fn unless(
    lock: &Lock,
    patience: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Result<Option<LockGuard>, Error> {
    let waits = patience != Some(Duration::ZERO);
    let mut attempt = Attempt::new(lock, waits.then_some(KEEP_PLACE))?;
    let got = tokio::select! {
        biased;
        () = stop => None,
        got = attempt.get(patience) => got?,
    };
    if got.is_none() {
        attempt.give_up().await;
    }
    Ok(got)
}

enum Asked {
    Got(LockGuard),
    /// The answer took so long that the lock may be gone again.
    Late,
    Busy {
        ahead: u32,
        retry_in: Duration,
    },
}

/// One attempt. When it is dropped without a guard, it takes back what the store may have given it.
struct Attempt {
    client: Client,
    request: LockRequest,
    /// Whether there may be something to take back.
    open: bool,
}

impl Attempt {
    fn new(lock: &Lock, place: Option<Duration>) -> Result<Self, Error> {
        let client = lock.client.clone();
        let request = LockRequest {
            name: LockName::new(&lock.name)?,
            slots: lock.options.slots,
            token: client.env().new_token(),
            ttl: lock.options.ttl,
            place,
            holder: lock.options.holder.clone().unwrap_or_else(this_process),
        };
        request.check()?;
        Ok(Self { client, request, open: false })
    }

    async fn get(&mut self, patience: Option<Duration>) -> Result<Option<LockGuard>, Error> {
        let env = self.client.env().clone();
        let mut hints = self.client.store().wakeups();
        let began = env.monotonic();
        let end = patience.map(|patience| began.after(patience));
        let mut heard = began;
        loop {
            hints.mark_seen();
            // Until when what is no answer to count on is borne with.
            let until = match end {
                None => heard.after(WAITERS_PATIENCE),
                Some(end) if end == began => began.after(PATIENCE),
                Some(end) => end,
            };
            let (ahead, retry_in) = match self.ask().await {
                Ok(Asked::Got(guard)) => return Ok(Some(guard)),
                Ok(Asked::Busy { ahead, retry_in }) => (ahead, retry_in),
                Ok(Asked::Late) if env.monotonic() < until => continue,
                Ok(Asked::Late) => return Err(self.too_late().await),
                Err(error) => {
                    self.again(error, until).await?;
                    continue;
                }
            };
            heard = env.monotonic();
            let left = end.map_or(Duration::MAX, |end| end.since(heard));
            if left.is_zero() {
                return Ok(None);
            }
            let slots = self.request.slots;
            let at_most = ask_after(slots, ahead, retry_in).max(Duration::from_millis(1)).min(left);
            let deaf = deaf_for(slots, ahead).min(at_most);
            env.sleep(deaf).await;
            tokio::select! {
                () = env.sleep(at_most.saturating_sub(deaf)) => {}
                () = hints.changed() => {}
            }
        }
    }

    async fn ask(&mut self) -> Result<Asked, Error> {
        let env = self.client.env().clone();
        self.open = true;
        // Counted from before the request is sent: the store counts from when it arrives.
        let good_until = env.monotonic().after(good_for(self.request.ttl));
        let reply = self.client.store().acquire_lock(&self.request).await?;
        Ok(match reply {
            LockReply::Held(_) if env.monotonic() >= good_until => Asked::Late,
            LockReply::Held(fence) => {
                self.open = false;
                let hold = Hold { name: self.request.name.clone(), token: self.request.token, fence };
                Asked::Got(LockGuard::new(&self.client, hold, self.request.ttl, good_until))
            }
            LockReply::Busy { retry_in, ahead } => {
                self.open = self.request.place.is_some();
                Asked::Busy { retry_in, ahead }
            }
            LockReply::OtherSlots(there) => {
                self.open = false;
                let (name, asked) = (self.request.name.clone(), self.request.slots);
                return Err(Error::LockSlots { name, asked, there });
            }
        })
    }

    /// Gives back what it may have, and waits for that: the process may end with the answer.
    async fn give_up(&mut self) {
        if self.open {
            let gone = self.client.store().release_lock(&self.request.name, self.request.token, None).await;
            // What was not taken back is tried once more, in the background.
            self.open = gone.is_err();
        }
    }

    /// Ends an attempt whose hold is over before anybody hears of it.
    async fn too_late(&mut self) -> Error {
        self.give_up().await;
        let ttl = self.request.ttl;
        let said = format!("its answers take longer than a ttl of {ttl:?} lasts; take the lock with a longer one");
        StoreError::Unavailable(said).into()
    }

    /// Waits before the next try, if it may help and there is time for it.
    async fn again(&self, error: Error, until: Monotonic) -> Result<(), Error> {
        let env = self.client.env();
        let may_help = matches!(&error, Error::Store(error) if error.is_retryable());
        if !may_help || env.monotonic() >= until {
            return Err(error);
        }
        debug!(%error, lock.name = self.request.name.as_str(), "the store did not answer; it is asked again");
        env.sleep(env.jittered(ASK_AGAIN)).await;
        Ok(())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // Without a runtime nothing can be sent any more; what there is lapses by itself.
        if !self.open || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (store, request) = (self.client.store().clone(), self.request.clone());
        self.client.apart().run(async move {
            // If it does not arrive, what there is lapses by itself.
            if let Err(error) = store.release_lock(&request.name, request.token, None).await {
                debug!(%error, lock.name = request.name.as_str(), "an attempt that was given up was not taken back");
            }
        });
    }
}

/// The host and the process, for people.
fn this_process() -> Arc<str> {
    let host = hostname::get().unwrap_or_default();
    format!("{}:{}", host.to_string_lossy(), std::process::id()).into()
}
