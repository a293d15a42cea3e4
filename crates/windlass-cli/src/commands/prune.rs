//! `windlass prune`: removes jobs that ended long enough ago. Their numbers stay in the statistics.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use windlass::{JobState, store::Prune};

use crate::{
    exit::{Exit, Failure},
    store::App,
    units,
};

const EXAMPLES: &str = "\
Examples:
  windlass prune --older-than 7d --state completed
  windlass prune --older-than 90d";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// Only what ended at least this long ago
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    older_than: Duration,
    /// Only in this state; repeat it, or separate with commas [default: completed, dead and cancelled]
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    states: Vec<JobState>,
}

#[derive(Serialize)]
struct Removed {
    removed: u64,
}

pub(crate) async fn run(app: &App, flags: Flags) -> anyhow::Result<Exit> {
    if let Some(state) = flags.states.iter().find(|state| !state.is_terminal()) {
        let failure = Failure::usage(format!("jobs that are {state} have not ended, so they are not pruned"));
        return Err(failure
            .help("--state takes completed, dead and cancelled; `windlass job delete` removes one job")
            .into());
    }
    let client = app.existing().await?;
    let ended = || JobState::ALL.into_iter().filter(|state| state.is_terminal()).collect();
    let states = if flags.states.is_empty() { ended() } else { flags.states };
    let removed = client.prune(Prune::Older { than: flags.older_than, states }).await?;
    app.out.document(&Removed { removed }, || format!("{removed} jobs removed"))?;
    Ok(Exit::Ok)
}
