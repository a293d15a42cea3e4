//! The tables' versions. Each migration is a file; the newest one that is safe for older programs says so by the
//! `min_compatible` that it notes, so that a rolling upgrade needs no pause.

use rusqlite::{Connection, OptionalExtension};

use super::{clock::Clock, fault::Done, step::sql};
use crate::store::{
    Create, Migration, StoreError,
    schema::{self, NO_STORE},
};

/// One step of the schema, and how it is taken back.
struct Step {
    migration: Migration,
    up: &'static str,
    down: &'static str,
}

const STEPS: &[Step] = &[
    Step { migration: Migration::new(1, 1, "0001_first"), up: sql!("0001_first"), down: sql!("0001_first_down") },
    Step { migration: Migration::new(2, 1, "0002_groups"), up: sql!("0002_groups"), down: sql!("0002_groups_down") },
    Step { migration: Migration::new(3, 1, "0003_reports"), up: sql!("0003_reports"), down: sql!("0003_reports_down") },
    Step { migration: Migration::new(4, 1, "0004_ended"), up: sql!("0004_ended"), down: sql!("0004_ended_down") },
    Step {
        migration: Migration::new(5, 1, "0005_schedules"),
        up: sql!("0005_schedules"),
        down: sql!("0005_schedules_down"),
    },
    Step {
        migration: Migration::new(6, 1, "0006_tenant_times"),
        up: sql!("0006_tenant_times"),
        down: sql!("0006_tenant_times_down"),
    },
    Step { migration: Migration::new(7, 1, "0007_locks"), up: sql!("0007_locks"), down: sql!("0007_locks_down") },
    Step { migration: Migration::new(8, 1, "0008_due"), up: sql!("0008_due"), down: sql!("0008_due_down") },
    Step {
        migration: Migration::new(9, 9, "0009_exclusive"),
        up: sql!("0009_exclusive"),
        down: sql!("0009_exclusive_down"),
    },
];

/// The schema version of this program.
pub(super) const VERSION: i64 = 9;

/// What the file says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
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
    Ok(conn.execute_batch(&up_sql(version, last, clock, store_id))?)
}

/// What makes of one version a later one; the clock's moment and the id are those of a new store.
pub(super) fn up_sql(from: i64, to: i64, clock: &Clock, store_id: &str) -> String {
    let mut text = String::new();
    for step in STEPS.iter().filter(|step| step.migration.version > from && step.migration.version <= to) {
        text += step.up;
        text.push('\n');
        if step.migration.version == 1 {
            text += sql!("migration_table");
            text += &sql!("first_rows")
                .replace(":boot", &quoted(&clock.boot))
                .replace(":mono", &clock.mono.0.to_string())
                .replace(":store", &quoted(store_id));
        }
        let (Migration { version, min_compatible, .. }, at) = (step.migration, clock.now.as_micros());
        text += &format!(
            "INSERT INTO windlass_migration (version, min_compatible, at) VALUES ({version}, {min_compatible}, {at});\n"
        );
    }
    text
}

/// What makes of one version an earlier one, 0 for none.
pub(super) fn down_sql(from: i64, to: i64) -> String {
    let mut text = String::new();
    for step in STEPS.iter().rev().filter(|step| step.migration.version > to && step.migration.version <= from) {
        text += &format!("DELETE FROM windlass_migration WHERE version = {};\n{}\n", step.migration.version, step.down);
    }
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn migrations() -> Vec<Migration> {
    STEPS.iter().map(|step| step.migration).collect()
}

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
        Found::Ours { version, min_compatible } if min_compatible > VERSION => {
            Err(schema::newer(version, min_compatible, VERSION).into())
        }
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

pub(super) fn found(conn: &Connection) -> Done<Found> {
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

pub(super) fn foreign() -> StoreError {
    StoreError::Corrupt(
        "the file has tables named windlass_* that windlass did not make; give windlass a file of its own, or rename them"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

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
    fn the_way_back_from_each_version_leads_to_the_one_before() {
        let clock = Clock::read(&Env::system());
        let schema = |conn: &Connection| -> Vec<(String, String)> {
            let all = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
            let mut statement = conn.prepare(all).unwrap();
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
        };
        for earlier in 0..VERSION {
            let [there, back] = [earlier, earlier + 1].map(|version| {
                let conn = Connection::open_in_memory().unwrap();
                migrate_up_to(&conn, &clock, "a", version).unwrap();
                conn
            });
            back.execute_batch(&down_sql(earlier + 1, earlier)).unwrap();
            assert_eq!(schema(&back), schema(&there));
            assert_eq!(newest(&back).unwrap(), earlier);
            back.execute_batch(&up_sql(earlier, VERSION, &clock, "a")).unwrap();
            assert!(is_current(&back).unwrap());
        }
        let conn = migrated();
        conn.execute_batch(&down_sql(VERSION, 0)).unwrap();
        assert_eq!(schema(&conn), []);
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
