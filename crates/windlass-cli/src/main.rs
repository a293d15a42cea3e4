//! The `windlass` binary: reads the command line, runs one command, and turns what went wrong into an exit code.

mod args;
mod commands;
mod config;
mod demo;
mod endpoints;
mod events;
mod exit;
mod handlers;
mod notify;
mod output;
mod schedule;
mod signals;
mod store;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::refuse_arguments(&error),
    };
    output::start_logging(cli.log_level(), cli.global.log_format);
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => output::report(&exit::Failure::of(&error), json),
    }
}
