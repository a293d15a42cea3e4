//! The tables apart from the store that stands on them: looked at, made and taken away, for `windlass migrate`.

use async_trait::async_trait;
use tokio_postgres::{error::SqlState, types::Type};

use super::{
    address::Address,
    checkup, fault,
    link::{Link, begin, sql, with_schema},
    migrate::{self, Found},
    ops::read::count,
    rows,
};
use crate::{
    env::Env,
    store::{Held, Migration, Result, SERVER_SILENT_AFTER, StoreError, schema},
};

/// The tables of a schema.
struct Tables {
    link: Link,
    address: Address,
}

pub(in crate::store) fn tables(url: &str) -> Result<Box<dyn schema::Tables>> {
    let address = Address::parse(url)?;
    Ok(Box::new(Tables { link: Link::start(address.clone(), &Env::system())?, address }))
}

#[async_trait]
impl schema::Tables for Tables {
    fn store(&self) -> &'static str {
        "postgres"
    }

    fn place(&self) -> String {
        self.address.shown.clone()
    }

    fn migrations(&self) -> Vec<Migration> {
        migrate::migrations()
    }

    async fn found(&self) -> Result<(i64, i64)> {
        checkup::refuse(&checkup::at_open(&self.link).await?)?;
        match migrate::look(&mut self.link.connection().await?, &self.address).await? {
            Found::Nothing => Ok((0, 0)),
            Found::Ours { version, min_compatible } => Ok((version, min_compatible)),
            Found::Foreign => Err(migrate::foreign(&self.address)),
        }
    }

    async fn held(&self) -> Result<Held> {
        let silent = i64::try_from(SERVER_SILENT_AFTER.as_micros()).unwrap_or(i64::MAX);
        let row = self.link.row(sql!("held"), &[(&silent, Type::INT8)]).await?;
        Ok(Held { jobs: count(rows::get(&row, "jobs")?), servers: count(rows::get(&row, "servers")?) })
    }

    fn sql(&self, from: i64, to: i64, force: bool) -> String {
        let schema = &self.address.schema;
        let steps = if to > from {
            begun(schema, from) + &migrate::up_sql(schema, from)
        } else {
            back(schema, from, to, force)
        };
        format!(
            "-- The schema `{schema}` of windlass from version {from} to version {to}. Run it by\n--   psql -v \
             ON_ERROR_STOP=1 -f FILE\nBEGIN ISOLATION LEVEL READ COMMITTED;\n{steps}COMMIT;\n"
        )
    }

    async fn up(&self) -> Result<()> {
        migrate::up(&mut self.link.connection().await?, &self.address).await
    }

    async fn down(&self, from: i64, to: i64, force: bool) -> Result<()> {
        let mut connection = self.link.connection().await?;
        let failed = |error: tokio_postgres::Error| stays(&self.address, &error);
        let step = begin(&mut connection).await.map_err(failed)?;
        step.batch_execute(&back(&self.address.schema, from, to, force)).await.map_err(failed)?;
        step.commit().await.map_err(failed)
    }
}

/// The way back, but for its transaction.
fn back(schema: &str, from: i64, to: i64, force: bool) -> String {
    // Somebody may have a table open for long, and whoever comes later waits in line behind us.
    const NOT_FOR_EVER: &str = "SET LOCAL lock_timeout = '5s';\n";
    let unless_held = if force { "".into() } else { with_schema(sql!("migrate_empty"), schema) };
    begun(schema, from) + NOT_FOR_EVER + &unless_held + &migrate::down_sql(schema, from, to)
}

/// Alone, and at the version that the steps are for.
fn begun(schema: &str, from: i64) -> String {
    let at_version = with_schema(sql!("migrate_from"), schema).replace(":from", &from.to_string());
    format!("{}{at_version}", sql!("migrate_lock"))
}

/// Why the tables stay as they are.
fn stays(address: &Address, error: &tokio_postgres::Error) -> StoreError {
    let said = |error: &tokio_postgres::error::DbError| {
        let detail = error.detail().map(|detail| format!(" ({})", detail.replace('\n', "; ")));
        format!("{}: {}{}", address.shown, error.message(), detail.unwrap_or_default())
    };
    match (error.code(), error.as_db_error()) {
        (Some(&SqlState::OBJECT_IN_USE), Some(error)) => {
            StoreError::Invalid(format!("{}; nothing was changed", said(error)))
        }
        (Some(&SqlState::LOCK_NOT_AVAILABLE), _) => StoreError::Invalid(format!(
            "{}: somebody has a table of ours open (a query, a dump, a transaction that was left open); nothing was changed; \
             try again when that has ended",
            address.shown
        )),
        (Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST), Some(error)) => StoreError::Invalid(format!(
            "{}; somebody else's things stand in our schema or on it: move them away first; nothing was changed",
            said(error)
        )),
        (Some(&SqlState::INSUFFICIENT_PRIVILEGE), Some(error)) => {
            StoreError::Invalid(format!("{}; let the owner of the tables do it", said(error)))
        }
        _ => fault::store_error(address, error),
    }
}
