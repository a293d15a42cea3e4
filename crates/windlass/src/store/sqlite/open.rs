//! Opens the file: checks the place, makes the file private if we make it, sets the connection up, migrates.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{
    address::{Address, Synchronous},
    clock::Clock,
    fault::{DISK_FULL, Done},
    migrate,
};
use crate::{
    env::{Env, block_thread},
    store::{Create, Result, StoreError, schema::NO_STORE},
};

/// The oldest SQLite without the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).
const MIN_SQLITE: i32 = 3_051_003;
/// Statements that a connection keeps ready: all of ours, with room.
const STATEMENTS: usize = 128;

/// Opens the writer's connection on a migrated file.
pub(super) fn writer(address: &Address, create: Create, env: &Env) -> Result<Connection> {
    assert_version(rusqlite::version_number())?;
    place(&address.path, create)?;
    let opened = connect(address).and_then(|conn| {
        prepare(&conn, address, create, env)?;
        Ok(conn)
    });
    opened.map_err(|fault| named(StoreError::from(fault), &address.path))
}

/// Opens a connection that only reads.
pub(super) fn reader(address: &Address) -> Done<Connection> {
    let conn = connect(address)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -1024; PRAGMA mmap_size = 0;")?;
    Ok(conn)
}

fn assert_version(version: i32) -> Result<()> {
    if version < MIN_SQLITE {
        let text = rusqlite::version();
        return Err(StoreError::Unsupported(format!(
            "this program is linked with SQLite {text}, whose WAL can be damaged by two connections; windlass needs 3.51.3 \
             or newer: use rusqlite's `bundled` feature"
        )));
    }
    Ok(())
}

pub(super) fn named(error: StoreError, path: &Path) -> StoreError {
    let at = |text: String| format!("{}: {text}", path.display());
    match error {
        // Of a full disk SQLite says `disk I/O error` when it cannot even make its -shm file.
        StoreError::Unavailable(_) if is_full(path) => StoreError::Unavailable(at(DISK_FULL.into())),
        StoreError::Unavailable(text) => StoreError::Unavailable(at(text)),
        StoreError::Corrupt(text) => StoreError::Corrupt(at(text)),
        other => other,
    }
}

pub(super) fn connect(address: &Address) -> Done<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match &address.vfs {
        None => Connection::open_with_flags(&address.path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(&address.path, flags, vfs.as_str())?,
    };
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

/// Checks the place, and makes an empty private file where there is none.
fn place(path: &Path, create: Create) -> Result<()> {
    let unavailable = |text: String| Err(StoreError::Unavailable(format!("{}: {text}", path.display())));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return unavailable("is a directory; name a file in it".into()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && create == Create::Never => {
            return unavailable(NO_STORE.into());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path)?,
        Err(error) => return unavailable(error.to_string()),
    }
    #[cfg(target_os = "linux")]
    super::disk::refuse_network(path)?;
    if !is_writable(path) {
        return unavailable("cannot be written; a store needs a file and a directory it may write".into());
    }
    // SQLite takes a file of under 512 bytes, the smallest page, for an empty one in places.
    let length = fs::metadata(path).map_or(0, |found| found.len());
    if (1..512).contains(&length) {
        return Err(StoreError::Corrupt(format!("{}: is no SQLite database; name another file", path.display())));
    }
    Ok(())
}

/// Whether there is no space left where the file is.
#[cfg(unix)]
fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|space| space.f_bavail.saturating_mul(space.f_frsize) < 64 * 1024)
}

#[cfg(not(unix))]
fn is_full(_: &Path) -> bool {
    false
}

/// Asks by the name: opening the file and closing it again would take away all locks that this process has on it, for
/// SQLite's belong to the process (https://sqlite.org/howtocorrupt.html#posix_close).
#[cfg(unix)]
fn is_writable(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(path, Access::READ_OK | Access::WRITE_OK).is_ok() && access(directory, Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(_: &Path) -> bool {
    true
}

/// Makes an empty file that only its owner may read: payloads are private. The -wal and -shm files take its mode.
fn make(path: &Path) -> Result<()> {
    match create_private(path) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("{}: cannot be created: {error}", path.display()))),
        Ok(()) => Ok(()),
    }
}

