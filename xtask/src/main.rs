//! `cargo xtask`: everything that is done to this project and is not plain cargo, in Rust, so that a checkout
//! and cargo are enough. Owns the list of commands; what they run is in `commands`, what the tests need of the
//! machine in `setup` and `containers`.

#[cfg(test)]
mod citations;
mod commands;
mod containers;
mod debian;
mod python;
mod setup;

use std::{env, process::ExitCode};

const HELP: &str = "\
Usage: cargo xtask <command>

  test [-- ARGUMENTS]   install what the tests need where that is possible, start Docker and Podman
                        for them, and run them all; ARGUMENTS go to `cargo test`, and leave the
                        Python package out
  test python [ARGUMENTS]
                        the Python package's alone, in a fresh virtual environment; ARGUMENTS go to pytest
  bench [--quick] [ROW…]
                        what Stockade costs beside bare processes, as a table; --help lists the rows
  guard                 what Stockade costs beside bare processes may not become much worse
  check                 formatting, lints, types and documentation, with warnings denied
  ci                    test, guard, then check
  help                  this text

STOCKADE_TEST_REQUIRE=all, or a list such as python,node,root, turns the skipping of tests that
need these into a failure.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["test"] => commands::test(&[]),
        ["test", "--", passed_on @ ..] => commands::test(passed_on),
        ["test", "python", passed_on @ ..] => commands::test_python(passed_on),
        ["bench", passed_on @ ..] => commands::bench(passed_on),
        ["guard"] => commands::guard(),
        ["check"] => commands::check(),
        ["ci"] => commands::test(&[]).and_then(|()| commands::guard()).and_then(|()| commands::check()),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [] => Err(format!("a command is missing\n\n{HELP}")),
        _ => Err(format!("`{}` is no command\n\n{HELP}", arguments.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_answered_with_the_known_ones() {
        let failure = run(&["tset"]).unwrap_err();
        assert!(failure.starts_with("`tset` is no command"), "{failure}");
        assert!(failure.contains("  check  "), "{failure}");
    }

    #[test]
    fn arguments_for_cargo_test_take_two_dashes() {
        assert!(run(&["test", "--nocapture"]).is_err());
    }
}
