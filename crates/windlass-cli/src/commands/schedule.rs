//! `windlass schedule`: the next ticks of a spec, and what its author may not have meant. Needs no store.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use windlass::{Env, Flavor, Fold, Gap, ScheduleSpec, SpecError, SpecWarning, Timestamp, tz_version};

use crate::{
    exit::{Exit, Failure},
    output::table,
    store::App,
};

const EXAMPLES: &str = "\
Examples:
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
    /// The next ticks of a spec
    Next(NextFlags),
    /// What the author of a spec may not have meant
    #[command(after_help = LINT_CODES)]
    Lint(SpecFlags),
}

#[derive(Args, Debug)]
struct NextFlags {
    #[command(flatten)]
    spec: SpecFlags,
    /// The ticks after this moment [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

#[derive(Args, Debug)]
struct SpecFlags {
    /// Five or six fields, `@daily` and its like, or `@every 5m`
    #[arg(value_name = "SPEC")]
    text: String,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ByRules {
    Windlass,
    Asynq,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum InGap {
    RunAfter,
    Skip,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InFold {
    First,
    Second,
    Both,
}

impl SpecFlags {
    fn read(&self) -> anyhow::Result<ScheduleSpec> {
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
        let mut spec = ScheduleSpec::parse_as(&self.text, flavor).map_err(refused)?;
        if let Some(zone) = &self.timezone {
            spec = spec.timezone(zone).map_err(refused)?;
        }
        let gap = self.gap.map_or(Gap::default(), |gap| match gap {
            InGap::RunAfter => Gap::RunAfter,
            InGap::Skip => Gap::Skip,
        });
        let fold = self.fold.map_or(Fold::default(), |fold| match fold {
            InFold::First => Fold::First,
            InFold::Second => Fold::Second,
            InFold::Both => Fold::Both,
        });
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

pub(crate) fn run(app: &App, flags: &Flags) -> anyhow::Result<Exit> {
    match &flags.action {
        Action::Next(flags) => next(app, flags),
        Action::Lint(flags) => lint(app, flags),
    }
}

fn next(app: &App, flags: &NextFlags) -> anyhow::Result<Exit> {
    let spec = flags.spec.read()?;
    let from = flags.from.unwrap_or_else(|| Env::system().wall());
    let ticks = spec.ticks_after(from).take(flags.count.into());
    let ticks: Vec<Tick> = ticks.map(|at| Tick { at, local: spec.local(at) }).collect();
    let last = ticks.last().map(|tick| tick.at).filter(|last| spec.next(*last).is_some());
    let document = Document::new(&spec, ticks, last);
    app.out.document(&document, || {
        let rows: Vec<_> = document.items.iter().map(|tick| vec![tick.at.to_string(), tick.local.clone()]).collect();
        if rows.is_empty() { "it never runs".into() } else { table(&["UTC", document.timezone], &rows) }
    })?;
    Ok(Exit::Ok)
}

fn lint(app: &App, flags: &SpecFlags) -> anyhow::Result<Exit> {
    let spec = flags.read()?;
    let warnings: Vec<SpecWarning> = spec.lint(Env::system().wall());
    let exit = if warnings.is_empty() { Exit::Ok } else { Exit::Failed };
    let document = Document::new(&spec, warnings, None);
    app.out.document(&document, || {
        let lines: Vec<_> = document.items.iter().map(|warning| format!("{}: {warning}", warning.code)).collect();
        if lines.is_empty() { "nothing to warn of".into() } else { lines.join("\n") }
    })?;
    Ok(exit)
}