/// Makes the file without opening it, for the reason that [`is_writable`] gives.
#[cfg(target_os = "linux")]
fn create_private(path: &Path) -> std::io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    Ok(mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0)?)
}

/// Elsewhere it is opened and closed before SQLite knows of it.
#[cfg(not(target_os = "linux"))]
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn prepare(conn: &Connection, address: &Address, create: Create, env: &Env) -> Done<()> {
    conn.busy_timeout(address.busy_timeout)?;
    // Before anything is written, so that a file which we refuse stays as it was.
    patiently(|| migrate::check(conn, create))?;
    let mode: String = patiently(|| Ok(conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Unavailable(format!("SQLite cannot use its WAL here (journal mode is {mode})")).into());
    }
    conn.execute_batch(
        "PRAGMA cache_size = -8192; PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;",
    )?;
    set_synchronous(conn, address.synchronous)?;
    if !migrate::is_current(conn)? {
        migrate_alone(conn, env)?;
    }
    // A file that was cut short opens well and fails later; its header knows how many pages it should have.
    let (pages, size): (u64, u64) = (
        conn.query_row("PRAGMA page_count", [], |row| row.get(0))?,
        conn.query_row("PRAGMA page_size", [], |row| row.get(0))?,
    );
    // SQLite puts the WAL beside the file itself, whatever link led to it.
    let path = address.path.canonicalize().unwrap_or_else(|_| address.path.clone());
    let wal = fs::metadata(wal_of(&path)).map_or(0, |wal| wal.len());
    let length = fs::metadata(&path).map_or(0, |file| file.len());
    if wal == 0 && length < pages.saturating_mul(size) {
        return Err(StoreError::Corrupt("the file is truncated; restore it from a backup".into()).into());
    }
    // From here on the writer waits for its turn itself.
    conn.busy_timeout(Duration::ZERO)?;
    Ok(())
}

pub(super) fn set_synchronous(conn: &Connection, level: Synchronous) -> rusqlite::Result<()> {
    conn.execute_batch(match level {
        Synchronous::Full => "PRAGMA synchronous = FULL",
        Synchronous::Normal => "PRAGMA synchronous = NORMAL",
        Synchronous::Off => "PRAGMA synchronous = OFF",
    })
}

pub(super) fn wal_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Migrates under the write lock; of two processes that open at once the second finds the work done.
fn migrate_alone(conn: &Connection, env: &Env) -> Done<()> {
    let tx = patiently(|| Ok(rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?))?;
    if !migrate::is_current(&tx)? {
        let store_id = env.new_id().to_string();
        migrate::migrate(&tx, &Clock::read(env), &store_id)?;
    }
    tx.commit()?;
    Ok(())
}

/// Two processes that turn WAL on at once can meet a lock that no timeout covers: tries again for about a second.
fn patiently<T>(mut attempt: impl FnMut() -> Done<T>) -> Done<T> {
    for _ in 0..100 {
        match attempt() {
            Err(fault) if fault.is_busy() => block_thread(Duration::from_millis(10)),
            other => return other,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_make_the_store_at_the_same_moment_all_get_it() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = folder.path().join(format!("{round}.db"));
            let address = Address::parse(&path.display().to_string()).unwrap();
            let barrier = std::sync::Barrier::new(4);
            let open = || {
                barrier.wait();
                writer(&address, Create::IfMissing, &Env::system()).map(drop)
            };
            std::thread::scope(|scope| {
                let openers = [(); 4].map(|()| scope.spawn(open));
                openers.into_iter().for_each(|opener| opener.join().unwrap().unwrap());
            });
        }
    }

    #[test]
    fn a_sqlite_with_the_wal_bug_is_refused() {
        assert!(assert_version(3_051_002).is_err());
        assert!(assert_version(MIN_SQLITE).is_ok());
        assert!(assert_version(rusqlite::version_number()).is_ok());
    }
}
