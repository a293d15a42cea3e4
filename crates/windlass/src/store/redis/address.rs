//! What a Redis URL says: where the server is, which database, and what is peculiar to us.

use std::time::Duration;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates, io::tcp::TcpSettings,
};
use rustls::crypto::CryptoProvider;

use crate::{
    job::DEFAULTS,
    store::{Result, StoreError},
};

/// Where the store is and how it is used.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) info: ConnectionInfo,
    /// What every key begins with; Asynq's own is `asynq`.
    pub(super) prefix: String,
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// How long dead and cancelled jobs are kept.
    pub(super) keep_failed: Duration,
    /// Whom to trust that the server is itself, as PEM; none: those that the host trusts.
    pub(super) ca: Option<Vec<u8>>,
    /// The URL without what is secret.
    pub(super) shown: String,
}

impl Address {
    /// Reads `redis://[user:password@]host[:port][/db]`, `rediss://..` (TLS) or `redis+unix:///path[?db=n]`, each with
    /// `prefix=`, `timeout=` and `keep_failed=` of ours.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut address = Self {
            info: Self::info(place)?,
            prefix: "asynq".into(),
            timeout: Duration::from_secs(5),
            keep_failed: DEFAULTS.keep_failed,
            ca: None,
            shown: crate::store::redact(place),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            address.set(name, value)?;
        }
        Ok(address)
    }

    fn info(place: &str) -> Result<ConnectionInfo> {
        let wrong = |error: redis::RedisError| {
            StoreError::Invalid(format!(
                "`{}` is no Redis URL ({error}); use redis://host:port/db, rediss:// or redis+unix:///path",
                crate::store::redact(place)
            ))
        };
        let info = place.into_connection_info().map_err(wrong)?;
        Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }

    /// What makes connections to it.
    pub(super) fn client(&self) -> std::result::Result<Client, RedisError> {
        if !matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Client::open(self.info.clone());
        }
        // The program may have chosen its own; if two of us are here at once, either will do.
        if CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        match &self.ca {
            None => Client::open(self.info.clone()),
            Some(ca) => {
                let trusted = TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) };
                Client::build_with_tls(self.info.clone(), trusted)
            }
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let span = || {
            humantime::parse_duration(value)
                .map_err(|_| StoreError::Invalid(format!("`{name}={value}` is no duration, such as 5s or 90d")))
        };
        match name {
            "prefix" if is_prefix(value) => self.prefix = value.into(),
            "prefix" => {
                return Err(StoreError::Invalid(format!(
                    "the prefix `{value}` may hold letters, digits, `-`, `_`, `.` and `:` only"
                )));
            }
            "timeout" => self.timeout = span()?,
            "ca" if matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) => {
                let unread = |error| StoreError::Invalid(format!("the certificates of `ca={value}`: {error}"));
                self.ca = Some(std::fs::read(value).map_err(unread)?);
            }
            "keep_failed" => self.keep_failed = span()?,
            "db" if matches!(self.info.addr(), ConnectionAddr::Unix(_)) => {
                let db = value.parse().map_err(|_| StoreError::Invalid(format!("`db={value}` is no number")))?;
                self.info = self.info.clone().set_redis_settings(self.info.redis_settings().clone().set_db(db));
            }
            _ => {
                return Err(StoreError::Invalid(format!(
                    "a Redis URL has no parameter `{name}`; there are prefix, timeout, keep_failed, (rediss) ca and (unix sockets) db"
                )));
            }
        }
        Ok(())
    }
}

/// A prefix must mean nothing else in a key, a pattern or a cluster.
fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_asynqs() {
        let address = Address::parse("redis://localhost").unwrap();
        assert_eq!(address.prefix, "asynq");
        assert_eq!(address.info.addr().to_string(), "localhost:6379");
        assert_eq!(address.keep_failed, Duration::from_secs(90 * 24 * 3600));
    }

    #[test]
    fn certificates_are_for_tls_and_must_be_there() {
        for bad in ["redis://h?ca=/etc/hosts", "rediss://h?ca=/nowhere.pem"] {
            assert!(matches!(Address::parse(bad), Err(StoreError::Invalid(_))), "{bad}");
        }
        assert!(Address::parse("rediss://h?ca=/etc/hosts").unwrap().ca.is_some());
    }

    #[test]
    fn parameters_are_read_and_an_unknown_one_is_named() {
        let address = Address::parse("redis://u:secret@h:7000/3?prefix=mine&timeout=250ms&keep_failed=2d").unwrap();
        assert_eq!((address.prefix.as_str(), address.timeout), ("mine", Duration::from_millis(250)));
        assert_eq!(address.info.redis_settings().db(), 3);
        assert!(!address.shown.contains("secret"), "{}", address.shown);
        let unix = Address::parse("redis+unix:///run/redis.sock?db=2").unwrap();
        assert_eq!(unix.info.redis_settings().db(), 2);
        for bad in ["redis://h?cache=1", "redis://h?timeout=soon", "redis://h?prefix=a*", "redis://h/x"] {
            assert!(matches!(Address::parse(bad), Err(StoreError::Invalid(_))), "{bad}");
        }
    }
}
