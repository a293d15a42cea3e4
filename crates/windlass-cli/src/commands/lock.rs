//! `windlass lock`: runs a command while holding a lock, lists locks, and breaks them.
//! The command leads a process group of its own, which ends when the lock is lost, when we are told to stop, and with it.

use std::{
    ffi::OsString,
    io::IsTerminal,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::process::{Child, Command};
use windlass::{
    Client, DEFAULTS, Env, Error, LockGuard, LockName, Timestamp,
    store::{LockHolder, LockInfo},
};

use crate::{
    exit::{Exit, Failure},
    handlers::group::{Group, Groups},
    output::{plain, table},
    signals::Signals,
    store::App,
    units,
};

const EXAMPLES: &str = "\
Examples:
  windlass lock run nightly --ttl 30s --wait 10m -- ./import.sh
  windlass lock list
  windlass lock break nightly

`lock run` ends with the command's own exit code, or with 75 if the lock was not acquired and 76 if it was lost.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The locks that are held or waited for, and who holds them
    List(ListFlags),
    /// Take a lock from whoever holds it; they find out at their next renewal
    Break { name: String },
    /// Run a command while holding a lock, with WINDLASS_FENCE in its environment
    Run(RunFlags),
}

#[derive(Args, Debug)]
struct ListFlags {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on where a page said `next`
    #[arg(long, value_name = "NEXT")]
    cursor: Option<String>,
}

#[derive(Args, Debug)]
struct RunFlags {
    /// The lock
    name: String,
    /// How long the lock outlives us; it is renewed every third of that
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    ttl: Duration,
    /// How long to wait for it, in line with others
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = units::duration)]
    wait: Duration,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Holder {
    /// Text, since it passes 2^53.
    fence: String,
    holder: String,
    since: Timestamp,
    left_ms: u64,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    slots: u32,
    held: u32,
    waiting: u32,
    /// Those who have held it longest.
    holders: Vec<Holder>,
}

#[derive(Serialize)]
struct Page<'a> {
    items: &'a [Listed],
    next: Option<String>,
}

#[derive(Serialize)]
struct Broken<'a> {
    name: &'a str,
    broken: u32,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    let client = app.existing().await?;
    match flags.action {
        Action::List(flags) => list(app, &client, flags).await,
        Action::Break { name } => break_lock(app, &client, &name).await,
        Action::Run(flags) => run_with(&client, flags).await,
    }
}

async fn list(app: &App, client: &Client, flags: ListFlags) -> anyhow::Result<Exit> {
    let after = flags.cursor.map(LockName::new).transpose()?;
    let page = client.locks(after, flags.limit).await?;
    let items: Vec<Listed> = page.items.iter().map(listed).collect();
    let document = Page { items: &items, next: page.next.as_ref().map(ToString::to_string) };
    app.out.document(&document, || {
        let rows: Vec<_> = items.iter().map(row).collect();
        let more = document.next.as_ref().map(|next| format!("\nmore: --cursor '{}'", plain(next))).unwrap_or_default();
        table(&["LOCK", "SLOTS", "HELD", "WAITING", "BY", "FENCE", "LEFT"], &rows) + &more
    })?;
    Ok(Exit::Ok)
}

fn listed(lock: &LockInfo) -> Listed {
    let holder = |one: &LockHolder| Holder {
        fence: one.fence.to_string(),
        holder: one.holder.to_string(),
        since: one.since,
        left_ms: one.left.as_millis() as u64,
    };
    Listed {
        name: lock.name.to_string(),
        slots: lock.slots,
        held: lock.held,
        waiting: lock.waiting,
        holders: lock.holders.iter().map(holder).collect(),
    }
}

fn row(lock: &Listed) -> Vec<String> {
    let first = lock.holders.first();
    let of_first = |text: fn(&Holder) -> String| first.map_or_else(|| "-".into(), text);
    vec![
        lock.name.clone(),
        lock.slots.to_string(),
        lock.held.to_string(),
        lock.waiting.to_string(),
        of_first(|one| one.holder.clone()),
        of_first(|one| one.fence.clone()),
        of_first(|one| units::show(Duration::from_millis(one.left_ms))),
    ]
}

