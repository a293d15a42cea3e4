//! The tables' versions. Each migration is a file; the newest one that is safe for older programs says so by the
//! `min_compatible` that it notes, so that a rolling upgrade needs no pause.

use rusqlite::{Connection, OptionalExtension, params};

use super::{clock::Clock, fault::Done, step::sql};
use crate::store::{Create, StoreError};

/// One step of the schema.
struct Migration {
    version: i64,
    /// The oldest schema version whose program can go on with the file once this step is done.
    min_compatible: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, min_compatible: 1, sql: sql!("0001_first") },
    Migration { version: 2, min_compatible: 1, sql: sql!("0002_groups") },
    Migration { version: 3, min_compatible: 1, sql: sql!("0003_reports") },
    Migration { version: 4, min_compatible: 1, sql: sql!("0004_ended") },
];

/// The schema version of this program.
pub(super) const VERSION: i64 = 4;

/// What the file says of itself.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours { version: i64, min_compatible: i64 },
    Foreign,
}

/// Brings the file up to this program's version, inside a write transaction of the caller.
pub(super) fn migrate(conn: &Connection, clock: &Clock, store_id: &str) -> Done<()> {
    migrate_up_to(conn, clock, store_id, VERSION)
}

/// The same up to some version, for tests of what earlier programs left.
pub(super) fn migrate_up_to(conn: &Connection, clock: &Clock, store_id: &str, last: i64) -> Done<()> {
    let version = match found(conn)? {
        Found::Nothing => 0,
        Found::Ours { version, .. } => version,
        Found::Foreign => return Err(foreign().into()),
    };
    for step in MIGRATIONS.iter().filter(|step| step.version > version && step.version <= last) {
        conn.execute_batch(step.sql)?;
        if step.version == 1 {
            conn.execute_batch(sql!("migration_table"))?;
            conn.execute(sql!("first_rows"), params![&*clock.boot, clock.mono.0])?;
            conn.execute("INSERT INTO windlass_meta (name, value) VALUES ('store_id', ?1)", [store_id])?;
        }
        let row = params![step.version, step.min_compatible, clock.now.as_micros()];
        conn.execute("INSERT INTO windlass_migration (version, min_compatible, at) VALUES (?1, ?2, ?3)", row)?;
    }
    Ok(())
}

/// What to say where there is no store and none may be made.
pub(super) const NO_STORE: &str = "there is no store here; `windlass enqueue` and `windlass work` make one";

/// Looks at the file and writes nothing: refuses what is foreign or too new, and a file without our tables if they may
/// not be made.
pub(super) fn check(conn: &Connection, create: Create) -> Done<()> {
    is_current(conn)?;
    if create == Create::Never && found(conn)? == Found::Nothing {
        return Err(StoreError::Unavailable(NO_STORE.into()).into());
    }
    Ok(())
}

/// Whether the file has to be migrated; refuses one that is newer than this program can go on with, or foreign.
pub(super) fn is_current(conn: &Connection) -> Done<bool> {
    match found(conn)? {
        Found::Nothing => Ok(false),
        Found::Foreign => Err(foreign().into()),
        Found::Ours { version, min_compatible } if min_compatible > VERSION => Err(StoreError::Corrupt(format!(
            "the store was made by a newer windlass (schema {version}, which needs at least {min_compatible}; this \
             program knows {VERSION}); upgrade this program"
        ))
        .into()),
        Found::Ours { version, .. } => Ok(version >= VERSION),
    }
}

