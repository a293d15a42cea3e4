//! Long jobs in steps: [`JobContext::each`] and [`JobContext::steps`] note now and then how far they have come, and the
//! next run of the job goes on from there.

use std::time::Duration;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::{JobContext, checkpoint_bytes},
    outcome::{Result, ResultExt},
};
use crate::job::Monotonic;

/// How often a checkpoint is made.
const EVERY: Duration = Duration::from_secs(1);

impl JobContext {
    /// Goes through a list and skips what an earlier run of the job has done. The items must come in the same order in
    /// each run. Otherwise as [`steps`](Self::steps).
    ///
    /// ```
    /// use windlass::{Job, JobContext};
    /// #[derive(serde::Serialize, serde::Deserialize, Job)]
    /// #[job(kind = "mail:all")]
    /// struct MailAll { to: Vec<String> }
    ///
    /// async fn mail_all(job: MailAll, ctx: JobContext) -> windlass::Result {
    ///     let mut addresses = ctx.each(job.to)?;
    ///     while let Some(address) = addresses.next().await? {
    ///         println!("mail to {address}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`last_checkpoint`](Self::last_checkpoint).
    pub fn each<I: IntoIterator>(&self, items: I) -> Result<Each<I::IntoIter>> {
        let done = self.last_checkpoint()?.unwrap_or(0);
        Ok(Each { way: Way::begin(self), items: items.into_iter(), done, begun: false })
    }

    /// Goes from cursor to cursor. A cursor is whatever says where the work stands: a row's id, a page, an offset. The
    /// first run of a job begins at `first`, a later one where the one before stopped.
    ///
    /// The cursor is noted as the job's [checkpoint](Self::checkpoint), each second and when the run ends before the
    /// work does. So after an error, a shutdown or a cancellation no finished step is repeated; after a crash those of
    /// the last second are, and so is a step that was under way: **each step must bear being repeated**. A job has one
    /// checkpoint, so go one way in a job, and make no checkpoints of your own beside it.
    ///
    /// ```
    /// use windlass::{JobContext, RawJob};
    /// async fn reindex(_: RawJob, ctx: JobContext) -> windlass::Result {
    ///     let mut steps = ctx.steps(1u32)?;
    ///     while let Some(page) = steps.next().await? {
    ///         // ... index this page ...
    ///         ctx.progress(f64::from(page) / 100.0, format!("page {page}"));
    ///         if page < 100 {
    ///             steps.go_on_at(page + 1);
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`last_checkpoint`](Self::last_checkpoint).
    pub fn steps<C: Serialize + DeserializeOwned>(&self, first: C) -> Result<Steps<C>> {
        let cursor = self.last_checkpoint()?.unwrap_or(first);
        Ok(Steps { way: Way::begin(self), next: Some(cursor), begun: false })
    }
}

/// The items of a list that are still to do; see [`JobContext::each`].
#[derive(Debug)]
pub struct Each<I> {
    way: Way,
    items: I,
    done: u64,
    begun: bool,
}

impl<I: Iterator> Each<I> {
    /// The next item; the one before is done.
    ///
    /// # Errors
    /// As [`Steps::next`].
    pub async fn next(&mut self) -> Result<Option<I::Item>> {
        let item = if std::mem::replace(&mut self.begun, true) {
            self.done += 1;
            self.way.come_to(&self.done)?;
            self.items.next()
        } else {
            self.items.nth(usize::try_from(self.done).unwrap_or(usize::MAX))
        };
        if item.is_some() {
            self.way.may_go_on().await?;
        }
        Ok(item)
    }
}

/// A way from cursor to cursor; see [`JobContext::steps`].
#[derive(Debug)]
pub struct Steps<C> {
    way: Way,
    next: Option<C>,
    begun: bool,
}

impl<C: Serialize> Steps<C> {
    /// Where the next step begins; the one before is done. None: it named no further one, so the work is done.
    ///
    /// # Errors
    /// When the run is told to stop, between two steps. Return the error: what becomes of the job follows from the
    /// cause, and a shutdown burns no attempt. A run that has used half of its timeout makes room for other jobs: the
    /// error puts it off to the end of the line, and that burns no attempt either. So a job may take as long as it
    /// needs if a single step takes less than half of its timeout.
    ///
    /// Also the errors of [`JobContext::checkpoint`].
    pub async fn next(&mut self) -> Result<Option<C>> {
        let Some(cursor) = self.next.take() else { return Ok(None) };
        if std::mem::replace(&mut self.begun, true) {
            self.way.come_to(&cursor)?;
        }
        self.way.may_go_on().await?;
        Ok(Some(cursor))
    }

    /// Says where the next step begins. It counts once this one is done: when [`next`](Self::next) is called again.
    pub fn go_on_at(&mut self, cursor: C) {
        self.next = Some(cursor);
    }
}

/// One run's part of the way.
struct Way {
    ctx: JobContext,
    /// Where the next step begins, while no checkpoint says so.
    cursor: Option<Bytes>,
    noted_at: Monotonic,
    /// When the run makes room for others, if it has come any further.
    until: Monotonic,
    moved: bool,
}

impl Way {
    fn begin(ctx: &JobContext) -> Self {
        let run = &ctx.0;
        let noted_at = run.client.env().monotonic();
        Self { ctx: ctx.clone(), cursor: None, noted_at, until: run.started_at().after(run.timeout / 2), moved: false }
    }

    /// A step is done.
    fn come_to(&mut self, cursor: &impl Serialize) -> Result {
        self.cursor = Some(checkpoint_bytes(cursor)?);
        self.moved = true;
        Ok(())
    }

    /// Before a step: whether there may be one.
    async fn may_go_on(&mut self) -> Result {
        // Steps that never wait would keep the thread from everybody else.
        tokio::task::consume_budget().await;
        if self.ctx.is_cancelled() {
            return Err("the run was told to stop between two steps".into());
        }
        let now = self.ctx.0.client.env().monotonic();
        if self.moved && now >= self.until {
            Err("half of the timeout is used; the job goes on later").or_snooze(Duration::ZERO)?;
        }
        if now.since(self.noted_at) >= EVERY
            && let Some(cursor) = self.cursor.take()
        {
            self.noted_at = now;
            self.ctx.checkpoint_with(cursor).await?;
        }
        Ok(())
    }
}

/// However the way ends, by an error, a panic or because it is cut off: what was done goes with the run's finish.
impl Drop for Way {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.ctx.note(cursor);
        }
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Way({:?}, moved: {})", self.ctx, self.moved)
    }
}
