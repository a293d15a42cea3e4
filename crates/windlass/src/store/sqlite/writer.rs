//! The one thread that writes. Each time it wakes it takes what has gathered and commits it as a group, so that the
//! cost of a commit is shared; a lone caller waits for nobody.
//!
//! Only groups that hold something acknowledged as durable are synced to disk: claims and signs of life are covered by
//! the sync of the next one that does, and losing them at a power loss costs nothing, since fences come from the clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    address::{Address, Synchronous},
    clock::Clock,
    fault::{Done, Fault},
    identity::Identity,
    lines::Lines,
    open::set_synchronous,
    step::Step,
};
use crate::{
    env::{Env, block_thread},
    job::{Monotonic, micros},
    store::{Result, StoreError, Waker},
};

/// The most operations of one group.
const GROUP: usize = 512;
/// How long a group may hold the write lock before it commits and others have a turn.
const TURN: Duration = Duration::from_millis(5);
/// How long after another process wrote we leave it a gap between two of our groups.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// The longest such gap.
const GAP: Duration = Duration::from_millis(1);

/// An operation on its way to the writer.
pub(super) trait Op: Send {
    /// Goes before others of its group: signs of life.
    fn is_urgent(&self) -> bool;
    /// Whether the caller is told that it is durable.
    fn is_durable(&self) -> bool;
    /// Looks without a transaction; true if that was all.
    fn peek(&mut self, conn: &Connection, lines: &mut Lines, clock: &Clock) -> Done<bool>;
    /// Does the work. Called again when another operation of the group failed.
    fn run(&mut self, step: &mut Step<'_>) -> Done<()>;
    /// Answers the caller: what the work came to, or why it did not.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

pub(super) type Peek<A> = Box<dyn FnMut(&Connection, &mut Lines, &Clock) -> Done<Option<A>> + Send>;
pub(super) type Work<A> = Box<dyn FnMut(&mut Step<'_>) -> Done<A> + Send>;

/// An operation made of closures.
pub(super) struct Call<A> {
    pub(super) urgent: bool,
    pub(super) durable: bool,
    pub(super) peek: Option<Peek<A>>,
    pub(super) work: Work<A>,
    pub(super) done: Option<A>,
    pub(super) reply: oneshot::Sender<Result<A>>,
}

impl<A: Send> Op for Call<A> {
    fn is_urgent(&self) -> bool {
        self.urgent
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn peek(&mut self, conn: &Connection, lines: &mut Lines, clock: &Clock) -> Done<bool> {
        if let Some(peek) = &mut self.peek {
            self.done = peek(conn, lines, clock)?;
        }
        Ok(self.done.is_some())
    }

    fn run(&mut self, step: &mut Step<'_>) -> Done<()> {
        self.done = Some((self.work)(step)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let gone = || StoreError::Unavailable("the operation was not run".into());
        let answer = match (failed, self.done) {
            (Some(error), _) => Err(error),
            (None, done) => done.ok_or_else(gone),
        };
        // The caller may have stopped waiting; the work is done all the same.
        let _ = self.reply.send(answer);
    }
}

/// A handle to the thread.
pub(super) struct Writer {
    queue: Option<Sender<Box<dyn Op>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        conn: Connection,
        address: &Address,
        env: Env,
        waker: Waker,
        seen: Arc<AtomicI64>,
    ) -> Result<Self> {
        let (queue, ops) = channel();
        let mut thread = Thread {
            conn,
            identity: Identity::of(&address.path),
            lines: Lines::default(),
            busy_timeout: address.busy_timeout,
            keep_failed: address.keep_failed,
            full: address.synchronous,
            current: address.synchronous,
            version: 0,
            shared_until: Monotonic(i64::MIN),
            committed: Monotonic(i64::MIN),
            left: Vec::new(),
            last_group: 0,
            env,
            waker,
            seen,
        };
        let run = move || thread.run(&ops);
        let thread = std::thread::Builder::new().name("windlass-writer".into()).spawn(run);
        let thread = thread.map_err(|error| StoreError::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn send(&self, op: Box<dyn Op>) {
        let refused = match &self.queue {
            Some(queue) => queue.send(op).err().map(|refused| refused.0),
            None => Some(op),
        };
        if let Some(op) = refused {
            op.answer(Some(StoreError::Unavailable("the store is closed".into())));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Thread {
    conn: Connection,
    identity: Identity,
    lines: Lines,
    busy_timeout: Duration,
    keep_failed: Duration,
    full: Synchronous,
    current: Synchronous,
    version: i64,
    shared_until: Monotonic,
    committed: Monotonic,
    left: Vec<Box<dyn Op>>,
    /// How many operations the last group had.
    last_group: usize,
    env: Env,
    waker: Waker,
    seen: Arc<AtomicI64>,
}

impl Thread {
    fn run(&mut self, ops: &Receiver<Box<dyn Op>>) {
        loop {
            if self.left.is_empty() {
                match ops.recv() {
                    Ok(op) => self.left.push(op),
                    Err(_) => break,
                }
            }
            self.gather(ops);
            let mut group = std::mem::take(&mut self.left);
            self.last_group = group.len();
            if let Err(lost) = self.identity.check() {
                group.into_iter().for_each(|op| op.answer(Some(lost.clone())));
                continue;
            }
            group.sort_by_key(|op| !op.is_urgent());
            let group = self.peek(group);
            if !group.is_empty() {
                self.commit(group);
            }
        }
        // Leaves a small file behind, and no -wal that somebody could forget to copy. The -wal beside another file is
        // not ours.
        if self.identity.check().is_ok() {
            let _ = self.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }

    /// Takes what has come. While the callers of the last group come back with more, they run first: the larger the
    /// group, the cheaper its sync. A lone caller is not held up.
    fn gather(&mut self, ops: &Receiver<Box<dyn Op>>) {
        let mut before = 0;
        loop {
            while self.left.len() < GROUP
                && let Ok(op) = ops.try_recv()
            {
                self.left.push(op);
            }
            if self.left.len() >= self.last_group || self.left.len() == before {
                return;
            }
            before = self.left.len();
            std::thread::yield_now();
        }
    }

    /// Answers those that a look is enough for.
    fn peek(&mut self, group: Vec<Box<dyn Op>>) -> Vec<Box<dyn Op>> {
        let clock = Clock::read(&self.env);
        let mut rest = Vec::with_capacity(group.len());
        for mut op in group {
            match op.peek(&self.conn, &mut self.lines, &clock) {
                Ok(true) => op.answer(None),
                // What went wrong with a look goes wrong with the work, too, and is answered there.
                Ok(false) | Err(_) => rest.push(op),
            }
        }
        rest
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Op>>) {
        self.leave_a_gap();
        loop {
            match self.try_commit(&mut group) {
                Ok(()) => return group.into_iter().for_each(|op| op.answer(None)),
                Err((at, fault)) => {
                    self.roll_back();
                    let error = StoreError::from(fault);
                    match at {
                        // One operation failed: it alone is refused, and the others are tried again without it.
                        Some(at) => {
                            group.remove(at).answer(Some(error));
                            if group.is_empty() {
                                return;
                            }
                        }
                        None => {
                            group.into_iter().for_each(|op| op.answer(Some(error.clone())));
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Runs the group in one transaction. What does not fit into its turn is left for the next one. A failure names
    /// the operation that failed, if it was one.
    fn try_commit(&mut self, group: &mut Vec<Box<dyn Op>>) -> std::result::Result<(), (Option<usize>, Fault)> {
        let whole = |fault: Fault| (None, fault);
        let durable = group.iter().any(|op| op.is_durable());
        let level = if durable || self.full == Synchronous::Off { self.full } else { Synchronous::Normal };
        if level != self.current {
            set_synchronous(&self.conn, level).map_err(|error| whole(error.into()))?;
            self.current = level;
        }
        self.begin().map_err(whole)?;
        let clock = Clock::read(&self.env);
        let began = clock.mono;
        let mut step = Step::begin(&self.conn, clock, self.keep_failed, &mut self.lines).map_err(whole)?;
        let mut done = 0;
        while done < group.len() && (done == 0 || self.env.monotonic().since(began) < TURN) {
            group[done]
                .run(&mut step)
                .map_err(|fault| if is_whole(&fault) { (None, fault) } else { (Some(done), fault) })?;
            done += 1;
        }
        let counters = step.end().map_err(whole)?;
        self.conn
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]))
            .map_err(|error| whole(error.into()))?;
        self.committed = self.env.monotonic();
        self.left.extend(group.drain(done..));
        if self.seen.swap(counters.wake, Ordering::AcqRel) != counters.wake {
            // After the commit, so that who is woken finds what woke it.
            self.waker.wake();
        }
        Ok(())
    }

    fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        // It may know lines that were made in the transaction.
        self.lines = Lines::default();
    }

    /// Waits for the write lock in short steps, so that the processes of a file take turns.
    fn begin(&mut self) -> Done<()> {
        let since = self.env.monotonic();
        loop {
            match self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map_err(Fault::from) {
                Err(fault) if fault.is_busy() && self.env.monotonic().since(since) < self.busy_timeout => {
                    block_thread(Duration::from_micros(200 + self.env.random() % 800));
                }
                other => return other.map(drop),
            }
        }
    }

    /// Another process that waits for the lock gets it between two of our groups. After a pause it had its chance, and
    /// nobody is held up.
    fn leave_a_gap(&mut self) {
        let version = self
            .conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
        let now = self.env.monotonic();
        if let Ok(version) = version
            && version != self.version
        {
            if self.version != 0 {
                self.shared_until = Monotonic(now.0.saturating_add(micros(SHARED_FOR)));
            }
            self.version = version;
        }
        if now < self.shared_until && now.since(self.committed) < GAP {
            block_thread(Duration::from_micros(500 + self.env.random() % 500));
        }
    }
}

/// Whether a fault is about the transaction, not about one operation: then no other operation would fare better.
fn is_whole(fault: &Fault) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig};
    let Fault::Sql(error) = fault else { return false };
    error.sqlite_error_code().is_some_and(|code| !matches!(code, ConstraintViolation | TooBig))
}
