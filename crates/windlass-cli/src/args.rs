//! The command line: what holds for every command, and the list of commands. Each command's own flags stand in its file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{
        bench, completions, doctor, enqueue, group, job, lock, man, migrate, prune, queue, schedule, stats, work,
    },
    demo::DemoArgs,
};

const EXAMPLES: &str = "\
Examples:
  windlass demo
  export WINDLASS_STORE=sqlite:jobs.db
  windlass enqueue email:send --payload '{\"to\":\"a@example.com\"}' --retention 1d
  windlass work --config windlass.toml
  windlass job list --state dead
  windlass stats --since 1h

Exit codes:
  0 ok   1 a job or check failed   2 usage, config or refused value   3 store unavailable
  4 not found   5 conflict   6 store newer, foreign or corrupt   7 wait timed out
  75 lock not acquired   76 lock lost";

/// Background jobs: enqueue, run, inspect and operate them
#[derive(Debug, Parser)]
#[command(name = "windlass", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The store, e.g. sqlite:jobs.db; goes before the configuration's `store`
    #[arg(long, global = true, value_name = "URL", env = "WINDLASS_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// The configuration (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One JSON document on stdout; errors as JSON on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What is logged on stderr [default: info; error for commands that look, change and end]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// How it is logged
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Cli {
    /// The level that is asked for. What opening a store warns of is for those who run jobs on it; to an operator's
    /// command it would be noise each time, and the doctor shows it.
    pub(crate) fn log_level(&self) -> LogLevel {
        let runs_jobs = matches!(self.command, Command::Work(_) | Command::Bench(_) | Command::Demo(_));
        self.global.log_level.unwrap_or(if runs_jobs { LogLevel::Info } else { LogLevel::Error })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put a job, or a batch of jobs, in line
    Enqueue(Box<enqueue::Flags>),
    /// Run jobs: each kind by a command or a builtin, as the configuration says
    Work(work::Flags),
    /// Look at jobs and operate them
    Job(job::Flags),
    /// Look at queues, pause and resume them
    Queue(queue::Flags),
    /// Look at groups of jobs that wait to become one, flush and delete them
    Group(group::Flags),
    /// Recurring jobs: add, look at, pause, run and remove them; the next ticks of a spec
    Schedule(schedule::Flags),
    /// Run a command while holding a lock; list locks and break them
    Lock(lock::Flags),
    /// Counts, waits and run times
    Stats(stats::Flags),
    /// Remove jobs that have ended
    Prune(prune::Flags),
    /// Look at the health of the store and of its workers
    Doctor(doctor::Flags),
    /// Make the tables of a store, bring them up to date, take them away, or print how
    Migrate(migrate::Flags),
    /// Measure this machine and store, with exact delivery checked
    Bench(bench::Flags),
    /// See it work: pictures, mails and a report, with failures and a killed worker
    Demo(DemoArgs),
    /// Print the completions of a shell
    Completions(completions::Flags),
    /// Print the manual page, or write one for each command
    Man(man::Flags),
}