/// The id that tells this store from every other one.
pub(super) fn store_id(conn: &Connection) -> Done<String> {
    let mut statement = conn.prepare_cached("SELECT value FROM windlass_meta WHERE name = 'store_id'")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// The newest step that the file has seen; 0 for none.
pub(super) fn newest(conn: &Connection) -> Done<i64> {
    Ok(match found(conn)? {
        Found::Ours { version, .. } => version,
        Found::Nothing | Found::Foreign => 0,
    })
}

fn found(conn: &Connection) -> Done<Found> {
    let tables = "SELECT count(*), count(*) FILTER (WHERE name = 'windlass_migration') FROM sqlite_schema \
                  WHERE type = 'table' AND name LIKE 'windlass\\_%' ESCAPE '\\'";
    let (ours, migration): (i64, i64) = conn.query_row(tables, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if ours == 0 {
        return Ok(Found::Nothing);
    }
    if migration == 0 {
        return Ok(Found::Foreign);
    }
    let newest = "SELECT version, min_compatible FROM windlass_migration ORDER BY version DESC LIMIT 1";
    let newest = conn.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional();
    match newest {
        Ok(Some((version, min_compatible))) => Ok(Found::Ours { version, min_compatible }),
        // A table of that name that is not ours, or not whole.
        Ok(None) | Err(rusqlite::Error::SqlInputError { .. } | rusqlite::Error::InvalidColumnType(..)) => {
            Ok(Found::Foreign)
        }
        Err(error) => Err(error.into()),
    }
}

fn foreign() -> StoreError {
    StoreError::Corrupt(
        "the file has tables named windlass_* that windlass did not make; give windlass a file of its own, or rename them"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    fn migrated() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        migrate(&conn, &Clock::read(&Env::system()), "a").unwrap();
        conn
    }

    fn newer(conn: &Connection, min_compatible: i64) {
        let row = params![VERSION + 5, min_compatible];
        conn.execute("INSERT INTO windlass_migration (version, min_compatible, at) VALUES (?1, ?2, 0)", row).unwrap();
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let conn = migrated();
        assert!(is_current(&conn).unwrap());
        migrate(&conn, &Clock::read(&Env::system()), "b").unwrap();
        assert_eq!(store_id(&conn).unwrap(), "a");
    }

    #[test]
    fn a_file_of_each_earlier_version_is_brought_up_to_this_one() {
        let schema = |conn: &Connection| -> Vec<String> {
            let mut statement =
                conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        for earlier in 1..VERSION {
            let (conn, clock) = (Connection::open_in_memory().unwrap(), Clock::read(&Env::system()));
            migrate_up_to(&conn, &clock, "a", earlier).unwrap();
            assert!(!is_current(&conn).unwrap());
            migrate(&conn, &clock, "b").unwrap();
            assert!(is_current(&conn).unwrap());
            assert_eq!((store_id(&conn).unwrap(), schema(&conn)), ("a".into(), schema(&migrated())));
        }
    }

    #[test]
    fn a_newer_store_is_used_while_it_is_compatible_and_refused_when_it_is_not() {
        let conn = migrated();
        newer(&conn, VERSION);
        assert!(is_current(&conn).unwrap());
        conn.execute("DELETE FROM windlass_migration WHERE version > ?1", [VERSION]).unwrap();
        newer(&conn, VERSION + 1);
        let refused = StoreError::from(is_current(&conn).unwrap_err());
        assert!(matches!(&refused, StoreError::Corrupt(text) if text.contains("newer windlass")), "{refused}");
    }

    #[test]
    fn a_database_without_our_tables_is_only_a_store_where_one_may_be_made() {
        let conn = Connection::open_in_memory().unwrap();
        assert!(check(&conn, Create::IfMissing).is_ok());
        let refused = StoreError::from(check(&conn, Create::Never).unwrap_err());
        assert!(matches!(&refused, StoreError::Unavailable(text) if text.contains("windlass enqueue")), "{refused}");
        assert!(check(&migrated(), Create::Never).is_ok());
    }

    #[test]
    fn foreign_tables_of_our_name_are_refused() {
        for sql in ["CREATE TABLE windlass_job (x)", "CREATE TABLE windlass_migration (x)"] {
            let conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(sql).unwrap();
            assert!(matches!(StoreError::from(is_current(&conn).unwrap_err()), StoreError::Corrupt(_)), "{sql}");
        }
    }
}
