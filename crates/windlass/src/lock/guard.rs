//! A lock that is held: renewed in time, given back, and known to be lost before anybody else can have it.
//! Its task runs apart (see `env/apart.rs`), so that a busy runtime costs no lock. It counts by the monotonic clock from
//! before each call was sent, so it needs no answer of the store to know that its time is up.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    client::Client,
    decide::lock::{good_for, renew_after, retry_after},
    env::{BoxFuture, Env},
    error::Error,
    job::{Fence, LockName, Monotonic},
    store::{Backend, Hold, StoreError},
};

/// How often giving a lock back is tried.
const RELEASE_TRIES: u32 = 3;

/// A lock that is held. It is renewed by itself until it is dropped or given back; dropping it sends the giving back in
/// the background, [`release`](Self::release) waits for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// # use windlass::Client;
/// # let client = Client::open("memory:").await?;
/// # let ttl = std::time::Duration::from_secs(10);
/// # async fn write(_: windlass::Fence) {}
/// let guard = client.lock("ledger", ttl).acquire().await?;
/// tokio::select! {
///     () = guard.lost() => println!("stopped: somebody else may hold it now"),
///     () = write(guard.fence()) => guard.release().await?,
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "the lock is given back when its guard is dropped"]
pub struct LockGuard {
    hold: Hold,
    lost: CancellationToken,
    /// How the task is told to give it back, and whom to tell of it.
    release: Option<oneshot::Sender<Answer>>,
}

type Answer = oneshot::Sender<Result<bool, StoreError>>;

impl LockGuard {
    pub(super) fn new(client: &Client, hold: Hold, ttl: Duration, good_until: Monotonic) -> Self {
        let (release, told) = oneshot::channel();
        let lost = CancellationToken::new();
        let env = client.env().clone();
        let store = client.store().clone();
        let keeper = Keeper { env, store, hold: hold.clone(), ttl, lost: lost.clone(), good_until };
        client.apart().run(keeper.run(told));
        Self { hold, lost, release: Some(release) }
    }

    /// The lock's name.
    pub fn name(&self) -> &LockName {
        &self.hold.name
    }

    /// The number of this hold: above that of every earlier one. Hand it to whatever the lock protects, and have that
    /// refuse a lower one than it has seen.
    pub fn fence(&self) -> Fence {
        self.hold.fence
    }

    /// Resolves when the lock is lost: it was broken, or could not be renewed, and then a little before the ttl is over.
    /// Whoever gets this must stop at once.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        self.lost.clone().cancelled_owned()
    }

    /// Whether the lock is lost.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Gives the lock back, and waits until the store has it.
    ///
    /// # Errors
    /// [`Error::LockLost`] when it was lost before: what was done under it may have overlapped with another holder.
    /// [`Error::Store`] when the store is away; the lock is then free within its ttl.
    pub async fn release(mut self) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let sent = self.release.take().is_some_and(|release| release.send(answer).is_ok());
        match answered.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) if sent && !self.is_lost() => {
                Err(StoreError::Unavailable("the loop that keeps locks has ended".into()).into())
            }
            Ok(Ok(false)) | Err(_) => Err(self.lost_error()),
        }
    }

    /// Runs `work` with the fence, and gives the lock back. When it is lost, the work is dropped at its next await.
    ///
    /// # Errors
    /// [`Error::LockLost`] when it was lost before it was given back, even if the work was done by then: what it did may
    /// have overlapped with another holder. That the lock could not be given back is no error: it is free within its ttl.
    pub async fn run<F: Future>(self, work: impl FnOnce(Fence) -> F) -> Result<F::Output, Error> {
        let (done, given_back) = self.run_out(work).await?;
        given_back.map(|()| done)
    }

    /// The same, for one who wants what the work came to though the lock was lost by then.
    pub(super) async fn run_out<F: Future>(
        self,
        work: impl FnOnce(Fence) -> F,
    ) -> Result<(F::Output, Result<(), Error>), Error> {
        let done = tokio::select! {
            biased;
            () = self.lost() => return Err(self.lost_error()),
            done = work(self.fence()) => done,
        };
        let given_back = match self.release().await {
            Err(error @ Error::Store(_)) => {
                debug!(%error, "a lock was not given back; it lapses");
                Ok(())
            }
            given_back => given_back,
        };
        Ok((done, given_back))
    }

    fn lost_error(&self) -> Error {
        Error::LockLost { name: self.hold.name.clone(), fence: self.hold.fence }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockGuard({:?}, {}, lost: {})", self.hold.name, self.hold.fence, self.is_lost())
    }
}

