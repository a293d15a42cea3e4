//! What a Postgres URL says: where the server is, which schema, and what is peculiar to us.

use std::{str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::{
    job::{DEFAULTS, QueueName},
    store::{Result, StoreError, redact},
};

/// Words that the server does not read as the name of a schema without quotes, in any version up to 18.
const RESERVED: &str = "\
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case \
    cast char character check coalesce collate collation column concurrently constraint create cross current_catalog \
    current_date current_role current_schema current_time current_timestamp current_user dec decimal default \
    deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant \
    greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join \
    json json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize \
    json_table json_value lateral leading least left like limit localtime localtimestamp loop merge_action national \
    natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay \
    placing position precision primary real references returning right row select session_user setof similar \
    smallint some substring symmetric system_user table tablesample then time timestamp to trailing treat trim true \
    union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat \
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

/// Where the store is and how it is used.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) config: Config,
    /// The schema that holds our tables.
    pub(super) schema: String,
    /// The most connections for calls; one more hears the hints.
    pub(super) pool: usize,
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// How long dead and cancelled jobs are kept.
    pub(super) keep_failed: Duration,
    /// Whether the tables are made and brought up to date; else they are only looked at.
    pub(super) migrate: bool,
    /// Whether processes tell each other of new work.
    pub(super) notify: bool,
    /// Queues whose jobs are made durable and ended without waiting for the disk.
    pub(super) relaxed: Vec<String>,
    /// Whom to trust that the server is itself, as PEM; none: those that the host trusts.
    pub(super) ca: Option<Vec<u8>>,
    /// The URL without what is secret.
    pub(super) shown: String,
}

impl Address {
    /// Reads `postgres://[user[:password]@]host[:port]/database`, with the driver's own parameters and ours: `schema=`,
    /// `pool=`, `timeout=`, `keep_failed=`, `migrate=off`, `notify=off`, `relaxed=`, `ca=`, `sslmode=`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if is_ours(name) { ours.push((name, value)) } else { theirs.push(pair) }
        }
        let rest = if theirs.is_empty() { String::new() } else { format!("?{}", theirs.join("&")) };
        let mut address = Self {
            config: config(place, &rest)?,
            schema: "windlass".into(),
            pool: 5,
            timeout: Duration::from_secs(10),
            keep_failed: DEFAULTS.keep_failed,
            migrate: true,
            notify: true,
            relaxed: vec![],
            ca: None,
            shown: redact(place),
        };
        let mut encrypted = !address.is_local();
        for (name, value) in ours {
            match name {
                "sslmode" => encrypted = encrypts(value, encrypted)?,
                _ => address.set(name, value)?,
            }
        }
        address.finish(encrypted);
        Ok(address)
    }

    fn finish(&mut self, encrypted: bool) {
        let connect = self.timeout.min(Duration::from_secs(5));
        self.config
            .ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable })
            .connect_timeout(connect)
            .tcp_user_timeout(self.timeout)
            // In whole seconds, of which the system takes no fewer than one.
            .keepalives_idle(self.timeout.max(Duration::from_secs(1)))
            // A server that has become a copy of another one takes no jobs.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if self.config.get_application_name().is_none() {
            self.config.application_name("windlass");
        }
        if self.schema != "windlass" {
            self.shown = format!("{}?schema={}", self.shown, self.schema);
        }
    }

    /// Whether a queue is one of those that need not wait for the disk.
    pub(super) fn is_relaxed(&self, queue: &QueueName) -> bool {
        self.relaxed.iter().any(|relaxed| relaxed == queue.as_str())
    }

    /// Whether the way to the server does not leave this host.
    fn is_local(&self) -> bool {
        self.config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
            #[cfg(unix)]
            Host::Unix(_) => true,
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |what: &str| StoreError::Invalid(format!("`{name}={value}` is no {what}"));
        let span = || humantime::parse_duration(value).map_err(|_| wrong("duration, such as 5s or 90d"));
        let switch = || match value {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err(wrong("switch; use on or off")),
        };
        match name {
            "schema" if !is_schema(value) => {
                return Err(wrong("schema of ours: up to 40 lower-case letters, digits and `_`"));
            }
            "schema" if is_taken(value) => {
                return Err(wrong("schema of ours: the server keeps this word for itself; take another one"));
            }
            "schema" => self.schema = value.into(),
            "pool" => {
                let size = value.parse().ok().filter(|size| (1..=1000).contains(size));
                self.pool = size.ok_or_else(|| wrong("number of connections from 1 to 1000"))?;
            }
            "timeout" => self.timeout = span()?,
            "keep_failed" => self.keep_failed = span()?,
            "migrate" => self.migrate = switch()?,
            "notify" => self.notify = switch()?,
            "relaxed" => {
                let queue = |name: &str| QueueName::new(name).map(|name| name.to_string());
                let queues: Result<_, _> = value.split(',').map(queue).collect();
                self.relaxed = queues.map_err(|_| wrong("list of queues, such as relaxed=metrics,mail"))?;
            }
            _ => {
                let unread = |error| StoreError::Invalid(format!("the certificates of `ca={value}`: {error}"));
                self.ca = Some(std::fs::read(value).map_err(unread)?);
            }
        }
        Ok(())
    }
}

