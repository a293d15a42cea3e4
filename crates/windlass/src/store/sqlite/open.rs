//! Opens the file: checks the place, makes the file private if we make it, sets the connection up, migrates.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{
    address::{Address, Synchronous},
    clock::Clock,
    fault::Done,
    migrate,
};
use crate::{
    env::{Env, block_thread},
    store::{Create, Result, StoreError},
};

/// The oldest SQLite without the WAL-reset bug (https://sqlite.org/wal.html#walresetbug).
const MIN_SQLITE: i32 = 3_051_003;
/// Statements that a connection keeps ready: all of ours, with room.
const STATEMENTS: usize = 128;

/// Opens the writer's connection on a migrated file.
pub(super) fn writer(address: &Address, create: Create, env: &Env) -> Result<Connection> {
    assert_version(rusqlite::version_number())?;
    place(&address.path, create)?;
    let opened = connect(&address.path).map_err(StoreError::from)?;
    prepare(&opened, address, create, env).map_err(|fault| named(StoreError::from(fault), &address.path))?;
    Ok(opened)
}

/// Opens a connection that only reads.
pub(super) fn reader(path: &Path) -> Done<Connection> {
    let conn = connect(path)?;
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

fn named(error: StoreError, path: &Path) -> StoreError {
    let at = |text: String| format!("{}: {text}", path.display());
    match error {
        StoreError::Unavailable(text) => StoreError::Unavailable(at(text)),
        StoreError::Corrupt(text) => StoreError::Corrupt(at(text)),
        other => other,
    }
}

fn connect(path: &Path) -> Done<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
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
            return unavailable(migrate::NO_STORE.into());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path)?,
        Err(error) => return unavailable(error.to_string()),
    }
    #[cfg(target_os = "linux")]
    super::disk::refuse_network(path)?;
    if let Err(error) = OpenOptions::new().read(true).write(true).open(path) {
        return unavailable(format!("cannot be written ({error}); a store needs a file and a directory it may write"));
    }
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    if let Err(error) = read {
        return unavailable(error.to_string());
    }
    // SQLite takes a file of under 512 bytes for an empty one in places; what has bytes must begin as a database does.
    if !head.is_empty() && head != b"SQLite format 3\0" {
        return Err(StoreError::Corrupt(format!("{}: is no SQLite database; name another file", path.display())));
    }
    Ok(())
}

/// Makes an empty file that only its owner may read: payloads are private. The -wal and -shm files take its mode.
fn make(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("{}: cannot be created: {error}", path.display()))),
    }
}

fn prepare(conn: &Connection, address: &Address, create: Create, env: &Env) -> Done<()> {
    conn.busy_timeout(address.busy_timeout)?;
    // Before anything is written, so that a file which we refuse stays as it was.
    migrate::check(conn, create)?;
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
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
    let wal = fs::metadata(wal_of(&address.path)).map_or(0, |wal| wal.len());
    let length = fs::metadata(&address.path).map_or(0, |file| file.len());
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
    let mut tries = 0;
    let tx = loop {
        match rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Immediate) {
            // Two processes that turn WAL on at once can meet a lock that no timeout covers.
            Err(error) if tries < 100 && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                tries += 1;
                block_thread(Duration::from_millis(10));
            }
            other => break other?,
        }
    };
    if !migrate::is_current(&tx)? {
        let store_id = env.new_id().to_string();
        migrate::migrate(&tx, &Clock::read(env), &store_id)?;
    }
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_with_the_wal_bug_is_refused() {
        assert!(assert_version(3_051_002).is_err());
        assert!(assert_version(MIN_SQLITE).is_ok());
        assert!(assert_version(rusqlite::version_number()).is_ok());
    }
}
