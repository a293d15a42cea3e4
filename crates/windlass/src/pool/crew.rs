//! The workers of a pool and the line in front of them. A worker is one task that runs one job at a time; there is no
//! task, no timer and no channel per job, so an empty job costs about what an empty `tokio::spawn` does.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};

use super::{
    SubmitError,
    work::{discard, poll},
};
use crate::env::{BoxFuture, Env};

pub(super) struct Crew {
    line: Mutex<Line>,
    /// A permit for each place in the line that is free.
    room: Semaphore,
    /// Told of each job that is put in line.
    came: Notify,
    stop: CancellationToken,
    has_parent: bool,
    workers: TaskTracker,
}

struct Line {
    jobs: VecDeque<BoxFuture<()>>,
    open: bool,
}

enum Next {
    Job(BoxFuture<()>),
    /// There is none now.
    Nothing,
    /// There is none and there will be none.
    Over,
}

type Stopped<'a, 'b> = Pin<&'a mut WaitForCancellationFuture<'b>>;

impl Crew {
    pub(super) fn start(workers: usize, capacity: usize, parent: Option<&CancellationToken>, env: &Env) -> Arc<Self> {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        let crew = Arc::new(Self {
            line: Mutex::new(Line { jobs: VecDeque::new(), open: true }),
            room: Semaphore::new(capacity),
            came: Notify::new(),
            stop: parent.map_or_else(CancellationToken::new, CancellationToken::child_token),
            has_parent: parent.is_some(),
            workers: TaskTracker::new(),
        });
        for _ in 0..workers {
            let worker = AtWork { crew: crew.clone(), ended: false };
            env.spawn(crew.workers.track_future(worker.work(capacity / (4 * workers))));
        }
        crew.workers.close();
        crew
    }

    /// Waits for a place in the line and takes it.
    pub(super) async fn room(&self) -> Result<(), SubmitError> {
        let place = self.room.acquire().await.map_err(|_| SubmitError::Stopped)?;
        place.forget();
        Ok(())
    }

    /// Takes a place in the line if there is one now.
    pub(super) fn room_now(&self) -> Result<(), SubmitError> {
        if self.is_cut_off() || self.room.is_closed() {
            return Err(SubmitError::Stopped);
        }
        self.room.try_acquire().map_err(|_| SubmitError::Full)?.forget();
        Ok(())
    }

    /// Puts a job on a place that was taken before; gives it back when the pool is stopped.
    pub(super) fn push(&self, job: BoxFuture<()>) -> Result<(), BoxFuture<()>> {
        {
            let mut line = self.line.lock();
            if !line.open || self.is_cut_off() {
                return Err(job);
            }
            line.jobs.push_back(job);
        }
        self.came.notify_one();
        Ok(())
    }

    /// Takes no more jobs; those in line are still run.
    pub(super) fn close(&self) {
        self.line.lock().open = false;
        self.room.close();
        self.came.notify_waiters();
    }

    /// Takes no more jobs and lets go of those in line; the workers let go of theirs.
    pub(super) fn abort(&self) {
        self.stop.cancel();
        self.close();
        let waiting = std::mem::take(&mut self.line.lock().jobs);
        waiting.into_iter().for_each(discard);
    }

    /// Resolves when no worker is left. Only after [`close`](Self::close) or [`abort`](Self::abort) will that be.
    pub(super) async fn ended(&self) {
        self.workers.wait().await;
    }

    /// Whether the parent was cancelled. The workers see it when they wait; who asks here need not wait for them.
    fn is_cut_off(&self) -> bool {
        self.has_parent && self.stop.is_cancelled()
    }

    async fn run_all(&self, room_at_once: usize) {
        let mut stopped = pin!(self.stop.cancelled());
        let mut freed = Freed { room: &self.room, places: 0, at_once: room_at_once.clamp(1, 32) };
        while let Some(mut job) = self.next(&mut freed, stopped.as_mut()).await {
            freed.add();
            run(&mut job, &mut freed, stopped.as_mut()).await;
            discard(job);
            // Jobs that never wait would keep the thread from everybody else.
            tokio::task::consume_budget().await;
        }
    }

    /// The next job; none when there will be no more.
    async fn next(&self, freed: &mut Freed<'_>, stopped: Stopped<'_, '_>) -> Option<BoxFuture<()>> {
        match self.pop() {
            Next::Job(job) => return Some(job),
            Next::Over => return None,
            Next::Nothing => freed.give(),
        }
        self.wait(stopped).await
    }

    async fn wait(&self, mut stopped: Stopped<'_, '_>) -> Option<BoxFuture<()>> {
        loop {
            let mut came = pin!(self.came.notified());
            // Line up before the look, or a job that comes in between would wait for the next one.
            came.as_mut().enable();
            match self.pop() {
                Next::Job(job) => return Some(job),
                Next::Over => return None,
                Next::Nothing => {}
            }
            tokio::select! {
                biased;
                () = stopped.as_mut() => return None,
                () = came => {}
            }
        }
    }

    fn pop(&self) -> Next {
        if self.is_cut_off() {
            return Next::Over;
        }
        let mut line = self.line.lock();
        match line.jobs.pop_front() {
            Some(job) => Next::Job(job),
            None if line.open => Next::Nothing,
            None => Next::Over,
        }
    }
}

/// One worker. When its runtime ends it is dropped, and takes the crew along: nobody else would ever run what waits, or
/// make room for who wants to submit.
struct AtWork {
    crew: Arc<Crew>,
    ended: bool,
}

impl AtWork {
    /// Takes jobs and runs them until there will be no more.
    async fn work(mut self, room_at_once: usize) {
        self.crew.run_all(room_at_once).await;
        self.ended = true;
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if !self.ended || self.crew.stop.is_cancelled() {
            self.crew.abort();
        }
    }
}

/// Polls a job until it has ended or the pool is stopped.
async fn run(job: &mut BoxFuture<()>, freed: &mut Freed<'_>, mut stopped: Stopped<'_, '_>) {
    std::future::poll_fn(|cx| {
        if poll(job, cx).is_ready() {
            return Poll::Ready(());
        }
        freed.give();
        stopped.as_mut().poll(cx)
    })
    .await;
}

/// Places in the line that a worker has made free and not yet given to who waits for one. Given several at a time, or
/// a pool that is full would change threads twice for each job; but always before the worker waits for anything, so
/// that nobody waits for a place that is there. All workers together hold back a quarter of the line at most.
struct Freed<'a> {
    room: &'a Semaphore,
    places: usize,
    at_once: usize,
}

impl Freed<'_> {
    fn add(&mut self) {
        self.places += 1;
        if self.places >= self.at_once {
            self.give();
        }
    }

    fn give(&mut self) {
        if self.places > 0 {
            self.room.add_permits(std::mem::take(&mut self.places));
        }
    }
}
