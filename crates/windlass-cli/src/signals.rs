//! The signals of a worker: SIGTERM and SIGINT end it, SIGUSR1 makes it quiet, and so does SIGTSTP where no terminal
//! stands behind stdin (there it is the user's Ctrl-Z).

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
            usr1: signal(SignalKind::user_defined1())?,
            tstp: if terminal { None } else { Some(signal(tstp)?) },
        })
    }

    /// The next wish.
    pub(crate) async fn next(&mut self) -> Wish {
        let tstp = async {
            match &mut self.tstp {
                Some(tstp) => drop(tstp.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.term.recv() => Wish::Stop,
            _ = self.int.recv() => Wish::Stop,
            _ = self.usr1.recv() => Wish::Quiet,
            () = tstp => Wish::Quiet,
        }
    }

    /// Resolves at the next SIGTERM or SIGINT.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}
