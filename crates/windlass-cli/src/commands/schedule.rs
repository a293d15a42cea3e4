//! `windlass schedule`: the next ticks of a spec, and what its author may not have meant, for which no store is needed.
//! What is done with the schedules of a store is in `schedules.rs`.

use clap::{Args, Subcommand};
use serde::Serialize;
use windlass::{Env, Flavor, Fold, Gap, ScheduleSpec, SpecError, SpecWarning, Timestamp, tz_version};

use super::schedules::{self, AddFlags, HistoryFlags, ListFlags};
use crate::{
    exit::{Exit, Failure},
    output::table,
    schedule::{ByRules, InFold, InGap},
    store::App,
};

const EXAMPLES: &str = "\
Examples:
  windlass schedule add nightly --cron '30 2 * * *' --timezone Europe/Berlin --kind clean-up
  windlass schedule add health --every 5m --kind health:check --overlap skip
  windlass schedule list
  windlass schedule history nightly
  windlass schedule next '30 2 * * *' --timezone Europe/Berlin
  windlass schedule next '0 0 9 * * MON' --from 2026-03-01T00:00:00Z --count 10
  windlass schedule next '@every 90m' --flavor asynq
  windlass schedule lint '* 0 * * *'";

const LINT_CODES: &str = "\
Warnings:
  many_runs       a `*` where one run was meant     never        a date that no year has
  missing_months  months without this day           uneven_step  a step that does not divide its field
  either_day      days of month or of week          both_days    days of month and of week
  gap             a time that a clock leaves out    fold         a time that a clock shows twice

Exit codes:
  0 nothing to warn of   1 there is a warning   2 the spec is refused";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The schedules that the store keeps: when they tick, what they have missed, whether a worker lets them tick
    List(ListFlags),
    /// Add a schedule that any worker lets tick, or change it; ticks before now are those of the old rule
    Add(Box<AddFlags>),
    /// Let a schedule leave its ticks out, over restarts too, until it is resumed
    Pause { name: String },
    /// Let a paused schedule tick again; what was left out is not made up for
    Resume { name: String },
    /// Enqueue a job of a schedule now, beside its ticks
    Run { name: String },
    /// What happened to a schedule, newest first
    History(HistoryFlags),
    /// Remove a schedule and its history; its jobs stay
    Remove { name: String },
    /// The next ticks of a spec
    Next(NextFlags),
    /// What the author of a spec may not have meant
    #[command(after_help = LINT_CODES)]
    Lint(LintFlags),
}

