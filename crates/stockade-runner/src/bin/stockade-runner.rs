//! The runner's executable. Owns its command line and nothing else.

use std::{env, process::ExitCode};

use stockade_runner::{Transport, relay, run, wire::message::VERSION};

const USAGE: &str = "usage: stockade-runner local|stdio|linger|connect|--version

Started by Stockade, not by hand.
  local    stdin is a socket to the host, stdout a pidfd of the host's process
  stdio    stdin and stdout are the two directions of the stream to the host
  linger   the same, and another host may come when this one is gone
  connect  brings another host's stream, stdin and stdout, to the runner that lingers here";

fn main() -> ExitCode {
    let argument = env::args().nth(1);
    let (doing, done) = match argument.as_deref() {
        Some("local") => ("start", run(Transport::LocalSocket)),
        Some("stdio") => ("start", run(Transport::Stdio)),
        Some("linger") => ("start", run(Transport::Linger)),
        Some("connect") => ("connect", relay()),
        Some("--version") => {
            println!("stockade-runner {} (wire {VERSION})", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stockade-runner: failed to {doing}: {error}");
            ExitCode::FAILURE
        }
    }
}
