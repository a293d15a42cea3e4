//! Wake-ups between the processes of a file: the kernel tells of writes to the WAL, and a counter in the file says
//! whether one of them is worth waking up for. The event can precede the commit, so the counter is read again.
//! Only hints: where they cannot be had, polling takes their place.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rusqlite::Connection;
use tracing::warn;

use super::open::{self, wal_of};
use crate::{env::block_thread, store::Waker};

/// When the counter is read again after an event, in milliseconds.
const AGAIN: [u64; 4] = [1, 2, 4, 8];

/// Watches until it is dropped.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Wakes `waker` when another process has moved the counter away from `seen`.
    pub(super) fn start(path: &Path, waker: Waker, seen: Arc<AtomicI64>) -> Self {
        match try_start(path, waker, seen) {
            Ok(watch) => watch,
            Err(error) => {
                warn!(%error, "no wake-ups between processes; polling takes their place");
                Self { watcher: None, thread: None }
            }
        }
    }
}

fn try_start(path: &Path, waker: Waker, seen: Arc<AtomicI64>) -> Result<Watch, String> {
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    let conn = open::reader(&path).map_err(|fault| crate::store::StoreError::from(fault).to_string())?;
    let (send, events) = channel();
    let wal = wal_of(&path);
    let ours = wal.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is an event as well; only writes are news.
        let news = event.is_ok_and(|event| !event.kind.is_access() && event.paths.contains(&ours));
        if news {
            let _ = send.send(());
        }
    })
    .map_err(|error| error.to_string())?;
    let directory = wal.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    watcher.watch(&directory, RecursiveMode::NonRecursive).map_err(|error| error.to_string())?;
    let run = move || confirm(&conn, &events, &waker, &seen);
    let thread = std::thread::Builder::new().name("windlass-watch".into()).spawn(run);
    Ok(Watch { watcher: Some(watcher), thread: Some(thread.map_err(|error| error.to_string())?) })
}

fn confirm(conn: &Connection, events: &Receiver<()>, waker: &Waker, seen: &AtomicI64) {
    while events.recv().is_ok() {
        for pause in std::iter::once(0).chain(AGAIN) {
            block_thread(Duration::from_millis(pause));
            // Events that came meanwhile are about the same writes.
            while events.try_recv().is_ok() {}
            let counter = conn
                .prepare_cached("SELECT wake FROM windlass_counter WHERE one = 1")
                .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
            let Ok(counter) = counter else { continue };
            if seen.fetch_max(counter, Ordering::AcqRel) < counter {
                waker.wake();
                break;
            }
        }
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
