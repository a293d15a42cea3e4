//! `windlass work`: a server whose handlers the configuration names.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tracing::{info, warn};
use windlass::{Client, DEFAULTS, KindFilter, Pattern, QueueName, RunningServer, Server, ServerId, StoreError};

use crate::{
    config::{Config, EXAMPLE},
    endpoints::Endpoints,
    events::EventLog,
    exit::{Exit, Failure},
    handlers::{Groups, aggregators, router},
    notify::Notify,
    signals::{Signals, Wish},
    store::App,
    units,
};

const EXAMPLES: &str = "\
Examples:
  windlass work --config windlass.toml
  windlass work --config windlass.toml --queue critical=6 --queue default=3 --concurrency 50
  windlass work --config windlass.toml --drain --events events.jsonl

A configuration:
  store = \"sqlite:jobs.db\"
  [kinds.\"image:*\"]
  command = [\"./resize\"]          # payload on stdin; exit 0 done, 65 bury, 75 snooze, else a failed attempt
  timeout = \"5m\"
  retry = \"exponential 1s cap 1h\"
  breaker = { failure_ratio = 0.5, open_for = \"30s\" }   # claims none while most runs fail
  retry_budget = { ratio = 0.1 }      # for ten first runs one retry; what is over waits longer
  [kinds.ping]
  builtin = \"noop\"                # noop, sleep, fail, panic, abort
  [groups.\"digest:*\"]             # jobs of a group become one, with the array of their payloads
  kind = \"email:digest\"
  grace = \"1m\"                    # or max_delay, max_size
  [[schedules]]                     # each tick enqueues one job, however many workers declare it
  name = \"nightly\"
  cron = \"30 2 * * *\"             # or every = \"5m\"
  timezone = \"Europe/Berlin\"
  kind = \"clean-up\"               # also: payload, queue, catch_up, window, overlap, gap, fold, jitter

SIGTERM or SIGINT shuts down cleanly (a second one aborts); SIGUSR1 stops claiming and runs what is held.
Under systemd with Type=notify it says when it is ready and stops, and answers to WatchdogSec.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// How many jobs run at once [default: 10]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// A queue to take from and its weight; repeat it. Replaces the configuration's queues
    #[arg(long, value_name = "NAME=WEIGHT", value_parser = queue)]
    queue: Vec<(String, u32)>,
    /// Take from the heaviest queue as long as it gives, instead of in shares
    #[arg(long)]
    strict: bool,
    /// How long running jobs may go on at shutdown [default: 25s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    shutdown_timeout: Option<Duration>,
    /// End once the queues hold no job of these kinds that is still to run
    #[arg(long)]
    drain: bool,
    /// Append what happens to each job to a file, one JSON line each
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Answer /healthz and /readyz here, e.g. 127.0.0.1:9090; goes before the configuration's `http.listen`
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

fn queue(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().ok().filter(|weight| *weight > 0);
    let weight = weight.ok_or_else(|| format!("`{text}`: write NAME=WEIGHT with a whole weight of at least 1"))?;
    QueueName::new(name).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), weight))
}

/// Why it ended.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Reason {
    Drained,
    Signal,
}

