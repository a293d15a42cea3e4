//! Locks for users, on the store's [leases](crate::store::Locks): a lock, a semaphore, a leadership, each with a fence.
//! `lock/acquire.rs` asks and waits, `lock/guard.rs` keeps what was got, `lock/leader.rs` campaigns.
//! The store decides who holds what; here it is only asked for, renewed in time, and known to be lost in time.

mod acquire;
mod guard;
mod leader;

use std::{future::Future, sync::Arc, time::Duration};

pub use self::{guard::LockGuard, leader::Leader};
use crate::{
    client::Client,
    error::Error,
    job::{Fence, LockName},
    store::LockPage,
};

/// A lock, or a semaphore, that can be acquired: see [`Client::lock`] and [`Client::semaphore`]. Cheap to clone.
///
/// An attempt that is given up (its future is dropped at any await) leaves the lock free: at once in general, and within
/// one ttl in any case.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use windlass::Client;
/// let client = Client::open("memory:").await?;
/// let lock = client.lock("import", Duration::from_secs(10)).with(|o| o.holder("nightly import"));
/// match lock.acquire_within(Duration::from_secs(60)).await? {
///     Some(guard) => println!("imports with fence {}", guard.fence()),
///     None => println!("others have imported for a whole minute"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is locked until it is acquired"]
pub struct Lock {
    client: Client,
    name: String,
    options: LockOptions,
}

/// How a lock is taken; see [`Lock::with`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// # use windlass::Client;
/// # let client = Client::open("memory:").await?;
/// # let ttl = std::time::Duration::from_secs(10);
/// let _guard = client.lock("import", ttl).with(|o| o.holder("nightly import")).acquire().await?;
/// let lock = &client.locks(None, 10).await?.items[0];
/// assert_eq!(&*lock.holders[0].holder, "nightly import");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockOptions {
    slots: u32,
    ttl: Duration,
    holder: Option<Arc<str>>,
}

impl LockOptions {
    /// Who holds it, for people who list locks: at most 255 bytes. Default: the host's name and the process.
    #[must_use]
    pub fn holder(mut self, holder: impl Into<Arc<str>>) -> Self {
        self.holder = Some(holder.into());
        self
    }
}

impl Lock {
    /// The lock with other options.
    pub fn with(mut self, options: impl FnOnce(LockOptions) -> LockOptions) -> Self {
        self.options = options(self.options);
        self
    }

    /// Takes it if it is free and nobody waits for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Store`] (`Invalid`) for a name, a ttl or a number of slots that no lock may have;
    /// [`Error::LockSlots`] when others use the name with another number of slots; [`Error::Store`] when the store is
    /// away, or answers so slowly that the ttl is over by then, after it was asked again for some seconds.
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, Error> {
        acquire::within(self, Duration::ZERO).await
    }

    /// Waits for it, in line with those who came before. Waits through outages of the store of up to half a minute.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub async fn acquire(&self) -> Result<LockGuard, Error> {
        acquire::whenever(self).await
    }

    /// Waits for it for up to this long; with no time at all it does not wait. None: others have held it all the time.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub async fn acquire_within(&self, patience: Duration) -> Result<Option<LockGuard>, Error> {
        acquire::within(self, patience).await
    }

    /// The same, and no longer than until `stop` resolves. Whoever gets no guard has left nothing in the store, as far as
    /// the store is there: the process may end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> anyhow::Result<()> {
    /// # use std::time::Duration;
    /// # let client = windlass::Client::open("memory:").await?;
    /// # let told_to_stop = std::future::pending::<()>();
    /// let lock = client.lock("import", Duration::from_secs(10));
    /// if let Some(guard) = lock.acquire_unless(Duration::from_secs(60), told_to_stop).await? {
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub async fn acquire_unless(
        &self,
        patience: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<LockGuard>, Error> {
        acquire::unless(self, Some(patience), stop).await
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lock({:?}, {:?})", self.name, self.options)
    }
}

/// Locks. What each store promises is in the guide; in short: **a lock alone saves work, a fence keeps data right**. A
/// holder can be paused for longer than the ttl and go on without knowing better, so whatever must not be written by two
/// at once has to refuse a fence lower than the highest it has seen.
impl Client {
    /// A lock of this name: one holder at a time, over all processes of the store. It is held for `ttl` (100 ms to 12 h)
    /// and renewed every third of that until it is given back.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> anyhow::Result<()> {
    /// use std::time::Duration;
    /// use windlass::Client;
    /// let client = Client::open("memory:").await?;
    /// let lock = client.lock("reports", Duration::from_secs(10));
    /// let guard = lock.acquire().await?;
    /// assert!(lock.try_acquire().await?.is_none());
    /// println!("write with fence {}", guard.fence());
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lock(&self, name: impl Into<String>, ttl: Duration) -> Lock {
        self.semaphore(name, 1, ttl)
    }

    /// The same for up to `slots` (1 to 500) holders at a time. All who use a name must say the same number; while
    /// somebody holds it or waits for it, another number is [refused](Error::LockSlots).
    pub fn semaphore(&self, name: impl Into<String>, slots: u32, ttl: Duration) -> Lock {
        let options = LockOptions { slots, ttl, holder: None };
        Lock { client: self.clone(), name: name.into(), options }
    }

    /// A leadership: whoever holds the lock of this name leads.
    pub fn leader(&self, name: impl Into<String>, ttl: Duration) -> Leader {
        Leader::new(self.lock(name, ttl))
    }

    /// Waits for the lock, runs `work` with its fence, and gives it back. When the lock is lost, the work is dropped at
    /// its next await.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> anyhow::Result<()> {
    /// # use windlass::Client;
    /// # let client = Client::open("memory:").await?;
    /// use std::time::Duration;
    /// let sum = client.run_with_lock("ledger", Duration::from_secs(10), |fence| async move {
    ///     println!("UPDATE .. WHERE fence < {fence}");
    ///     40 + 2
    /// });
    /// assert_eq!(sum.await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Lock::acquire`]; [`Error::LockLost`] when it was lost before it was given back: what the work did may have
    /// overlapped with another holder.
    pub async fn run_with_lock<F: Future>(
        &self,
        name: impl Into<String>,
        ttl: Duration,
        work: impl FnOnce(Fence) -> F,
    ) -> Result<F::Output, Error> {
        let lock = self.lock(name, ttl);
        lock.acquire().await?.run(work).await
    }

    /// The locks that are held or waited for, by name: those past `after`, at most `limit` (and at most 1,000).
    ///
    /// # Errors
    /// When the store is away.
    pub async fn locks(&self, after: Option<LockName>, limit: u32) -> Result<LockPage, Error> {
        Ok(self.store().locks(after, limit).await?)
    }

    /// Takes a lock from all who hold it, and answers from how many; the first who waits for it gets it. Those who held
    /// it find out at their next renewal, so be sure that they are dead, or that their fences are checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no lock may have; [`Error::Store`] when the store is away.
    pub async fn break_lock(&self, name: &str) -> Result<u32, Error> {
        Ok(self.store().break_lock(&LockName::new(name)?).await?)
    }
}