/// What keeps one lock.
struct Keeper {
    env: Env,
    store: Arc<dyn Backend>,
    hold: Hold,
    ttl: Duration,
    lost: CancellationToken,
    good_until: Monotonic,
}

/// What came of a renewal, and until when it is good if it went well.
type Renewed = (Monotonic, Result<bool, StoreError>);

impl Keeper {
    async fn run(mut self, mut told: oneshot::Receiver<Answer>) {
        let mut next = self.env.monotonic().after(renew_after(self.ttl));
        let mut renewal: Option<BoxFuture<Renewed>> = None;
        loop {
            let now = self.env.monotonic();
            if now >= self.good_until {
                return self.lose("it could not be renewed in time");
            }
            if now >= next && renewal.is_none() {
                renewal = Some(self.renewal());
            }
            let wake = if renewal.is_some() { self.good_until } else { next.min(self.good_until) };
            tokio::select! {
                biased;
                // Dropped, or told to.
                answer = &mut told => return self.give_back(answer.ok()).await,
                (good_until, renewed) = pending_or(&mut renewal) => {
                    renewal = None;
                    next = match renewed {
                        Ok(true) => {
                            self.good_until = good_until;
                            self.env.monotonic().after(renew_after(self.ttl))
                        }
                        Ok(false) => return self.lose("it was broken, or lapsed and was taken"),
                        Err(error) => self.again(&error),
                    };
                }
                () = self.env.sleep(wake.since(now)) => {}
            }
        }
    }

    fn renewal(&self) -> BoxFuture<Renewed> {
        let (store, hold, ttl) = (self.store.clone(), self.hold.clone(), self.ttl);
        let good_until = self.env.monotonic().after(good_for(ttl));
        Box::pin(async move { (good_until, store.extend_lock(&hold, ttl).await) })
    }

    fn again(&self, error: &StoreError) -> Monotonic {
        debug!(%error, lock.name = self.hold.name.as_str(), "a lock was not renewed; it is tried again");
        self.env.monotonic().after(retry_after(self.ttl))
    }

    /// Sends nothing: what is lost may be somebody else's.
    fn lose(self, reason: &str) {
        warn!(lock.name = self.hold.name.as_str(), lock.fence = %self.hold.fence, reason, "a lock is lost");
        self.lost.cancel();
    }

    async fn give_back(self, answer: Option<Answer>) {
        let mut tries = 1;
        let given = loop {
            let given = self.store.release_lock(&self.hold.name, self.hold.token, Some(self.hold.fence)).await;
            match &given {
                Err(error) if error.is_retryable() && tries < RELEASE_TRIES => tries += 1,
                _ => break if tries > 1 { given.map(|_| true) } else { given },
            }
            self.env.sleep(retry_after(self.ttl)).await;
        };
        match (answer, given) {
            // Whoever asked may have stopped waiting.
            (Some(answer), given) => drop(answer.send(given)),
            (None, Err(error)) => {
                debug!(%error, lock.name = self.hold.name.as_str(), "a lock was not given back; it lapses");
            }
            (None, Ok(_)) => {}
        }
    }
}

/// What came of the renewal that is under way; never, if there is none.
async fn pending_or(renewal: &mut Option<BoxFuture<Renewed>>) -> Renewed {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}
