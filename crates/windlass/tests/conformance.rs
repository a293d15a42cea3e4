//! Every store runs the whole conformance suite: one line each.
#![cfg(feature = "conformance")]

#[cfg(any(feature = "redis", feature = "postgres"))]
mod servers;

mod memory {
    use windlass::{conformance::Opened, store::memory::MemoryStore};

    windlass::conformance_tests!(async |env| Opened::new(MemoryStore::new(env)));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use windlass::{
        Env,
        conformance::Opened,
        store::{Create, sqlite::SqliteStore},
    };

    /// A file of its own for each fact.
    async fn open(env: Env) -> Opened {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("jobs.db");
        let path = path.to_str().expect("a path of text");
        Opened::new(SqliteStore::open(path, Create::IfMissing, env).await.expect("open")).keep(place)
    }

    windlass::conformance_tests!(open);
}

#[cfg(feature = "redis")]
mod redis {
    use windlass::{Env, conformance::Opened, store::redis::RedisStore};

    async fn open(env: Env) -> Opened {
        Opened::new(RedisStore::open_on_clock_of(&crate::servers::redis_url(), env).await.expect("open"))
    }

    windlass::conformance_tests!(open);
}

#[cfg(feature = "postgres")]
mod postgres {
    use windlass::{Env, conformance::Opened, store::postgres::PostgresStore};

    /// A schema of its own for each fact.
    async fn open(env: Env) -> Opened {
        let url = crate::servers::postgres::url();
        Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open"))
    }

    windlass::conformance_tests!(open);
}

/// The same through a pooler of transactions.
#[cfg(feature = "postgres")]
mod pgbouncer {
    use windlass::{Env, conformance::Opened, store::postgres::PostgresStore};

    async fn open(env: Env) -> Opened {
        let url = crate::servers::pgbouncer::url();
        Opened::new(PostgresStore::open_on_clock_of(&url, env).await.expect("open"))
    }

    windlass::conformance_tests!(open);
}
