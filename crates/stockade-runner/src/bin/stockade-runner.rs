//! The runner's executable. Owns its command line and nothing else.

use std::{env, process::ExitCode};

use stockade_runner::{Transport, run, wire::message::VERSION};

const USAGE: &str = "usage: stockade-runner local|stdio|--version

Started by Stockade, not by hand.
  local   stdin is a socket to the host, stdout a pidfd of the host's process
  stdio   stdin and stdout are the two directions of the stream to the host";

fn main() -> ExitCode {
    let argument = env::args().nth(1);
    let transport = match argument.as_deref() {
        Some("local") => Transport::LocalSocket,
        Some("stdio") => Transport::Stdio,
        Some("--version") => {
            println!("stockade-runner {} (wire {VERSION})", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(transport) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stockade-runner: failed to start: {error}");
            ExitCode::FAILURE
        }
    }
}
