//! The tables' versions. Each migration is a list of files; the newest one that is safe for older programs says so by the
//! `min_compatible` that it notes, so that a rolling upgrade needs no pause. One process at a time migrates, under a lock
//! that ends with its transaction.

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{
    address::Address,
    fault,
    link::{Link, sql, with_schema},
};
use crate::{
    env::Env,
    store::{Create, Result, StoreError},
};

/// One step of the schema.
struct Migration {
    version: i32,
    /// The oldest schema version whose program can go on with the store once this step is done.
    min_compatible: i32,
    files: &'static [&'static str],
}

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    min_compatible: 1,
    files: &[
        sql!("0001_first"),
        sql!("core"),
        sql!("kept"),
        sql!("days"),
        sql!("enqueue"),
        sql!("lease"),
        sql!("claim"),
        sql!("finish"),
        sql!("sweep"),
        sql!("operate"),
        sql!("read"),
        sql!("people"),
        sql!("cpu"),
    ],
}];

/// The schema version of this program.
pub(super) const VERSION: i32 = 1;

/// What to say where there is no store and none may be made.
const NO_STORE: &str = "there is no store here; `windlass enqueue` and `windlass work` make one";

/// What the database says of itself.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours { version: i32, min_compatible: i32 },
    Foreign,
}

/// Sees to it that the store is there and of a version that this program can go on with.
pub(super) async fn migrate(link: &Link, address: &Address, create: Create, env: &Env) -> Result<()> {
    let mut connection = link.connection().await?;
    let failed = |error: tokio_postgres::Error| fault::store_error(address, &error);
    let looked = connection.transaction().await.map_err(failed)?;
    let before = found(&looked, address).await?;
    drop(looked);
    if is_current(&before, address)? {
        return Ok(());
    }
    if before == Found::Nothing && create == Create::Never {
        return Err(StoreError::Unavailable(NO_STORE.into()));
    }
    if !address.migrate {
        return Err(StoreError::Unavailable(format!(
            "the schema `{}` is not up to date and migrate=off forbids to change it; open the store once without \
             migrate=off, as a user who may create tables",
            address.schema
        )));
    }
    let step = connection.transaction().await.map_err(failed)?;
    step.batch_execute("SELECT pg_advisory_xact_lock(7089, 0)").await.map_err(failed)?;
    // Somebody else may have done it meanwhile.
    let version = match found(&step, address).await? {
        Found::Nothing => 0,
        Found::Ours { version, .. } => version,
        Found::Foreign => return Err(foreign(address)),
    };
    apply(&step, address, version, env).await.map_err(failed)?;
    step.commit().await.map_err(failed)
}

async fn apply(
    step: &Transaction<'_>,
    address: &Address,
    version: i32,
    env: &Env,
) -> Result<(), tokio_postgres::Error> {
    let schema = &address.schema;
    if version == 0 {
        step.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        step.batch_execute(&with_schema(sql!("migration_table"), schema)).await?;
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > version) {
        for file in migration.files {
            step.batch_execute(&with_schema(file, schema)).await?;
        }
        if migration.version == 1 {
            let store = Uuid::from_u64_pair(env.random(), env.random());
            step.batch_execute(&with_schema(sql!("first_rows"), schema).replace(":store", &store.to_string())).await?;
        }
        let note = format!(
            "INSERT INTO {schema}.migration (version, min_compatible) VALUES ({}, {})",
            migration.version, migration.min_compatible
        );
        step.batch_execute(&note).await?;
    }
    Ok(())
}

/// Whether nothing has to be done; refuses a store that is newer than this program can go on with, or foreign.
fn is_current(found: &Found, address: &Address) -> Result<bool> {
    match found {
        Found::Nothing => Ok(false),
        Found::Foreign => Err(foreign(address)),
        Found::Ours { version, min_compatible } if *min_compatible > VERSION => Err(StoreError::Corrupt(format!(
            "the store was made by a newer windlass (schema {version}, which needs at least {min_compatible}; this \
             program knows {VERSION}); upgrade this program"
        ))),
        Found::Ours { version, .. } => Ok(*version >= VERSION),
    }
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
    let newest = "SELECT version, min_compatible FROM windlass.migration ORDER BY version DESC LIMIT 1";
    let newest = step.query_typed_opt(&with_schema(newest, &address.schema), &[]).await;
    Ok(match newest.map_err(failed)? {
        Some(row) => Found::Ours { version: row.get(0), min_compatible: row.get(1) },
        None => Found::Foreign,
    })
}

fn foreign(address: &Address) -> StoreError {
    StoreError::Corrupt(format!(
        "the schema `{}` has tables that windlass did not make; give it a schema of its own by ?schema=",
        address.schema
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
        let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=VERSION).collect::<Vec<_>>());
    }
}
