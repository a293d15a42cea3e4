//! The tables of a store, looked at and changed apart from opening it: what `windlass migrate` does, for programs. Decides
//! what may be done; how it is done is in the `migrate.rs` and `tables.rs` of each store that has tables.

use async_trait::async_trait;
use serde::Serialize;

use super::{Result, StoreError, unknown_scheme};

/// One step of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Migration {
    /// Rises by one from step to step.
    pub version: i64,
    /// What its file is called.
    pub name: &'static str,
    /// The oldest version whose programs can go on with the store once this step is done.
    pub min_compatible: i64,
}

impl Migration {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) const fn new(version: i64, min_compatible: i64, name: &'static str) -> Self {
        Self { version, name, min_compatible }
    }
}

/// Of which version the tables of a store are, and what this program would do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SchemaStatus {
    /// The kind of store: `sqlite` or `postgres`.
    pub store: &'static str,
    /// Where it is, without what is secret.
    pub place: String,
    /// The version that is there; 0: there is no store.
    pub version: i64,
    /// The oldest version whose programs can go on with it.
    pub min_compatible: i64,
    /// The version that this program makes.
    pub known: i64,
    /// Whether this program can work on it as it is.
    pub usable: bool,
    /// What brings it up to date.
    pub pending: Vec<Migration>,
}

/// What is lost when a store is taken away, and who works on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Held {
    /// Jobs in any state, those that have ended among them.
    pub jobs: u64,
    /// Servers that gave a sign of life within 30 seconds.
    pub servers: u64,
}

/// What a store with tables answers and does.
#[async_trait]
pub(super) trait Tables: Send + Sync {
    fn store(&self) -> &'static str;

    fn place(&self) -> String;

    /// All steps, the first one first.
    fn migrations(&self) -> Vec<Migration>;

    /// The version that is there and its `min_compatible`; zeros where there is no store.
    async fn found(&self) -> Result<(i64, i64)>;

    async fn held(&self) -> Result<Held>;

    /// The text that leads from one version to another, whole or not at all.
    fn sql(&self, from: i64, to: i64, force: bool) -> String;

    /// Brings the tables up to date.
    async fn up(&self) -> Result<()>;

    /// Takes them back to an earlier version, unless (`force`) they hold jobs or servers work on them.
    async fn down(&self, from: i64, to: i64, force: bool) -> Result<()>;
}

/// The tables of the store that a URL names, as they were when it was looked at. Opening a store migrates by itself; this
/// is for those who want to do it apart, or let somebody else do it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// # #[cfg(feature = "sqlite")]
/// # {
/// # let folder = tempfile::tempdir()?;
/// # let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
/// use windlass::store::Schema;
/// let schema = Schema::look(&url).await?;
/// println!("{}", schema.sql(schema.status().known, false)?); // for those who review it
/// let now = schema.migrate(schema.status().known, false).await?;
/// assert!(now.usable && now.pending.is_empty());
/// assert_eq!(Schema::look(&url).await?.held().await?.jobs, 0);
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Schema {
    tables: Box<dyn Tables>,
    status: SchemaStatus,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Schema").field(&self.status).finish()
    }
}

impl Schema {
    /// Looks at the tables, and makes and changes nothing.
    ///
    /// # Errors
    /// `Unsupported` for a store that has no tables, and so no migrations; else those of [`open`](super::open), but that
    /// a store which is not there or newer is found, and no error.
    pub async fn look(url: &str) -> Result<Self> {
        let tables = tables(url)?;
        let status = status(&*tables).await?;
        Ok(Self { tables, status })
    }

    /// What was found.
    pub fn status(&self) -> &SchemaStatus {
        &self.status
    }

    /// What would be lost with it. Counts.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn held(&self) -> Result<Held> {
        if self.status.version == 0 { Ok(Held::default()) } else { self.tables.held().await }
    }

    /// What [`migrate`](Self::migrate) does, as text for `psql -f` or `sqlite3 -bail`: one transaction.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate), as far as it can be told before.
    pub fn sql(&self, to: i64, force: bool) -> Result<String> {
        leads(&self.status, to)?;
        Ok(if to == self.status.version {
            format!("-- nothing to do: {} is at version {to}\n", self.status.place)
        } else {
            self.tables.sql(self.status.version, to, force)
        })
    }

    /// Brings the tables to a version: up to `status().known`, or back to an earlier one, where 0 takes all away. Under a
    /// lock, whole or not at all; where nothing is to be done it does nothing. Back it only goes while no job is there and
    /// no server works, or with `force`.
    ///
    /// # Errors
    /// `Invalid` for a version that there is not, or a way back that jobs, servers or what is not ours stand in;
    /// `Corrupt` for tables of a newer program that this one cannot go on with.
    pub async fn migrate(&self, to: i64, force: bool) -> Result<SchemaStatus> {
        leads(&self.status, to)?;
        if to > self.status.version {
            self.tables.up().await?;
        } else if to < self.status.version {
            self.tables.down(self.status.version, to, force).await?;
        }
        status(&*self.tables).await
    }
}