fn is_ours(name: &str) -> bool {
    ["schema", "pool", "timeout", "keep_failed", "migrate", "notify", "relaxed", "ca", "sslmode"].contains(&name)
}

fn config(place: &str, rest: &str) -> Result<Config> {
    let read = Config::from_str(&format!("{place}{rest}"));
    let wrong = |what: String| {
        StoreError::Invalid(format!(
            "`{}` is no Postgres URL ({what}); use postgres://user@host:port/database, with ?schema=, pool=, timeout=, \
             keep_failed=, migrate=, notify=, relaxed=, ca=, sslmode=",
            redact(place)
        ))
    };
    let config = read.map_err(|error| wrong(super::fault::chain(&error)))?;
    if config.get_hosts().is_empty() {
        return Err(wrong("it names no host".into()));
    }
    Ok(config)
}

/// Whether connections are encrypted. There is no way to encrypt and not to look with whom.
fn encrypts(mode: &str, unless_said: bool) -> Result<bool> {
    match mode {
        "disable" => Ok(false),
        "require" | "verify-ca" | "verify-full" => Ok(true),
        "prefer" | "allow" => Ok(unless_said),
        _ => Err(StoreError::Invalid(format!("`sslmode={mode}` is not known; use disable, require or verify-full"))),
    }
}

/// A name that needs no quotes anywhere: it stands in statements and is a channel of notifications.
fn is_schema(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.len() <= 40 && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a name is the server's own, or a word of its language.
fn is_taken(name: &str) -> bool {
    name.starts_with("pg_") || name == "information_schema" || RESERVED.split_whitespace().any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let address = Address::parse("postgres://app@localhost/shop").unwrap();
        assert_eq!((address.schema.as_str(), address.pool), ("windlass", 5));
        assert_eq!(address.config.get_dbname(), Some("shop"));
        assert_eq!(address.keep_failed, Duration::from_secs(90 * 24 * 3600));
        assert!(address.migrate && address.notify);
    }

    #[test]
    fn our_parameters_are_read_and_the_drivers_are_its_own() {
        let url = "postgresql://app:secret@db:5433/shop?schema=jobs&pool=9&timeout=2s&migrate=off&application_name=x\
                   &relaxed=metrics,mail";
        let address = Address::parse(url).unwrap();
        assert_eq!((address.schema.as_str(), address.pool, address.migrate), ("jobs", 9, false));
        assert_eq!(address.config.get_application_name(), Some("x"));
        assert_eq!(address.relaxed, ["metrics", "mail"]);
        assert!(!address.shown.contains("secret"), "{}", address.shown);
    }

    #[test]
    fn only_the_way_to_this_host_is_not_encrypted_unless_somebody_says_so() {
        let mode = |url: &str| Address::parse(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://app@127.0.0.1/shop"), SslMode::Disable);
        assert_eq!(mode("postgres://app@db/shop"), SslMode::Require);
        assert_eq!(mode("postgres://app@db/shop?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://app@localhost/shop?sslmode=verify-full"), SslMode::Require);
    }

    #[test]
    fn words_that_the_server_keeps_for_itself_name_no_schema() {
        for word in ["user", "order", "all", "pg_x", "pg_catalog", "information_schema", "values", "loop", "json_table"]
        {
            let refused = Address::parse(&format!("postgres://app@h/d?schema={word}")).unwrap_err().to_string();
            assert!(refused.contains(word) && refused.contains("take another one"), "{refused}");
        }
        for word in ["public", "jobs", "users", "orders", "pg"] {
            assert_eq!(Address::parse(&format!("postgres://app@h/d?schema={word}")).unwrap().schema, word);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_named() {
        let bad =
            ["schema=A", "schema=a.b", "pool=0", "timeout=soon", "migrate=maybe", "cache=1", "sslmode=x", "ca=/no"];
        for bad in bad {
            let refused = Address::parse(&format!("postgres://app@h/d?{bad}"));
            assert!(matches!(&refused, Err(StoreError::Invalid(_))), "{bad}: {refused:?}");
        }
        assert!(Address::parse("postgres://").is_err());
    }
}