#[derive(Args, Debug)]
struct NextFlags {
    /// Five or six fields, `@daily` and its like, or `@every 5m`
    #[arg(value_name = "SPEC", required_unless_present = "name")]
    text: Option<String>,
    /// Those of a schedule that the store keeps
    #[arg(long, conflicts_with_all = ["text", "timezone", "flavor", "gap", "fold"])]
    name: Option<String>,
    #[command(flatten)]
    rules: SpecRules,
    /// The ticks after this moment [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

#[derive(Args, Debug)]
struct LintFlags {
    /// Five or six fields, `@daily` and its like, or `@every 5m`
    #[arg(value_name = "SPEC")]
    text: String,
    #[command(flatten)]
    rules: SpecRules,
}

#[derive(Args, Debug)]
struct SpecRules {
    /// The zone whose clock it goes by; a zone in the spec goes before it [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// By whose rules the spec is read
    #[arg(long, value_name = "FLAVOR", default_value = "windlass")]
    flavor: ByRules,
    /// What becomes of a fixed time that the clock leaves out [default: run_after]
    #[arg(long, value_name = "POLICY")]
    gap: Option<InGap>,
    /// What becomes of a fixed time that the clock shows twice [default: first]
    #[arg(long, value_name = "POLICY")]
    fold: Option<InFold>,
}

impl SpecRules {
    fn read(&self, text: &str) -> anyhow::Result<ScheduleSpec> {
        let flavor = match self.flavor {
            ByRules::Windlass => Flavor::Windlass,
            ByRules::Asynq if self.gap.is_some() || self.fold.is_some() => {
                let failure = Failure::usage("`--flavor asynq` has rules of its own where a clock changes");
                return Err(failure
                    .help("leave --gap and --fold out: a time left out is left out, one that comes twice runs twice")
                    .into());
            }
            ByRules::Asynq => Flavor::Asynq,
        };
        let mut spec = ScheduleSpec::parse_as(text, flavor).map_err(refused)?;
        if let Some(zone) = &self.timezone {
            spec = spec.timezone(zone).map_err(refused)?;
        }
        let gap = self.gap.map_or(Gap::default(), Into::into);
        let fold = self.fold.map_or(Fold::default(), Into::into);
        Ok(spec.gap(gap).fold(fold))
    }
}

fn refused(error: SpecError) -> Failure {
    Failure::usage(error.to_string())
}

/// A list of ticks or warnings, and what they are of.
#[derive(Serialize)]
struct Document<T> {
    spec: String,
    timezone: &'static str,
    tz_version: &'static str,
    items: Vec<T>,
    /// Given as `--from`, it leads to the ticks after these.
    next: Option<Timestamp>,
}

impl<T> Document<T> {
    fn new(spec: &ScheduleSpec, items: Vec<T>, next: Option<Timestamp>) -> Self {
        Self { spec: spec.to_string(), timezone: spec.zone(), tz_version: tz_version(), items, next }
    }
}

#[derive(Serialize)]
struct Tick {
    at: Timestamp,
    /// What a clock of the zone shows then.
    local: String,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    match flags.action {
        Action::List(flags) => schedules::list(app, flags).await,
        Action::Add(flags) => schedules::add(app, *flags).await,
        Action::Pause { name } => schedules::switch(app, &name, true).await,
        Action::Resume { name } => schedules::switch(app, &name, false).await,
        Action::Run { name } => schedules::run_now(app, &name).await,
        Action::History(flags) => schedules::history(app, &flags).await,
        Action::Remove { name } => schedules::remove(app, &name).await,
        Action::Next(flags) => next(app, &flags).await,
        Action::Lint(flags) => lint(app, &flags),
    }
}

async fn next(app: &App, flags: &NextFlags) -> anyhow::Result<Exit> {
    let from = flags.from.unwrap_or_else(|| Env::system().wall());
    let count = usize::from(flags.count);
    let (spec, mut found): (_, Vec<Timestamp>) = match &flags.name {
        Some(name) => {
            let record = app.existing().await?.schedule(name).await?.record;
            (record.rule().map_err(refused)?, record.ticks_after(from).take(count + 1).collect())
        }
        None => {
            let spec = flags.rules.read(flags.text.as_deref().unwrap_or_default())?;
            let found = spec.ticks_after(from).take(count + 1).collect();
            (spec, found)
        }
    };
    let more = found.len() > count;
    found.truncate(count);
    let ticks: Vec<Tick> = found.into_iter().map(|at| Tick { at, local: spec.local(at) }).collect();
    let last = ticks.last().map(|tick| tick.at).filter(|_| more);
    let document = Document::new(&spec, ticks, last);
    app.out.document(&document, || {
        let rows: Vec<_> = document.items.iter().map(|tick| vec![tick.at.to_string(), tick.local.clone()]).collect();
        if rows.is_empty() { "it never runs".into() } else { table(&["UTC", document.timezone], &rows) }
    })?;
    Ok(Exit::Ok)
}

fn lint(app: &App, flags: &LintFlags) -> anyhow::Result<Exit> {
    let spec = flags.rules.read(&flags.text)?;
    let warnings: Vec<SpecWarning> = spec.lint(Env::system().wall());
    let exit = if warnings.is_empty() { Exit::Ok } else { Exit::Failed };
    let document = Document::new(&spec, warnings, None);
    app.out.document(&document, || {
        let lines: Vec<_> = document.items.iter().map(|warning| format!("{}: {warning}", warning.code)).collect();
        if lines.is_empty() { "nothing to warn of".into() } else { lines.join("\n") }
    })?;
    Ok(exit)
}
