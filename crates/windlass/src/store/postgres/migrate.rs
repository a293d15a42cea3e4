//! The tables' versions. Each migration is a list of files; the newest one that is safe for older programs says so by the
//! `min_compatible` that it notes, so that a rolling upgrade needs no pause. One process at a time migrates, under a lock
//! that ends with its transaction. What runs is the very text that `windlass migrate --sql` prints.

use deadpool_postgres::Object;
use tokio_postgres::{Transaction, error::SqlState};

use super::{
    address::Address,
    fault,
    link::{Link, begin, sql, with_schema},
};
use crate::store::{
    Create, Migration, Result, StoreError,
    schema::{self, NO_STORE},
};

/// One step of the schema.
struct Step {
    migration: Migration,
    files: &'static [&'static str],
}

const STEPS: &[Step] = &[Step {
    migration: Migration::new(1, 1, "0001_first"),
    files: &[
        sql!("migration_table"),
        sql!("0001_first"),
        sql!("core"),
        sql!("kept"),
        sql!("days"),
        sql!("enqueue"),
        sql!("copy"),
        sql!("lease"),
        sql!("claim"),
        sql!("finish"),
        sql!("schedules"),
        sql!("promote"),
        sql!("sweep"),
        sql!("operate"),
        sql!("read"),
        sql!("callers"),
        sql!("people"),
        sql!("locks"),
        sql!("cpu"),
        sql!("first_rows"),
    ],
}];

/// The comment on a schema that we made, which goes with the last table. One that was there before stays.
const OURS: &str = "made by windlass";

/// The schema version of this program.
pub(super) const VERSION: i64 = 1;

/// What the database says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Ours { version: i64, min_compatible: i64 },
    Foreign,
}

pub(super) fn migrations() -> Vec<Migration> {
    STEPS.iter().map(|step| step.migration).collect()
}

/// Sees to it that the store is there and of a version that this program can go on with.
pub(super) async fn migrate(link: &Link, address: &Address, create: Create) -> Result<()> {
    let mut connection = link.connection().await?;
    let before = look(&mut connection, address).await?;
    if is_current(&before, address)? {
        return Ok(());
    }
    if before == Found::Nothing && create == Create::Never {
        return Err(StoreError::Unavailable(NO_STORE.into()));
    }
    if !address.migrate {
        return Err(StoreError::Unavailable(format!(
            "the schema `{}` is {} and migrate=off forbids to change that; run `windlass migrate up --store {}`, as a user \
             who may create tables",
            address.schema,
            if before == Found::Nothing { "not there" } else { "older than this program" },
            address.shown
        )));
    }
    up(&mut connection, address).await
}

/// Makes the tables, or brings them up to date.
pub(super) async fn up(connection: &mut Object, address: &Address) -> Result<()> {
    let failed = |error: tokio_postgres::Error| not_made(address, &error);
    let step = begin(connection).await.map_err(failed)?;
    step.batch_execute(sql!("migrate_lock")).await.map_err(failed)?;
    // Somebody else may have done it meanwhile.
    let version = match found(&step, address).await? {
        Found::Nothing => 0,
        Found::Ours { version, .. } => version,
        Found::Foreign => return Err(foreign(address)),
    };
    step.batch_execute(&up_sql(&address.schema, version)).await.map_err(failed)?;
    step.commit().await.map_err(failed)
}

/// What makes of one version the newest one.
pub(super) fn up_sql(schema: &str, from: i64) -> String {
    // Not IF NOT EXISTS: that asks for the right to create one even where it is there.
    let make = format!(
        "DO $$ BEGIN\n    IF to_regnamespace('{schema}') IS NULL THEN\n        CREATE SCHEMA {schema};\n        COMMENT ON SCHEMA \
         {schema} IS '{OURS}';\n    END IF;\nEND $$;\n\n"
    );
    let mut text = if from == 0 { make } else { String::new() };
    for step in STEPS.iter().filter(|step| step.migration.version > from) {
        for file in step.files {
            text += &with_schema(file, schema);
            text.push('\n');
        }
        let Migration { version, min_compatible, .. } = step.migration;
        text += &format!(
            "INSERT INTO {schema}.migration (version, min_compatible) VALUES ({version}, {min_compatible});\n"
        );
    }
    text
}

