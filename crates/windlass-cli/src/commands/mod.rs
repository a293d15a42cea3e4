//! The commands, one file each, and the runtime that they run on.

pub(crate) mod batch;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod enqueue;
mod follow;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod lock;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod payload;
pub(crate) mod prune;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod schedule;
pub(crate) mod stats;
pub(crate) mod work;

use tokio::runtime::{Builder, Runtime};

use crate::{
    args::{Cli, Command},
    demo,
    exit::Exit,
    store::App,
};

/// Runs the command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    let app = App::new(&cli.global)?;
    let runtime = runtime(&cli.command)?;
    runtime.block_on(async {
        match cli.command {
            Command::Enqueue(flags) => enqueue::run(&app, *flags).await,
            Command::Work(flags) => work::run(&app, flags).await,
            Command::Job(flags) => job::run(&app, flags).await,
            Command::Queue(flags) => queue::run(&app, flags).await,
            Command::Group(flags) => group::run(&app, flags).await,
            Command::Lock(flags) => lock::run(&app, flags).await,
            Command::Schedule(flags) => schedule::run(&app, &flags),
            Command::Stats(flags) => stats::run(&app, flags).await,
            Command::Prune(flags) => prune::run(&app, flags).await,
            Command::Doctor(flags) => doctor::run(&app, flags).await,
            Command::Migrate(flags) => migrate::run(&app, &flags).await,
            Command::Bench(flags) => bench::run(&app, flags).await,
            Command::Demo(args) => demo::run(&app, args).await,
            Command::Completions(flags) => completions::run(&flags),
            Command::Man(flags) => man::run(&flags),
        }
    })
}

/// Workers use all cores; for one call to a store one thread is quicker to start.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        Command::Work(_) | Command::Bench(_) | Command::Demo(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    builder.enable_all().build()
}
