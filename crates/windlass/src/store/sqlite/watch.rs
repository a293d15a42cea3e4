//! Wake-ups between the processes of a file: the kernel tells of writes to the WAL, and a counter in the file says
//! whether one of them is worth waking up for. The event can precede the commit, so the counter is read again.
//! Only hints: where they cannot be had, polling takes their place.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rusqlite::Connection;
use tracing::warn;

use super::{
    address::Address,
    open::{self, wal_of},
};
use crate::{env::block_thread, store::Waker};

/// When the counter is read again after an event, in milliseconds: the event precedes the commit, which is not visible
/// before its sync is done.
const AGAIN: [u64; 6] = [1, 1, 2, 4, 8, 16];

/// Watches until it is dropped.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Wakes `waker` when another process has moved the counter away from `seen`.
    pub(super) fn start(address: &Address, waker: Waker, seen: Arc<AtomicI64>) -> Self {
        match try_start(address, waker, seen) {
            Ok(watch) => watch,
            Err(error) => {
                warn!(%error, "no wake-ups between processes; polling takes their place");
                Self { watcher: None, thread: None }
            }
        }
    }
}

fn try_start(address: &Address, waker: Waker, seen: Arc<AtomicI64>) -> Result<Watch, String> {
    let path = address.path.canonicalize().map_err(|error| error.to_string())?;
    let conn = open::reader(address).map_err(|fault| crate::store::StoreError::from(fault).to_string())?;
    // One event that waits is as good as many.
    let (send, events) = sync_channel(1);
    let wal = wal_of(&path);
    let ours = wal.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event as well; only writes are news.
        let news = event.is_ok_and(|event| !event.kind.is_access() && event.paths.contains(&ours));
        if news {
            let _ = send.try_send(());
        }
    })
    .map_err(|error| error.to_string())?;
    let directory = wal.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(|error| error.to_string())?;
    // kqueue tells of a directory's entries, not of writes to them.
    #[cfg(not(target_os = "linux"))]
    watcher.watch(&wal, RecursiveMode::NonRecursive).map_err(|error| error.to_string())?;
    let run = move || confirm(&conn, &events, &waker, &seen);
    let thread = std::thread::Builder::new().name("windlass-watch".into()).spawn(run);
    Ok(Watch { watcher: Some(watcher), thread: Some(thread.map_err(|error| error.to_string())?) })
}

/// Reads the counter after each event, and again until every commit that an event told of must be visible. A newer
/// event starts the looks anew, at most once a millisecond; so none is slept through, and none ends the looks for another.
fn confirm(conn: &Connection, events: &Receiver<()>, waker: &Waker, seen: &AtomicI64) {
    // What came in before the watching began told nobody.
    look(conn, waker, seen);
    while events.recv().is_ok() {
        look(conn, waker, seen);
        let mut again = AGAIN.iter();
        while let Some(pause) = again.next() {
            match events.recv_timeout(Duration::from_millis(*pause)) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) => {
                    block_thread(Duration::from_millis(1));
                    again = AGAIN.iter();
                }
            }
            look(conn, waker, seen);
        }
    }
}

fn look(conn: &Connection, waker: &Waker, seen: &AtomicI64) {
    let counter = conn
        .prepare_cached("SELECT wake FROM windlass_counter WHERE one = 1")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
    // A look that fails is made up for by the next one, or by polling.
    if let Ok(counter) = counter
        && seen.fetch_max(counter, Ordering::AcqRel) < counter
    {
        waker.wake();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The channel ends with the watcher, and the thread with the channel.
        self.watcher = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