async fn break_lock(app: &App, client: &Client, name: &str) -> anyhow::Result<Exit> {
    let broken = client.break_lock(name).await?;
    if broken == 0 {
        let failure = Failure::not_found(format!("nobody holds the lock `{name}`"));
        return Err(failure.help("`windlass lock list` shows the locks that are held").into());
    }
    app.out.document(&Broken { name, broken }, || format!("lock {name} is broken; it was held by {broken}"))?;
    Ok(Exit::Ok)
}

async fn run_with(client: &Client, flags: RunFlags) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let lock = client.lock(&flags.name, flags.ttl);
    let mut stopped = false;
    let stop = async {
        signals.stop().await;
        stopped = true;
    };
    let guard = match lock.acquire_unless(flags.wait, stop).await? {
        Some(guard) => guard,
        None if stopped => return Err(told_to_stop(&flags.name).into()),
        None => return Err(not_acquired(&flags.name).into()),
    };
    let mut command = match Running::start(&flags.command, &guard, client.env()) {
        Ok(command) => command,
        Err(failure) => {
            // Waited for: this process is about to end. What cannot be given back is free within its ttl.
            drop(guard.release().await);
            return Err(failure.into());
        }
    };
    let status = tokio::select! {
        biased;
        status = command.child.wait() => status?,
        () = guard.lost() => {
            command.stop(&mut signals).await?;
            return Err(lost(&guard).into());
        }
        () = signals.stop() => command.stop(&mut signals).await?,
    };
    command.leave_nothing();
    match guard.release().await {
        // It was somebody else's before the command had ended.
        Err(error @ Error::LockLost { .. }) => Err(error.into()),
        // Free within its ttl, whatever we say of it.
        Err(_) | Ok(()) => Ok(Exit::Command(code(status))),
    }
}

fn not_acquired(name: &str) -> Failure {
    Failure::new(
        Exit::NotAcquired,
        "not_acquired",
        format!("the lock `{name}` is held by others; the command was not run"),
    )
    .help("`windlass lock list` shows who holds it; with --wait, e.g. `--wait 10m`, it is waited for")
}

fn told_to_stop(name: &str) -> Failure {
    let message = format!("told to stop before the lock `{name}` was acquired; the command was not run");
    Failure::new(Exit::NotAcquired, "not_acquired", message)
}

fn lost(guard: &LockGuard) -> Failure {
    let message = format!("the lock `{}` (fence {}) is lost; the command was ended", guard.name(), guard.fence());
    Failure::new(Exit::LockLost, "lock_lost", message)
        .help("it was broken, or could not be renewed in time; a longer --ttl bears longer outages of the store")
}

/// As shells say it: a command that a signal ended has 128 and its number.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// A command that runs.
struct Running {
    child: Child,
    group: Group,
    env: Env,
}

impl Running {
    fn start(words: &[OsString], guard: &LockGuard, env: &Env) -> Result<Self, Failure> {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("WINDLASS_FENCE", guard.fence().to_string());
        command.process_group(0).kill_on_drop(true);
        // A group of its own may not read from our terminal: it would be stopped, and hold the lock.
        if std::io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        let program = words[0].display();
        let cannot = |problem: String| Failure::usage(format!("the command `{program}` cannot be started: {problem}"));
        let child = command.spawn().map_err(|error| cannot(error.to_string()))?;
        let group = child.id().and_then(|id| Groups::default().adopt(id));
        Ok(Self { group: group.ok_or_else(|| cannot("it has no process id".into()))?, child, env: env.clone() })
    }

    /// Ends the whole group: asked first, killed when the grace is over, or at once when we are told to stop again.
    async fn stop(&mut self, signals: &mut Signals) -> std::io::Result<ExitStatus> {
        self.group.terminate();
        tokio::select! {
            biased;
            _ = self.child.wait() => {}
            () = signals.stop() => {}
            () = self.env.sleep(DEFAULTS.grace) => {}
        }
        self.group.kill();
        let status = self.child.wait().await;
        self.group.over();
        status
    }

    /// What the command left behind ends with it: the lock is somebody else's from now on.
    fn leave_nothing(mut self) {
        self.group.kill();
        self.group.over();
    }
}