/// What makes of one version an earlier one, 0 for none.
pub(super) fn down_sql(schema: &str, from: i64, to: i64) -> String {
    let mut text = if to == 0 { with_schema(sql!("days_down"), schema).into_owned() } else { String::new() };
    for step in STEPS.iter().rev().filter(|step| step.migration.version > to && step.migration.version <= from) {
        let version = step.migration.version;
        text += &format!("DELETE FROM {schema}.migration WHERE version = {version};\n");
        text += &with_schema(&undo(step.files), schema);
    }
    // Nobody means to lose `public`, whoever made it.
    if to == 0 && schema != "public" {
        // What is not ours stands in the way of this, and everything stays as it is.
        text += &format!(
            "DO $$ BEGIN\n    IF obj_description(to_regnamespace('{schema}'), 'pg_namespace') = '{OURS}' THEN\n        DROP \
             SCHEMA {schema};\n    END IF;\nEND $$;\n"
        );
    }
    text
}

/// Drops what files created, the newest first, since that may stand on what is older. A step that changes what an earlier
/// one made will have to say itself how that is taken back.
fn undo(files: &[&str]) -> String {
    let created = files.iter().flat_map(|file| file.lines()).filter_map(|line| {
        let (kind, rest) = line.strip_prefix("CREATE ")?.split_once(" windlass.")?;
        let name = rest.split([' ', '(']).next()?;
        let kind = kind.strip_prefix("UNLOGGED ").unwrap_or(kind);
        matches!(kind, "TABLE" | "VIEW" | "SEQUENCE" | "TYPE" | "FUNCTION")
            .then(|| format!("DROP {kind} windlass.{name};\n"))
    });
    created.collect::<Vec<_>>().into_iter().rev().collect()
}

/// The indexes that files create: their names, and the statements that make them.
pub(super) fn indexes(schema: &str) -> Vec<(String, String)> {
    let index = |statement: &str| {
        let rest = statement.strip_prefix("INDEX ").or_else(|| statement.strip_prefix("UNIQUE INDEX "))?;
        let statement =
            with_schema(statement.split_once(';')?.0, schema).split_whitespace().collect::<Vec<_>>().join(" ");
        Some((rest.split_whitespace().next()?.to_owned(), format!("CREATE {statement}")))
    };
    let files = STEPS.iter().flat_map(|step| step.files);
    files.flat_map(|file| file.split("\nCREATE ").skip(1).filter_map(index)).collect()
}

/// Whether nothing has to be done; refuses a store that is newer than this program can go on with, or foreign.
fn is_current(found: &Found, address: &Address) -> Result<bool> {
    match *found {
        Found::Nothing => Ok(false),
        Found::Foreign => Err(foreign(address)),
        Found::Ours { version, min_compatible } if min_compatible > VERSION => {
            Err(schema::newer(version, min_compatible, VERSION))
        }
        Found::Ours { version, .. } => Ok(version >= VERSION),
    }
}

/// What is there, of one moment.
pub(super) async fn look(connection: &mut Object, address: &Address) -> Result<Found> {
    let step = begin(connection).await.map_err(|error| fault::store_error(address, &error))?;
    found(&step, address).await
}