#[derive(Serialize)]
struct Summary {
    server: ServerId,
    reason: Reason,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let url = app.require_url()?;
    if app.config.kinds.is_empty() {
        return Err(Failure::config("no kind is configured, so there is nothing to run").help(EXAMPLE).into());
    }
    make_room_for_files(flags.concurrency.or(app.config.concurrency).unwrap_or(DEFAULTS.concurrency));
    let groups = Groups::default();
    // Before a store is made of what may be a slip.
    set_up(&Client::open("memory:").await?, &app.config, &flags, &groups)?.check()?;
    let client = Client::open(url).await?;
    // A FIFO waits here for its reader, and as long as nothing is held a signal may end us as it ends any process.
    let log = flags.events.as_deref().map(EventLog::open).transpose()?;
    let mut signals = Signals::listen()?;
    let mut server = set_up(&client, &app.config, &flags, &groups)?;
    if let Some(log) = &log {
        server = server.on_event(log.listener());
    }
    let address = flags.listen.as_deref().or(app.config.http.as_ref().and_then(|http| http.listen.as_deref()));
    let endpoints = match address {
        Some(address) => Some(Endpoints::bind(address).await?),
        None => None,
    };
    let server = server.start().await?;
    let notify = Notify::from_env();
    let watchdog = notify.start_watchdog();
    if let Some(endpoints) = endpoints {
        endpoints.serve(server.monitor());
    }
    info!(server.id = %server.id(), store = %client.store().place(), queues = ?queues(&app.config, &flags), slots = server.health().slots, "working");
    notify.say("READY=1");
    let id = server.id();
    let ended = until_ended(&app.config, &flags, &client, &server, &mut signals).await;
    notify.say("STOPPING=1");
    shut_down(server, &mut signals, groups).await;
    drop(watchdog);
    if let Some(log) = log {
        close(log, &mut signals).await;
    }
    let reason = ended?;
    app.out.document(&Summary { server: id, reason }, || format!("ended: {reason:?}").to_lowercase())?;
    Ok(Exit::Ok)
}

/// A command takes three files of the worker, and some while it starts: raises the soft limit, as far as it may, if it is
/// too low for as many commands as may run at once.
fn make_room_for_files(slots: usize) {
    let needed = 100 + 6 * slots as u64;
    let limit = getrlimit(Resource::Nofile);
    if let Some(current) = limit.current
        && current < needed
    {
        let current = limit.maximum.map_or(needed, |most| most.min(needed)).max(current);
        if current < needed || setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }).is_err() {
            warn!(limit = current, needed, "so many jobs at once may need more open files; raise `ulimit -Hn`");
        }
    }
}

/// The queues and their weights: of the flags, else of the configuration, else `default` alone.
fn queues(config: &Config, flags: &Flags) -> Vec<(String, u32)> {
    if !flags.queue.is_empty() {
        return flags.queue.clone();
    }
    let configured: Vec<_> = config.queues.iter().map(|(name, weight)| (name.clone(), *weight)).collect();
    if configured.is_empty() { vec![(DEFAULTS.queue.to_owned(), 1)] } else { configured }
}

/// The server as the configuration and the flags want it.
fn set_up(client: &Client, config: &Config, flags: &Flags, groups: &Groups) -> anyhow::Result<Server> {
    let server = configure(Server::new(client, router(config, groups)?), config, flags);
    let server = aggregators(server.queues(queues(config, flags)), client, config);
    config
        .schedules
        .iter()
        .try_fold(server, |server, schedule| Ok(server.schedule(schedule.schedule().map_err(Failure::config)?)))
}

/// Flags go before the configuration, which goes before the defaults.
fn configure(mut server: Server, config: &Config, flags: &Flags) -> Server {
    // A command is asked to end, and killed after the grace; only after that would its run be dropped.
    server = server.grace(DEFAULTS.grace + Duration::from_secs(1));
    let slots = flags.concurrency.or(config.concurrency).unwrap_or(DEFAULTS.concurrency);
    server = server.concurrency(slots);
    server = server.strict(flags.strict || config.strict.unwrap_or(false));
    if let Some(timeout) = flags.shutdown_timeout.or(config.shutdown_timeout.map(|span| span.0)) {
        server = server.shutdown_timeout(timeout);
    }
    if let Some(lease) = config.lease {
        server = server.lease(lease.0);
    }
    if let Some(time) = config.unknown_kind_after {
        server = server.unknown_kind_after(time.0);
    }
    for (pattern, kind) in &config.kinds {
        if let Some(timeout) = kind.timeout {
            server = server.kind_timeout(pattern, timeout.0);
        }
        // The pattern that wins counts for a kind, alone: a wider one's limit is not that of a narrower one.
        let narrower = config.kinds.iter().any(|(wider, kind)| kind.concurrency.is_some() && is_under(pattern, wider));
        let unlimited = narrower.then(|| u32::try_from(slots).unwrap_or(u32::MAX));
        if let Some(limit) = kind.concurrency.or(unlimited) {
            server = server.kind_concurrency(pattern, limit);
        }
        if let Some(breaker) = kind.breaker {
            server = server.breaker(pattern, breaker.breaker());
        }
        if let Some(budget) = kind.retry_budget {
            server = server.retry_budget(pattern, budget.budget());
        }
        if let Some(retry) = &kind.retry {
            server = server.kind_retry(pattern, retry.0.clone());
        }
    }
    server
}

