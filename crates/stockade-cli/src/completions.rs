//! `stockade completions`: the scripts that clap generates.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{args::Cli, render};

/// Prints the completion script; the exit status.
pub(crate) fn completions(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stockade", &mut script);
    render::status(render::print_text(&String::from_utf8_lossy(&script)))
}
