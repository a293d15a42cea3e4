//! The health of the file: versions, the WAL, the disk, what an acknowledged write survives. Reads, and decides by plain
//! functions of what it read.

use std::{fs, path::Path};

use rusqlite::Connection;

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

pub(super) fn checkup(conn: &Connection, address: &Address) -> Done<Vec<Check>> {
    let mut checks = vec![version(migrate::newest(conn)?), wal(size(&wal_of(&address.path)))];
    checks.extend(free(&address.path).map(disk));
    checks.push(durability(address.synchronous));
    Ok(checks)
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
    fn what_is_not_as_it_should_be_comes_with_advice() {
        for check in [disk(0), disk(DISK_FULL), wal(WAL_LONG), version(99), durability(Synchronous::Off)] {
            assert!(check.level > Level::Ok && check.advice.is_some(), "{check:?}");
        }
    }
}
