//! The signals of a worker: SIGTERM and SIGINT end it, and so does the SIGHUP of a terminal that goes away, unless it is
//! ignored (nohup). SIGUSR1 makes it quiet, and so does SIGTSTP where no terminal stands behind stdin (there it is the
//! user's Ctrl-Z).

use std::io::IsTerminal;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Stop,
    Quiet,
}

pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    hup: Option<Signal>,
    usr1: Signal,
    tstp: Option<Signal>,
}

impl Signals {
    /// From here on the signals come here.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let tstp = SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw());
        let terminal = std::io::stdin().is_terminal();
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) },
            usr1: signal(SignalKind::user_defined1())?,
            tstp: if terminal { None } else { Some(signal(tstp)?) },
        })
    }

    /// The next wish.
    pub(crate) async fn next(&mut self) -> Wish {
        let hup = if_listened_to(&mut self.hup);
        let tstp = if_listened_to(&mut self.tstp);
        tokio::select! {
            biased;
            _ = self.term.recv() => Wish::Stop,
            _ = self.int.recv() => Wish::Stop,
            () = hup => Wish::Stop,
            _ = self.usr1.recv() => Wish::Quiet,
            () = tstp => Wish::Quiet,
        }
    }

    /// Resolves at the next signal that ends a worker.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}

async fn if_listened_to(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started us wants us to outlive the terminal. Taken as given where Linux does not tell.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("SigIgn:")).is_none_or(ignores_first)
}

/// SIGHUP is signal 1, the lowest bit of the mask.
fn ignores_first(mask: &str) -> bool {
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(ignores_first("\t0000000000001001"));
        assert!(!ignores_first("\t0000000000001000") && !ignores_first("?"));
    }
}
