//! Which store a command works on, and whether it may make one.

use windlass::{Client, Error, StoreError, store::Create};

use crate::{args::Global, config::Config, exit::Failure, output::Out};

/// The URL for people to see, as it was given but without user and password. (An open store's `place` may be a path.)
pub(crate) fn shown(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(from), Some(to)) if from + 2 <= to => format!("{}***{}", &url[..from + 2], &url[to..]),
        _ => url.to_owned(),
    }
}

/// Why a store that is to be there cannot be opened, and where to look.
pub(crate) fn not_opened(url: &str, error: &Error) -> Failure {
    let failure = Failure::from(error);
    let Error::Store(StoreError::Unavailable(reason)) = error else { return failure };
    if reason.contains("windlass migrate up --store") {
        // It has said what to do.
        return Failure { help: None, ..failure };
    }
    let remote = url.starts_with("redis") || url.starts_with("postgres");
    let what = match remote {
        true if reason.contains("there is no store here") => "database and the schema in the URL",
        true => "address, and that a server answers there",
        false => "path",
    };
    failure.help(format!("check the {what}, or name another store with --store"))
}

/// What every command has: where results go, the configuration, and the store's URL if one is named.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) out: Out,
    pub(crate) config: Config,
    url: Option<String>,
}

impl App {
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        let config = global.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let named = global.store.clone().filter(|url| !url.is_empty());
        let url = named.or_else(|| config.store.clone());
        Ok(Self { out: Out { json: global.json }, config, url })
    }

    /// The store's URL, if one is named: the flag, then the environment, then the configuration.
    pub(crate) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The store's URL.
    pub(crate) fn require_url(&self) -> anyhow::Result<&str> {
        let none = || {
            Failure::usage("no store is named")
                .help("give --store sqlite:jobs.db, set WINDLASS_STORE, or set `store` in the configuration")
        };
        Ok(self.url().ok_or_else(none)?)
    }

    /// A client of a store that is there already.
    pub(crate) async fn existing(&self) -> anyhow::Result<Client> {
        let url = self.shared_url()?;
        let opened = Client::builder().create(Create::Never).open(url).await;
        opened.map_err(|error| not_opened(url, &error).into())
    }

    /// A client of a store that others can see, made if it is not there.
    pub(crate) async fn shared(&self) -> anyhow::Result<Client> {
        Ok(Client::open(self.shared_url()?).await?)
    }

    /// The URL of a store that others can see.
    pub(crate) fn shared_url(&self) -> anyhow::Result<&str> {
        let url = self.require_url()?;
        if url.starts_with("memory:") {
            let failure =
                Failure::usage("a `memory:` store lives and ends with one process, so this command would find nothing");
            return Err(failure
                .help("use sqlite:path, redis://host or postgres://host/database, e.g. --store sqlite:jobs.db; `memory:` is for work and bench")
                .into());
        }
        Ok(url)
    }
}
