//! `windlass completions`: what a shell needs to complete our commands and flags. Needs no store.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{args::Cli, exit::Exit, output};

const EXAMPLES: &str = "\
Examples:
  windlass completions bash > ~/.local/share/bash-completion/completions/windlass
  windlass completions zsh > \"${fpath[1]}/_windlass\"
  windlass completions fish > ~/.config/fish/completions/windlass.fish";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Flags {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Cli::command(), "windlass", &mut script);
    output::write(String::from_utf8(script)?.trim_end_matches('\n'))?;
    Ok(Exit::Ok)
}
