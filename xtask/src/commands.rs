//! What the commands run: cargo, one step after another, stopping at the first that fails. Each step is printed
//! as a command line that works by itself.

use std::{
    env,
    ffi::OsString,
    num::NonZero,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use crate::{containers::Containers, python, setup};

/// The benchmarks are built on request alone. The tests of their arithmetic, and the lints, are such a request.
const WITH_BENCH: [&str; 2] = ["--features", "xtask/bench"];

/// Sets the machine up and runs all tests, those in documentation and the Python package's included.
pub(crate) fn test(passed_on: &[&str]) -> Result<(), String> {
    let (_containers, mut environment) = prepare_for_tests()?;
    environment.extend(threads());
    let mut arguments = vec!["test", "--locked"];
    if !selects_packages(passed_on) {
        arguments.push("--workspace");
        arguments.extend(WITH_BENCH);
    }
    arguments.extend(passed_on);
    cargo(&arguments, &environment)?;
    // What was passed on selects tests of Rust.
    if passed_on.is_empty() { python::test(&[], &environment) } else { Ok(()) }
}

/// Sets the machine up and runs the tests of the Python package.
pub(crate) fn test_python(passed_on: &[&str]) -> Result<(), String> {
    let (_containers, environment) = prepare_for_tests()?;
    python::test(passed_on, &environment)
}

/// Of the environment, with their values.
type Variables = Vec<(&'static str, OsString)>;

/// The engines, which end when they are dropped, and what the tests are told.
fn prepare_for_tests() -> Result<(Containers, Variables), String> {
    let path = setup::prepare_for_tests()?;
    let containers = Containers::prepare();
    let mut environment = vec![("PATH", path)];
    environment.extend(containers.environment());
    Ok((containers, environment))
}

/// How many tests run at once, unless that is set already: three for each processor, for most of them wait for processes and
/// daemons most of the time.
fn threads() -> Option<(&'static str, OsString)> {
    const THREADS: &str = "RUST_TEST_THREADS";
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    env::var_os(THREADS).is_none().then(|| (THREADS, (3 * processors).to_string().into()))
}

/// Builds and runs the benchmarks. Their table is all that is written to stdout.
pub(crate) fn bench(passed_on: &[&str]) -> Result<(), String> {
    let mut environment = Variables::new();
    let with_containers = ["docker", "autogen", "peers"].iter().any(|row| wants(passed_on, row));
    let containers = with_containers.then(Containers::prepare);
    environment.extend(containers.iter().flat_map(Containers::environment));
    if ["pandas", "binding", "autogen", "peers"].iter().any(|row| wants(passed_on, row)) {
        environment.push(("STOCKADE_BENCH_PYTHON", python::for_benchmarks()?.into()));
    }
    run_bench(&["--release"], passed_on, environment)
}

/// Looks whether a change has made a ratio much worse: with what the tests were built from, for no time is looked at that
/// another profile would change.
pub(crate) fn guard() -> Result<(), String> {
    run_bench(&[], &["--guard"], Variables::new())
}

fn run_bench(profile: &[&str], passed_on: &[&str], mut environment: Variables) -> Result<(), String> {
    let mut arguments = vec!["run"];
    arguments.extend(profile);
    arguments.extend(["--locked", "--package", "xtask", "--bin", "bench"]);
    arguments.extend(WITH_BENCH);
    arguments.push("--");
    arguments.extend(passed_on);
    environment.push(("PATH", setup::path_for_tests()?));
    environment.extend(memory_for_files().map(|folder| ("TMPDIR", folder)));
    cargo(&arguments, &environment)
}

/// Whether rows are asked for whose names begin so: all are, unless some are named.
fn wants(rows: &[&str], beginning: &str) -> bool {
    let mut named = rows.iter().filter(|row| !row.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|row| row.starts_with(beginning))
}

/// Where a file system in memory keeps temporary files. Blocks and their bare counterparts save files there, for
/// what a new file costs elsewhere is the disk's and its file system's affair: on an ext4 without a journal up to
/// a millisecond, while many were removed in the last minutes.
fn memory_for_files() -> Option<OsString> {
    let folder = Path::new("/dev/shm");
    folder.is_dir().then(|| folder.into())
}

/// Whether arguments for `cargo test` name packages. With `--workspace` besides, they would be without effect.
fn selects_packages(arguments: &[&str]) -> bool {
    let for_cargo = arguments.iter().take_while(|argument| **argument != "--");
    for_cargo.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

/// Formatting, lints, types and documentation, with warnings denied.
pub(crate) fn check() -> Result<(), String> {
    setup::prepare_for_checks()?;
    cargo(&["fmt", "--all", "--check"], &[])?;
    let mut clippy = vec!["clippy", "--workspace", "--all-targets", "--locked"];
    clippy.extend(WITH_BENCH);
    clippy.extend(["--", "-D", "warnings"]);
    cargo(&clippy, &[])?;
    // Libraries only: the command and the library are both called stockade, and would overwrite each other.
    let arguments = ["doc", "--workspace", "--lib", "--no-deps", "--locked"];
    cargo(&arguments, &[("RUSTDOCFLAGS", "-D warnings".into())])?;
    python::check()
}

/// Runs cargo in the directory in which this was started; like all that is run here, it has no stdin.
fn cargo(arguments: &[&str], env: &[(&str, OsString)]) -> Result<(), String> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut line = format!("cargo {}", arguments.join(" "));
    for (name, value) in env.iter().filter(|(name, _)| *name != "PATH") {
        line = format!("{name}='{}' {line}", value.display());
    }
    run(Command::new(program).args(arguments).envs(env.iter().map(|(name, value)| (name, value))), &line)
}

/// Runs `command`, announced and reported as `line`.
pub(crate) fn run(command: &mut Command, line: &str) -> Result<(), String> {
    say(line);
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("start {line}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{line} failed ({status})")) }
}

/// Runs `command` without a word, and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| format!("start {name}: {error}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{name} failed ({})", done.status))
    }
}

/// Whether `program` is there and does what it is asked for.
pub(crate) fn succeeds(program: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A progress line. On stderr, where cargo's own are.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_looked_for_among_the_arguments_of_cargo_alone() {
        assert!(selects_packages(&["-p", "stockade"]));
        assert!(selects_packages(&["--package=stockade", "--", "--nocapture"]));
        assert!(!selects_packages(&["timeout", "--", "-p"]));
    }
}
