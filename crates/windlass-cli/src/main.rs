//! The `windlass` binary.

mod demo;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "windlass", version)]
struct Cli {
    #[arg(long, global = true)]
    store: Option<String>,
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run a small service on real input and watch it survive a crash
    Demo(demo::DemoArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let Command::Demo(args) = cli.command;
    match demo::run(args, cli.store, cli.json).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let exit = error.downcast_ref::<demo::Refusal>().map_or(3, |refusal| refusal.exit);
            eprintln!("{error:#}");
            ExitCode::from(exit)
        }
    }
}
