//! The runner's executable. Owns its command line and nothing else.

use std::{env, process::ExitCode};

use stockade_runner::{Transport, keep, relay, run, wire::message::VERSION};

const USAGE: &str = "usage: stockade-runner local|stdio|linger|connect|keep PID|--version

Started by Stockade, not by hand.
  local    stdin is a socket to the host, stdout a pidfd of the host's process
  stdio    stdin and stdout are the two directions of the stream to the host
  linger   the same, and another host may come when this one is gone
  connect  brings another host's stream, stdin and stdout, to the runner that lingers here
  keep     watches over the child PID for the runner that stdin leads to";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (doing, done) = match arguments[..] {
        ["local"] => ("start", run(Transport::LocalSocket)),
        ["stdio"] => ("start", run(Transport::Stdio)),
        ["linger"] => ("start", run(Transport::Linger)),
        ["connect"] => ("connect", relay()),
        ["keep", block] => ("keep", keep(block)),
        ["--version"] => {
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