async fn status(tables: &dyn Tables) -> Result<SchemaStatus> {
    let (version, min_compatible) = tables.found().await?;
    let migrations = tables.migrations();
    let known = migrations.last().map_or(0, |migration| migration.version);
    Ok(SchemaStatus {
        store: tables.store(),
        place: tables.place(),
        version,
        min_compatible,
        known,
        usable: version >= known && min_compatible <= known,
        pending: migrations.into_iter().filter(|migration| migration.version > version).collect(),
    })
}

/// Whether this program knows the way from what is there to a version.
fn leads(status: &SchemaStatus, to: i64) -> Result<()> {
    let SchemaStatus { version, known, .. } = *status;
    if status.min_compatible > known {
        return Err(newer(version, status.min_compatible, known));
    }
    if to == version {
        return Ok(());
    }
    if version > known {
        return Err(StoreError::Invalid(format!(
            "the tables are of version {version} and this program knows {known}; only the newer program takes them back"
        )));
    }
    if (version > to && to >= 0) || to == known {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "the tables are of version {version}; they can go up to {known}, or back down to 0"
    )))
}

/// The refusal of tables that this program cannot go on with.
pub(super) fn newer(version: i64, min_compatible: i64, known: i64) -> StoreError {
    StoreError::Corrupt(format!(
        "the store was made by a newer windlass (schema {version}, which needs at least {min_compatible}; this program \
         knows {known}); upgrade this program"
    ))
}

/// What to say where there is no store and none may be made.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) const NO_STORE: &str =
    "there is no store here; `windlass migrate up`, `windlass enqueue` and `windlass work` make one";

fn tables(url: &str) -> Result<Box<dyn Tables>> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => super::postgres::tables(url),
        #[cfg(feature = "sqlite")]
        "sqlite" => super::sqlite::tables(url),
        "memory" | "redis" | "rediss" | "redis+unix" => Err(StoreError::Unsupported(format!(
            "a `{scheme}:` store has no tables, and so no migrations: there is nothing to bring up to date"
        ))),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => {
            Err(StoreError::Unsupported("postgres: needs windlass's cargo feature `postgres`".into()))
        }
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(StoreError::Unsupported("sqlite: needs windlass's cargo feature `sqlite`".into())),
        _ => Err(unknown_scheme(url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: i64, min_compatible: i64, known: i64) -> SchemaStatus {
        let usable = version >= known && min_compatible <= known;
        SchemaStatus { store: "x", place: "x".into(), version, min_compatible, known, usable, pending: Vec::new() }
    }

    #[test]
    fn the_ways_lead_up_to_this_programs_version_and_back_to_any_earlier_one() {
        let leads = |to| leads(&at(2, 1, 4), to).is_ok();
        assert_eq!([-1, 0, 1, 2, 3, 4, 5].map(leads), [false, true, true, true, false, true, false]);
        assert!(super::leads(&at(0, 0, 4), 4).is_ok());
    }

    #[test]
    fn tables_of_a_newer_program_are_left_to_it() {
        assert!(leads(&at(9, 1, 4), 9).is_ok(), "nothing to do");
        assert!(matches!(leads(&at(9, 1, 4), 4), Err(StoreError::Invalid(text)) if text.contains("newer program")));
        assert!(matches!(leads(&at(9, 5, 4), 9), Err(StoreError::Corrupt(text)) if text.contains("newer windlass")));
    }

    #[tokio::test]
    async fn stores_without_tables_say_so() {
        for url in ["memory:", "redis://localhost"] {
            let refused = Schema::look(url).await;
            assert!(
                matches!(&refused, Err(StoreError::Unsupported(text)) if text.contains("no migrations")),
                "{refused:?}"
            );
        }
        assert!(matches!(Schema::look("mongo:x").await, Err(StoreError::Unsupported(_))));
        assert!(matches!(Schema::look("jobs.db").await, Err(StoreError::Invalid(_))));
    }
}
