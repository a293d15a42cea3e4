//! `windlass man`: the manual pages, made of the same descriptions as `--help`. Needs no store.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::{
    args::Cli,
    exit::{Exit, Failure},
    output,
};

const EXAMPLES: &str = "\
Examples:
  windlass man | man -l -
  windlass man --dir /usr/local/share/man/man1";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// Write windlass.1, windlass-enqueue.1, .. into this directory instead; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<Exit> {
    let Some(dir) = &flags.dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        output::write(String::from_utf8(page)?.trim_end_matches('\n'))?;
        return Ok(Exit::Ok);
    };
    // A packager's DESTDIR often is not there yet.
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| Failure::usage(format!("the pages cannot be written to {}: {error}", dir.display())))?;
    Ok(Exit::Ok)
}
