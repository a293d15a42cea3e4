//! When which process could not do its work: dead, frozen, cut off, or the store away. Read from the history.

use std::{collections::BTreeMap, time::Duration};

use windlass::ServerId;

use crate::history::Event;

/// One process's bad times.
#[derive(Default)]
struct Times {
    up: Option<Duration>,
    killed: Option<Duration>,
    left: Option<Duration>,
    frozen: Spans,
    cut: Spans,
}

/// Spans of time; the last one may still be open.
#[derive(Default)]
struct Spans(Vec<(Duration, Duration)>);

impl Spans {
    fn set(&mut self, at: Duration, on: bool) {
        let open = self.0.last().is_some_and(|(_, to)| *to == Duration::MAX);
        if on && !open {
            self.0.push((at, Duration::MAX));
        } else if !on
            && open
            && let Some(last) = self.0.last_mut()
        {
            last.1 = at;
        }
    }

    /// The parts of `from..to` that lie in the spans.
    fn within(&self, from: Duration, to: Duration) -> impl Iterator<Item = (Duration, Duration)> {
        self.0.iter().map(move |(a, b)| ((*a).max(from), (*b).min(to))).filter(|(a, b)| a < b)
    }
}

/// Everybody's bad times.
#[derive(Default)]
pub(crate) struct Disturbances {
    processes: BTreeMap<String, Times>,
    servers: BTreeMap<ServerId, String>,
    down: Spans,
}

impl Disturbances {
    pub(crate) fn of(events: &[(Duration, Event)]) -> Self {
        let mut all = Self::default();
        for (at, event) in events {
            match event {
                Event::Up { process, server } => {
                    all.servers.insert(*server, process.clone());
                    all.times(process).up = Some(*at);
                }
                Event::Killed { process } => all.times(process).killed = Some(*at),
                Event::Left { process } => all.times(process).left = Some(*at),
                Event::Frozen { process, frozen } => all.times(process).frozen.set(*at, *frozen),
                Event::Cut { process, cut } => all.times(process).cut.set(*at, *cut),
                Event::Down { down } => all.down.set(*at, *down),
                _ => {}
            }
        }
        all
    }

    fn times(&mut self, process: &str) -> &mut Times {
        self.processes.entry(process.to_owned()).or_default()
    }

    fn of_server(&self, server: ServerId) -> Option<&Times> {
        self.processes.get(self.servers.get(&server)?)
    }

    /// When the server's process was killed.
    pub(crate) fn killed(&self, server: ServerId) -> Option<Duration> {
        // A server that was killed while it started never came up: nothing is known of it but that.
        self.of_server(server).map_or(Some(Duration::ZERO), |times| times.killed)
    }

    /// When the server had shut down in good order.
    pub(crate) fn left(&self, server: ServerId) -> Option<Duration> {
        self.of_server(server)?.left
    }

    /// How much of `from..to` the server was frozen, cut off or without a store.
    pub(crate) fn disturbed(&self, server: ServerId, from: Duration, to: Duration) -> Duration {
        let own = self.of_server(server).into_iter();
        let own = own.flat_map(|times| times.frozen.within(from, to).chain(times.cut.within(from, to)));
        let mut spans: Vec<_> = own.chain(self.down.within(from, to)).collect();
        spans.sort();
        let (mut total, mut reached) = (Duration::ZERO, from);
        for (a, b) in spans {
            total += b.saturating_sub(a.max(reached));
            reached = reached.max(b);
        }
        total
    }

    /// Whether nothing but deaths happened to anybody in `from..to`.
    pub(crate) fn only_deaths(&self, from: Duration, to: Duration) -> bool {
        let mut own =
            self.processes.values().flat_map(|times| times.frozen.within(from, to).chain(times.cut.within(from, to)));
        own.next().is_none() && self.down.within(from, to).next().is_none()
    }

    /// Whether some server lived through all of `from..to`.
    pub(crate) fn somebody_lives(&self, from: Duration, to: Duration) -> bool {
        let lives = |times: &Times| {
            let end = [times.killed, times.left].into_iter().flatten().min();
            times.up.is_some_and(|up| up <= from) && end.is_none_or(|end| end > to)
        };
        self.processes.values().any(lives)
    }
}
