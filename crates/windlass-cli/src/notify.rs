//! Tells systemd how a worker is (sd_notify(3)): that it is ready, that it stops, and, where the unit has a
//! `WatchdogSec`, that it lives. Says nothing where nobody asked, which is everywhere but under `Type=notify`.

use std::{env, io, os::unix::net::UnixDatagram, time::Duration};

use tracing::{debug, warn};
use windlass::{Ticker, periodic};

/// A line to the service manager, if there is one.
pub(crate) struct Notify(Option<UnixDatagram>);

impl Notify {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self(None);
        };
        let line = connect(&address.to_string_lossy());
        Self(line.inspect_err(|error| warn!(%error, "the service manager is not told how this worker is")).ok())
    }

    /// Says something, e.g. `READY=1`. A service manager that does not listen changes nothing.
    pub(crate) fn say(&self, what: &str) {
        if let Some(line) = &self.0
            && let Err(error) = line.send(what.as_bytes())
        {
            debug!(%error, "the service manager did not hear {what}");
        }
    }

    /// Says twice in each watchdog interval that the worker lives: from a task of the runtime that runs its handlers, so
    /// that it falls silent when that is stuck.
    pub(crate) fn start_watchdog(&self) -> Option<Ticker> {
        let line = self.0.as_ref()?.try_clone().ok()?;
        let interval = watchdog(&|name| env::var(name).ok(), std::process::id())?;
        let line = Self(Some(line));
        let ticker = periodic(interval / 2, move || {
            line.say("WATCHDOG=1");
            std::future::ready(())
        });
        Some(ticker.start())
    }
}

fn connect(address: &str) -> io::Result<UnixDatagram> {
    let line = UnixDatagram::unbound()?;
    match address.strip_prefix('@') {
        None => line.connect(address)?,
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            line.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::Error::other("abstract sockets are Linux's")),
    }
    // A worker must not wait for whoever reads the other end.
    line.set_nonblocking(true)?;
    Ok(line)
}

/// The interval within which this process has to say that it lives.
fn watchdog(variable: &dyn Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let for_us = variable("WATCHDOG_PID").is_none_or(|wanted| wanted.parse() == Ok(pid));
    let micros = variable("WATCHDOG_USEC")?.parse().ok().filter(|micros| *micros > 0)?;
    for_us.then_some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(variables: &[(&str, &str)]) -> Option<Duration> {
        let variable =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        watchdog(&variable, 7)
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        assert_eq!(interval(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(30)));
        assert_eq!(interval(&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "7")]), Some(Duration::from_micros(5)));
        assert_eq!(interval(&[("WATCHDOG_USEC", "5"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(interval(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(interval(&[]), None);
    }
}
