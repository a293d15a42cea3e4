//! The same over sqlx's connections, of both versions that are in use. What goes there and what comes back is written and
//! read by tokio-postgres's types, so both drivers send the same bytes. Statements are not kept prepared: behind a pooler
//! of transactions the next one may meet another server's connection.

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Type};

use super::{
    super::{Shared, fault, link::Param},
    Answered, Driver, Reply, done, enqueue_by, finish_by, ours,
};
use crate::{
    error::Error,
    job::NewJob,
    store::{
        Backend, Enqueued, Finish, StoreError,
        tx::{Committed, CompleteIn, EnqueueIn, sealed::Sealed},
    },
};

/// A parameter as sqlx takes one.
struct Given<'p>(&'p Param<'p>);

impl Given<'_> {
    /// Writes the value behind what is there; says whether there is one.
    fn write(&self, out: &mut Vec<u8>) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let (value, kind) = self.0;
        let mut bytes = BytesMut::new();
        let null = value.to_sql_checked(kind, &mut bytes)?;
        out.extend_from_slice(&bytes);
        Ok(matches!(null, IsNull::No))
    }
}

/// Reads the value of a column.
fn read<'r, T: FromSql<'r>>(oid: Option<u32>, bytes: Option<&'r [u8]>) -> Result<T, String> {
    let kind = oid.and_then(Type::from_oid).ok_or("a type that is not built in")?;
    if !T::accepts(&kind) {
        return Err(format!("of type {kind}"));
    }
    T::from_sql_nullable(&kind, bytes).map_err(|error| error.to_string())
}

/// The driver of one version: its module, its name in errors, what vouches for the text of a statement, and the lifetime
/// that its buffers have.
macro_rules! version {
    ($sqlx:ident, $name:literal, $text:expr $(, $q:lifetime)?) => {
        const _: () = {
            use ::$sqlx::{
                Arguments, Column, Database, Encode, PgConnection, Postgres, Row, Transaction, ValueRef,
                encode::IsNull as Null,
                error::BoxDynError,
                postgres::{PgArguments, PgRow, PgTypeInfo, types::Oid},
            };

            fn store_error(store: &Shared, error: &::$sqlx::Error) -> StoreError {
                let code = error.as_database_error().and_then(|error| error.code());
                fault::of_code(&store.address, error.to_string(), code.as_deref())
            }

            impl<'q> Encode<'q, Postgres> for Given<'_> {
                fn encode_by_ref(
                    &self,
                    buffer: &mut <Postgres as Database>::ArgumentBuffer$(<$q>)?,
                ) -> Result<Null, BoxDynError> {
                    Ok(if self.write(buffer)? { Null::No } else { Null::Yes })
                }

                fn produces(&self) -> Option<PgTypeInfo> {
                    Some(PgTypeInfo::with_oid(Oid(self.0.1.oid())))
                }
            }

            impl ::$sqlx::Type<Postgres> for Given<'_> {
                fn type_info() -> PgTypeInfo {
                    // Each says its own by `produces`.
                    PgTypeInfo::with_oid(Oid(Type::UNKNOWN.oid()))
                }
            }

            impl Reply for PgRow {
                fn value<'r, T: FromSql<'r>>(&'r self, name: &str) -> Result<T, String> {
                    let value = self.try_get_raw(name).map_err(|error| error.to_string())?;
                    let kind = Row::column(self, name).type_info().oid().map(|oid| oid.0);
                    let bytes = if value.is_null() { None } else { value.as_bytes().ok() };
                    read(kind, bytes)
                }
            }

            impl Driver for PgConnection {
                type Row = PgRow;
                const NAME: &'static str = $name;

                async fn rows(&mut self, store: &Shared, sql: &str, params: &[Param<'_>]) -> Result<Vec<PgRow>, StoreError> {
                    let failed = |error| store_error(store, &error);
                    let mut given = PgArguments::default();
                    for param in params {
                        given.add(Given(param)).map_err(|error| failed(::$sqlx::Error::Encode(error)))?;
                    }
                    let sql = store.link.with_schema(sql);
                    let query = ::$sqlx::query_with($text(&sql), given).persistent(false);
                    query.fetch_all(self).await.map_err(failed)
                }
            }

            impl Sealed for PgConnection {}
            impl Sealed for Transaction<'_, Postgres> {}

            impl EnqueueIn for PgConnection {
                type Answer<'t> = Answered<'t, Enqueued>;

                fn enqueue_in<'t>(
                    &'t mut self,
                    store: &dyn Backend,
                    job: Result<NewJob, Error>,
                ) -> Self::Answer<'t> {
                    let store = ours::<Self>(store);
                    Box::pin(async move { enqueue_by(self, &*store?, job?).await })
                }
            }

            impl<'a> EnqueueIn for Transaction<'a, Postgres> {
                type Answer<'t>
                    = Answered<'t, Enqueued>
                where
                    Self: 't;

                fn enqueue_in<'t>(
                    &'t mut self,
                    store: &dyn Backend,
                    job: Result<NewJob, Error>,
                ) -> Self::Answer<'t> {
                    (**self).enqueue_in(store, job)
                }
            }

            impl<'a> CompleteIn for Transaction<'a, Postgres> {
                type Answer = Answered<'a, Committed>;

                fn complete_in(
                    mut self,
                    store: &dyn Backend,
                    report: Finish,
                    committed: Box<dyn FnOnce() + Send>,
                ) -> Self::Answer {
                    let store = ours::<PgConnection>(store);
                    Box::pin(async move {
                        let store = store?;
                        let failed = |error| store_error(&store, &error);
                        if !finish_by(&mut *self, &store, &report).await? {
                            self.rollback().await.map_err(failed)?;
                            return Err(Error::Stale(report.lease.id));
                        }
                        self.commit().await.map_err(failed)?;
                        Ok(done(&store, committed))
                    })
                }
            }
        };
    };
}

#[cfg(feature = "sqlx-0_9")]
version!(sqlx_0_9, "sqlx 0.9", |sql: &str| ::sqlx_0_9::AssertSqlSafe(sql.to_owned()));
#[cfg(feature = "sqlx-0_8")]
version!(sqlx_0_8, "sqlx 0.8", std::convert::identity, 'q);