/// Whether all kinds of the one pattern are kinds of the other, too.
fn is_under(pattern: &str, wider: &str) -> bool {
    wider != pattern && wider.strip_suffix('*').is_some_and(|prefix| pattern.starts_with(prefix))
}

/// Resolves when a signal says so, or (with --drain) when there is nothing left to do.
async fn until_ended(
    config: &Config,
    flags: &Flags,
    client: &Client,
    server: &RunningServer,
    signals: &mut Signals,
) -> anyhow::Result<Reason> {
    let kinds = KindFilter::of(config.kinds.keys().map(String::as_str))?;
    let queues = queues(config, flags).iter().map(|(name, _)| QueueName::new(name)).collect::<Result<Vec<_>, _>>()?;
    let groups = config.groups.keys().map(|name| Pattern::new(name)).collect::<Result<Vec<_>, _>>()?;
    let drained = async {
        if flags.drain { drained(client, server, &queues, &kinds, &groups).await } else { std::future::pending().await }
    };
    tokio::pin!(drained);
    loop {
        let wish = tokio::select! {
            biased;
            wish = signals.next() => wish,
            problem = server.failed() => return Err(windlass::Error::Panicked(problem).into()),
            drained = &mut drained => return Ok(drained.map(|()| Reason::Drained)?),
        };
        match wish {
            Wish::Stop => return Ok(Reason::Signal),
            Wish::Quiet => {
                server.quiet();
                info!("quiet: claims no more, and runs what it holds");
            }
        }
    }
}

/// How often a drain looks at most, however busy the store is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Resolves once the server holds nothing and the store has nothing for it; or with what makes the store refuse to give
/// jobs, such as damage, which would never come to an end.
pub(crate) async fn drained(
    client: &Client,
    server: &RunningServer,
    queues: &[QueueName],
    kinds: &KindFilter,
    groups: &[Pattern],
) -> Result<(), StoreError> {
    let mut wakeups = client.store().wakeups();
    let mut pause = LOOK_EVERY;
    loop {
        wakeups.mark_seen();
        if let Some(refusal) = server.refusal() {
            return Err(refusal);
        }
        if server.health().held == 0 {
            match client.store().outstanding(queues, kinds, groups).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => warn!(%error, "the store does not say what is left; asking again"),
            }
        }
        tokio::select! {
            biased;
            () = wakeups.changed() => {
                pause = LOOK_EVERY;
                client.env().sleep(LOOK_EVERY).await;
            }
            () = client.env().sleep(pause) => pause = (pause * 2).min(Duration::from_millis(500)),
        }
    }
}

/// Shuts down; a second signal ends the process at once, and the commands that it runs.
async fn shut_down(server: RunningServer, signals: &mut Signals, groups: Groups) {
    info!("shutting down; a second SIGTERM or SIGINT ends it at once");
    tokio::select! {
        biased;
        () = server.shutdown() => {}
        () = signals.stop() => {
            warn!("second signal: ending at once; running jobs are rescued elsewhere");
            groups.kill_all();
            std::process::exit(130);
        }
    }
}

/// Writes the events that are left; a signal ends a wait for a reader who does not read.
async fn close(log: EventLog, signals: &mut Signals) {
    let closed = tokio::task::spawn_blocking(|| log.close());
    tokio::select! {
        biased;
        _ = closed => {}
        () = signals.stop() => {
            warn!("ending before all events are written: nobody reads them");
            std::process::exit(130);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_a_name_and_a_weight() {
        assert_eq!(queue("low"), Ok(("low".into(), 1)));
        assert_eq!(queue("a=b=3"), Ok(("a=b".into(), 3)));
        for bad in ["low=", "low=0", "low=-1", "low=x", "=3", "a{b}=1"] {
            assert!(queue(bad).is_err(), "{bad}");
        }
    }
}
