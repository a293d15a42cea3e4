//! Applications by sqlx: its two versions on Postgres, and SQLite.

use windlass::{Client, Committed, Error, JobContext, RawJob};

use crate::{
    App, EFFECT, End, Told,
    apps::{LEFT_OPEN, greeting, postgres_elsewhere, postgres_place, sqlite_files, sqlite_store},
    dropped::{Dropped, kept, polled},
    enqueued, servers,
};

/// An application by one version: its name, the crate, the kind of connection, what vouches for a statement's text, what
/// counts transactions that were left open (in an SQLite file one such would keep the others from writing), and the rest of
/// the trait.
macro_rules! sqlx_app {
    ($app:ident, $sqlx:ident, $connection:ident, $text:expr, $left_open:expr, $($rest:tt)*) => {
        pub(crate) struct $app(::$sqlx::$connection);

        impl $app {
            async fn open(place: &str, greeting: &[String]) -> Self {
                let conn = <::$sqlx::$connection as ::$sqlx::Connection>::connect(place).await.expect("connect");
                let mut app = Self(conn);
                for line in greeting {
                    app.execute(line).await;
                }
                app
            }
        }

        impl App for $app {
            $($rest)*

            async fn execute(&mut self, sql: &str) {
                ::$sqlx::query($text(sql)).execute(&mut self.0).await.expect("a statement");
            }

            async fn number(&mut self, sql: &str) -> i64 {
                ::$sqlx::query_scalar($text(sql)).fetch_one(&mut self.0).await.expect("a number")
            }

            async fn transact(&mut self, client: &Client, jobs: Vec<RawJob>, end: End) -> Told {
                let mut tx = ::$sqlx::Connection::begin(&mut self.0).await.expect("begin");
                ::$sqlx::query(EFFECT).execute(&mut *tx).await.expect("an effect");
                let mut answers = Vec::new();
                for (number, job) in jobs.into_iter().enumerate() {
                    // A connection that was lent by a transaction is as good.
                    answers.push(match number % 2 {
                        0 => client.enqueue_in(&mut tx, job).await,
                        _ => client.enqueue_in(&mut *tx, job).await,
                    });
                }
                let seen_before = enqueued(client).await;
                ::$sqlx::query(EFFECT).execute(&mut *tx).await.expect("it can go on");
                match end {
                    End::Commit => tx.commit().await.expect("commit"),
                    End::RollBack => tx.rollback().await.expect("rollback"),
                }
                Told { answers, seen_before }
            }

            async fn complete(&mut self, ctx: JobContext) -> Result<Committed, Error> {
                let mut tx = ::$sqlx::Connection::begin(&mut self.0).await.expect("begin");
                ::$sqlx::query(EFFECT).execute(&mut *tx).await.expect("an effect");
                ctx.complete_in(tx).await
            }
        }

        impl Dropped for $app {
            async fn enqueue_dropped(&mut self, client: &Client, id: &str, polls: u32) -> (bool, bool) {
                let effect = format!("INSERT INTO effects VALUES ('{id}')");
                let mut tx = ::$sqlx::Connection::begin(&mut self.0).await.expect("begin");
                ::$sqlx::query($text(&effect)).execute(&mut *tx).await.expect("an effect");
                let done = polled(polls, client.enqueue_in(&mut tx, kept(id))).await;
                let goes_on = ::$sqlx::query($text(&effect)).execute(&mut *tx).await.is_ok();
                let committed = goes_on && tx.commit().await.is_ok();
                (done.is_some_and(|answer| answer.is_ok()), committed)
            }

            async fn complete_dropped(&mut self, ctx: JobContext, id: &str, polls: u32) -> Option<Result<Committed, Error>> {
                let mut tx = ::$sqlx::Connection::begin(&mut self.0).await.expect("begin");
                let effect = format!("INSERT INTO effects VALUES ('{id}')");
                ::$sqlx::query($text(&effect)).execute(&mut *tx).await.expect("an effect");
                polled(polls, ctx.complete_in(tx)).await
            }

            async fn left_open(&mut self) -> i64 {
                self.number($left_open).await
            }
        }
    };
}

macro_rules! postgres_app {
    ($app:ident, $sqlx:ident, $text:expr) => {
        sqlx_app! { $app, $sqlx, PgConnection, $text, LEFT_OPEN,
            fn store() -> String {
                servers::postgres::url()
            }

            async fn connect(url: &str) -> Self {
                let (place, schema) = postgres_place(url);
                Self::open(&place, &greeting(&schema)).await
            }

            async fn elsewhere(url: &str) -> Self {
                let (place, schema) = postgres_elsewhere(url).await;
                Self::open(&place, &greeting(&schema)).await
            }

            fn steal() -> &'static str {
                "UPDATE job SET fence = fence + 1"
            }
        }
    };
}

postgres_app!(Postgres09, sqlx_0_9, |sql: &str| ::sqlx_0_9::AssertSqlSafe(sql.to_owned()));
postgres_app!(Postgres08, sqlx_0_8, std::convert::identity);

sqlx_app! { Sqlite09, sqlx_0_9, SqliteConnection, |sql: &str| ::sqlx_0_9::AssertSqlSafe(sql.to_owned()), "SELECT 0",
    fn store() -> String {
        sqlite_store()
    }

    async fn connect(url: &str) -> Self {
        Self::open(&format!("sqlite:{}", sqlite_files(url).0), &sqlite_greeting()).await
    }

    async fn elsewhere(url: &str) -> Self {
        Self::open(&format!("sqlite:{}?mode=rwc", sqlite_files(url).1), &sqlite_greeting()).await
    }

    fn steal() -> &'static str {
        "UPDATE windlass_job SET fence = fence + 1"
    }
}

fn sqlite_greeting() -> [String; 1] {
    ["CREATE TABLE IF NOT EXISTS effects (id text)".into()]
}