async fn found(step: &Transaction<'_>, address: &Address) -> Result<Found> {
    let failed = |error: tokio_postgres::Error| fault::store_error(address, &error);
    // Not by to_regclass(): it may answer from what the connection remembers of before the lock.
    let there = "SELECT coalesce(bool_or(c.relname = 'migration'), false), coalesce(bool_or(c.relname = 'job'), false) \
                 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE n.nspname = split_part('windlass.', '.', 1) AND c.relname IN ('migration', 'job')";
    let there = with_schema(there, &address.schema);
    let row = step.query_typed_one(&there, &[]).await.map_err(failed)?;
    match (row.get(0), row.get(1)) {
        (false, false) => return Ok(Found::Nothing),
        (false, true) => return Ok(Found::Foreign),
        _ => {}
    }
    let newest = "SELECT version::bigint, min_compatible::bigint FROM windlass.migration ORDER BY version DESC LIMIT 1";
    let newest = step.query_typed_opt(&with_schema(newest, &address.schema), &[]).await;
    Ok(match newest.map_err(failed)? {
        Some(row) => Found::Ours { version: row.get(0), min_compatible: row.get(1) },
        None => Found::Foreign,
    })
}

pub(super) fn foreign(address: &Address) -> StoreError {
    StoreError::Corrupt(format!(
        "the schema `{}` has tables that windlass did not make; give it a schema of its own by ?schema=",
        address.schema
    ))
}

/// Why the tables were not made: mostly since the user may not.
fn not_made(address: &Address, error: &tokio_postgres::Error) -> StoreError {
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return fault::store_error(address, error);
    }
    StoreError::Invalid(format!(
        "{}: this user may not make or change the tables ({}); let one who may run what `windlass migrate up --sql --store \
         {}` prints, by psql, and grant this user the use of them",
        address.shown,
        fault::chain(error),
        address.shown
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_store_is_used_while_it_is_compatible_and_refused_when_it_is_not() {
        let address = Address::parse("postgres://app@localhost/shop").unwrap();
        let ours = |version, min_compatible| is_current(&Found::Ours { version, min_compatible }, &address);
        assert!(ours(VERSION + 5, VERSION).unwrap());
        assert!(!ours(VERSION - 1, VERSION - 1).unwrap());
        assert!(
            matches!(ours(VERSION + 5, VERSION + 1), Err(StoreError::Corrupt(text)) if text.contains("newer windlass"))
        );
        assert!(matches!(is_current(&Found::Foreign, &address), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn versions_rise_by_one_and_the_last_is_this_programs() {
        let versions: Vec<_> = STEPS.iter().map(|step| step.migration.version).collect();
        assert_eq!(versions, (1..=VERSION).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_created_is_dropped_in_the_opposite_order() {
        let files =
            ["CREATE TABLE windlass.a (\n);\nCREATE INDEX i ON windlass.a (x);\n-- CREATE TABLE windlass.no", {
                "CREATE FUNCTION windlass.f(p text) RETURNS text\nCREATE VIEW windlass.v AS SELECT 1;"
            }];
        let dropped = "DROP VIEW windlass.v;\nDROP FUNCTION windlass.f;\nDROP TABLE windlass.a;\n";
        assert_eq!(undo(&files), dropped);
    }

    #[test]
    fn a_schema_goes_only_where_we_made_it_and_public_never() {
        assert!(down_sql("other", VERSION, 0).contains("= 'made by windlass' THEN\n        DROP SCHEMA other;"));
        assert!(!down_sql("public", VERSION, 0).contains("DROP SCHEMA"));
    }

    #[test]
    fn indexes_are_known_with_what_makes_them() {
        let found = indexes("other");
        let unique = found.iter().find(|(name, _)| name == "job_unique").expect("it is in the first file");
        let statement = "CREATE UNIQUE INDEX job_unique ON other.job (unique_key) WHERE unique_key IS NOT NULL AND unique_ttl_us IS NULL";
        assert_eq!(unique.1, statement);
        assert!(found.len() > 5, "{found:?}");
    }

    #[test]
    fn every_text_is_of_the_schema_that_it_is_for() {
        for text in [up_sql("other", 0), down_sql("other", VERSION, 0)] {
            assert!(!text.contains("windlass.") && text.contains("other.job"), "{text}");
        }
    }
}
