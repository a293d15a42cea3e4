//! The health of the file: versions, the WAL, the disk, what an acknowledged write survives. Reads, and decides by plain
//! functions of what it read.

use std::{fs, path::Path, sync::mpsc, time::Duration};

use rusqlite::{Connection, ErrorCode};

use super::{
    address::{Address, Synchronous},
    fault::Done,
    migrate,
    open::wal_of,
};
use crate::store::Check;

const MIB: u64 = 1 << 20;
/// SQLite copies the WAL back at 4,000 pages, 16 MiB; it grows past that only while somebody reads an old state.
const WAL_LONG: u64 = 256 * MIB;
/// The WAL and one copy of it have to fit.
const DISK_LOW: u64 = 512 * MIB;
const DISK_FULL: u64 = 32 * MIB;
/// How long the file is looked through; that much of a large one.
const LOOK: Duration = Duration::from_secs(2);

pub(super) fn checkup(conn: &Connection, address: &Address) -> Done<Vec<Check>> {
    let mut checks = vec![version(migrate::newest(conn)?), wal(size(&wal_of(&address.path)))];
    checks.extend(free(&address.path).map(disk));
    checks.push(durability(address.synchronous));
    checks.push(integrity(look_through(conn)?));
    Ok(checks)
}

/// SQLite's own look at every page and index, or at what it gets through in [`LOOK`]: the first problem, and whether it
/// came to the end.
fn look_through(conn: &Connection) -> Done<(Option<String>, bool)> {
    let interrupt = conn.get_interrupt_handle();
    let (ended, watch) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        if watch.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let found = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    // Before anybody else uses the connection.
    drop(ended);
    let _ = watcher.join();
    match found {
        Ok(text) if text == "ok" => Ok((None, true)),
        Ok(problem) => Ok((Some(problem), true)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok((None, false)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Ok((Some(error.to_string()), true))
        }
        Err(error) => Err(error.into()),
    }
}

fn integrity((problem, to_the_end): (Option<String>, bool)) -> Check {
    match problem {
        Some(problem) => Check::fail(
            "integrity",
            format!("the file is damaged: {problem}"),
            "stop all programs that use it, keep a copy of the file and its -wal, and put a backup in its place, without \
             the -wal and the -shm of the old one",
        ),
        None if to_the_end => Check::ok("integrity", "every page and index is sound"),
        None => {
            Check::ok("integrity", format!("no damage found in {LOOK:?}; `PRAGMA integrity_check` looks at all of it"))
        }
    }
}

fn version(file: i64) -> Check {
    let found = format!("schema {file}, SQLite {}, windlass {}", rusqlite::version(), env!("CARGO_PKG_VERSION"));
    match file.cmp(&migrate::VERSION) {
        std::cmp::Ordering::Equal => Check::ok("version", found),
        _ => Check::warn(
            "version",
            format!("{found}; this program knows schema {}", migrate::VERSION),
            "a newer program shares the store, which is fine during an upgrade; upgrade this one, too",
        ),
    }
}

fn wal(bytes: u64) -> Check {
    let found = format!("{} MiB", bytes.div_ceil(MIB));
    if bytes < WAL_LONG {
        return Check::ok("wal", found);
    }
    Check::warn(
        "wal",
        found,
        "some program reads an old state of the file and keeps the WAL from being copied back: end its long transaction, \
         or restart it",
    )
}

fn disk(free: u64) -> Check {
    let found = format!("{} MiB free", free / MIB);
    if free < DISK_FULL {
        return Check::fail("disk", found, "make room: without it no job can be taken or finished");
    }
    if free < DISK_LOW {
        return Check::warn("disk", found, "make room soon: `windlass prune` removes jobs that have ended");
    }
    Check::ok("disk", found)
}

fn durability(synchronous: Synchronous) -> Check {
    let found = format!("an acknowledged job {}", synchronous.promise());
    match synchronous {
        Synchronous::Full => Check::ok("durability", found),
        Synchronous::Normal => Check::ok("durability", found),
        Synchronous::Off => Check::warn(
            "durability",
            found,
            "open the store with synchronous=full or normal, unless its jobs can be made again",
        ),
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// The room for this user on the disk that holds the file; none where it cannot be told.
#[cfg(unix)]
fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Level;

    #[test]
    fn a_full_disk_fails_and_a_filling_one_warns() {
        let levels = [0, DISK_FULL - 1, DISK_FULL, DISK_LOW - 1, DISK_LOW, u64::MAX].map(|free| disk(free).level);
        assert_eq!(levels, [Level::Fail, Level::Fail, Level::Warn, Level::Warn, Level::Ok, Level::Ok]);
    }

    #[test]
    fn a_wal_that_is_not_copied_back_warns() {
        assert_eq!([wal(0).level, wal(WAL_LONG - 1).level, wal(WAL_LONG).level], [Level::Ok, Level::Ok, Level::Warn]);
        assert_eq!(wal(1).found, "1 MiB");
    }

    #[test]
    fn a_file_of_a_newer_program_and_a_store_that_may_be_damaged_warn() {
        assert_eq!(version(migrate::VERSION).level, Level::Ok);
        assert_eq!(version(migrate::VERSION + 1).level, Level::Warn);
        assert_eq!(durability(Synchronous::Off).level, Level::Warn);
        assert_eq!(durability(Synchronous::Full).level, Level::Ok);
    }

    #[test]
    fn an_index_that_misses_a_row_is_found() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("t.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); CREATE INDEX i ON t (a) WHERE a > 1;")
            .unwrap();
        assert_eq!(integrity(look_through(&conn).unwrap()).level, Level::Ok);
        // The index that was to hold one row is to hold both.
        conn.execute_batch(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t (a)' WHERE name = 'i'",
        )
        .unwrap();
        drop(conn);
        let conn = Connection::open(&path).unwrap();
        let check = integrity(look_through(&conn).unwrap());
        assert_eq!(check.level, Level::Fail, "{check:?}");
        assert_eq!(integrity((None, false)).level, Level::Ok, "a large one");
    }

    #[test]
    fn what_is_not_as_it_should_be_comes_with_advice() {
        let damaged = integrity((Some("row 1 missing from index i".into()), true));
        for check in [disk(0), disk(DISK_FULL), wal(WAL_LONG), version(99), durability(Synchronous::Off), damaged] {
            assert!(check.level > Level::Ok && check.advice.is_some(), "{check:?}");
        }
    }
}
