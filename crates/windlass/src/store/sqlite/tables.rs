//! The tables apart from the store that stands on them: looked at, made and taken away, for `windlass migrate`.

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};

use super::{
    address::Address,
    clock::Clock,
    fault::Done,
    migrate::{self, Found},
    open,
    step::sql,
};
use crate::{
    env::Env,
    store::{Create, Held, Migration, Result, SERVER_SILENT_AFTER, StoreError, schema},
};

/// The tables of a file.
struct Tables(Address);

pub(in crate::store) fn tables(url: &str) -> Result<Box<dyn schema::Tables>> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    Ok(Box::new(Tables(Address::parse(rest)?)))
}

impl Tables {
    /// Does something with the file where it may block.
    async fn on_file<A: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Done<A> + Send + 'static,
    ) -> Result<A> {
        let address = self.0.clone();
        apart(move || {
            let worked = open::connect(&address).and_then(|mut conn| {
                conn.busy_timeout(address.busy_timeout)?;
                work(&mut conn)
            });
            worked.map_err(|fault| open::named(fault.into(), &address.path))
        })
        .await
    }
}

async fn apart<A: Send + 'static>(work: impl FnOnce() -> Result<A> + Send + 'static) -> Result<A> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| StoreError::Unavailable(format!("looking at the tables was interrupted: {error}")))?
}

#[async_trait]
impl schema::Tables for Tables {
    fn store(&self) -> &'static str {
        "sqlite"
    }

    fn place(&self) -> String {
        format!("sqlite:{}", self.0.path.display())
    }

    fn migrations(&self) -> Vec<Migration> {
        migrate::migrations()
    }

    async fn found(&self) -> Result<(i64, i64)> {
        if !self.0.path.exists() {
            return Ok((0, 0));
        }
        let found = self.on_file(|conn| migrate::found(conn)).await?;
        match found {
            Found::Nothing => Ok((0, 0)),
            Found::Ours { version, min_compatible } => Ok((version, min_compatible)),
            Found::Foreign => Err(migrate::foreign()),
        }
    }

    async fn held(&self) -> Result<Held> {
        self.on_file(|conn| held(conn)).await
    }

    fn sql(&self, from: i64, to: i64, _: bool) -> String {
        let steps = if to > from {
            let env = Env::system();
            migrate::up_sql(from, to, &Clock::read(&env), &env.new_id().to_string())
        } else {
            migrate::down_sql(from, to)
        };
        format!(
            "-- The tables of windlass from version {from} to version {to}. Run it by\n--   sqlite3 -bail jobs.db < \
             FILE\nBEGIN IMMEDIATE;\n{steps}COMMIT;\n"
        )
    }

    async fn up(&self) -> Result<()> {
        let address = self.0.clone();
        apart(move || open::writer(&address, Create::IfMissing, &Env::system()).map(drop)).await
    }

    async fn down(&self, from: i64, to: i64, force: bool) -> Result<()> {
        self.on_file(move |conn| {
            let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if migrate::newest(&step)? != from {
                return Err(StoreError::Unavailable("somebody else has changed the tables meanwhile".into()).into());
            }
            if !force && held(&step)? != Held::default() {
                let refused = "the store holds jobs, or servers work on it; nothing was changed";
                return Err(StoreError::Invalid(refused.into()).into());
            }
            step.execute_batch(&migrate::down_sql(from, to))?;
            Ok(step.commit()?)
        })
        .await
    }
}

fn held(conn: &Connection) -> Done<Held> {
    let since = Env::system().wall().before(SERVER_SILENT_AFTER);
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (jobs, servers) = conn.query_row(sql!("held"), [since.as_micros()], row)?;
    Ok(Held { jobs: jobs.unsigned_abs(), servers: servers.unsigned_abs() })
}
