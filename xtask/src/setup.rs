//! What the tests and checks need of the machine: the interpreters whose code is run, and cargo's fmt and clippy.
//! Owns the list, and has what is missing installed where that is possible (as root on a Debian). Elsewhere it
//! says what is missing and goes on: the tests themselves skip, or fail where `STOCKADE_TEST_REQUIRE` says so.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    commands::{run, say, succeeds},
    debian,
};

/// A program that tests run code with.
struct Need {
    /// As `STOCKADE_TEST_REQUIRE` calls it.
    word: &'static str,
    program: &'static str,
    /// With these it must succeed: being on PATH is not enough, a version manager's shim without a version is
    /// there too and does nothing.
    probe: &'static [&'static str],
    /// Debian's packages that bring it.
    packages: &'static [&'static str],
}

const PYTHON: &[&str] = &["-c", "import venv, ensurepip, pip"];
const PYTHON_PACKAGES: &[&str] = &["python3", "python3-venv", "python3-pip"];

const NEEDS: &[Need] = &[
    Need { word: "python", program: "python3", probe: PYTHON, packages: PYTHON_PACKAGES },
    // An ordinary user has no way to what root's PATH leads to.
    Need { word: "python", program: "/usr/bin/python3", probe: PYTHON, packages: PYTHON_PACKAGES },
    Need { word: "bash", program: "bash", probe: &["--version"], packages: &["bash"] },
    Need { word: "perl", program: "perl", probe: &["-v"], packages: &["perl"] },
    Need { word: "cc", program: "cc", probe: &["--version"], packages: &["gcc", "libc6-dev"] },
    Need { word: "node", program: "node", probe: &["--version"], packages: &["nodejs"] },
    Need { word: "zsh", program: "zsh", probe: &["--version"], packages: &["zsh"] },
    Need { word: "ruby", program: "ruby", probe: &["--version"], packages: &["ruby"] },
    Need { word: "lua", program: "lua", probe: &["-v"], packages: &["lua5.4"] },
    Need { word: "bubblewrap", program: "bwrap", probe: &["--version"], packages: &["bubblewrap"] },
    Need { word: "git", program: "git", probe: &["--version"], packages: &["git"] },
    Need {
        word: "matplotlib",
        program: "/usr/bin/python3",
        probe: &["-c", "import matplotlib"],
        packages: &["python3-matplotlib"],
    },
    Need { word: "setpriv", program: "setpriv", probe: &["--version"], packages: &["util-linux"] },
    Need { word: "script", program: "script", probe: &["--version"], packages: &["bsdutils"] },
    Need { word: "php", program: "php", probe: &["--version"], packages: &["php-cli"] },
];

/// Where Debian's packages put programs, whatever stands before it on PATH.
const SYSTEM_PROGRAMS: &str = "/usr/bin";

/// Installs what the tests need, if it may, and returns the PATH to run them with.
pub(crate) fn prepare_for_tests() -> Result<OsString, String> {
    let missing: Vec<_> = NEEDS.iter().filter(|need| !usable(need)).collect();
    if missing.is_empty() {
        say("all that the tests need is installed");
    } else if let Err(reason) = debian::install(&packages(&missing)) {
        say(&reason);
    }
    let missing: Vec<_> = missing.into_iter().filter(|need| !usable(need)).collect();
    if !missing.is_empty() {
        let words: Vec<_> = missing.iter().map(|need| need.word).collect();
        say(&format!(
            "MISSING: {}. Tests that need these are skipped, or fail if required.",
            words.join(", ")
        ));
        say(&format!("to have them on Debian: apt-get install {}", packages(&missing).join(" ")));
    }
    path_for_tests()
}

/// Adds rustfmt and clippy to a toolchain that was installed without them.
pub(crate) fn prepare_for_checks() -> Result<(), String> {
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| !succeeds(Path::new("cargo"), &[command, "--version"]))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("rustup component add {}", missing.join(" "));
    run(Command::new("rustup").args(["component", "add"]).args(&missing), &line)
        .map_err(|failure| format!("{failure}: the checks need {}", missing.join(" and ")))
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    needs.iter().flat_map(|need| need.packages).copied().collect()
}

/// Whether the tests can use it, by way of [`path_for_tests`] if need be.
fn usable(need: &Need) -> bool {
    works(need, Path::new(need.program)) || works(need, &system_program(need))
}

fn works(need: &Need, program: &Path) -> bool {
    succeeds(program, need.probe)
}

fn system_program(need: &Need) -> PathBuf {
    Path::new(SYSTEM_PROGRAMS).join(need.program)
}

/// PATH, with a directory before it of links to the system's programs where PATH leads to one that does not work.
/// Putting all of the system's directory first would hide the toolchain that builds the tests.
pub(crate) fn path_for_tests() -> Result<OsString, String> {
    path_of_working_programs().map_err(|error| format!("put the system's programs first on PATH: {error}"))
}

fn path_of_working_programs() -> io::Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let hidden: Vec<_> = NEEDS
        .iter()
        .filter(|need| !works(need, Path::new(need.program)) && works(need, &system_program(need)))
        .collect();
    let links = env::current_exe()?.with_file_name("xtask-programs");
    if links.exists() {
        fs::remove_dir_all(&links)?;
    }
    if hidden.is_empty() {
        return Ok(path);
    }
    fs::create_dir(&links)?;
    for need in hidden {
        let program = system_program(need);
        say(&format!("{} on PATH does not work: the tests use {}", need.program, program.display()));
        symlink(program, links.join(need.program))?;
    }
    env::join_paths([links].into_iter().chain(env::split_paths(&path))).map_err(io::Error::other)
}
