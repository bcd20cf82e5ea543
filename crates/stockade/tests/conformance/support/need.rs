//! What a test needs of the machine. Without it the test is skipped aloud, or fails where
//! `STOCKADE_TEST_REQUIRE` (a list of words, or `all`) says that it must be there.

use std::{
    env,
    io::{self, Write},
    process::{Command, Stdio},
    thread,
};

/// Whether the test can go on. `word` is the need's name, `why` says what was looked for.
pub(crate) fn has(word: &str, is_there: bool, why: &str) -> bool {
    if is_there {
        return true;
    }
    let required = env::var("STOCKADE_TEST_REQUIRE").unwrap_or_default();
    let required = required.split(',').map(str::trim).any(|required| required == word || required == "all");
    assert!(!required, "STOCKADE_TEST_REQUIRE asks for {word}: {why}");
    say_skipped(word, why);
    false
}

fn say_skipped(word: &str, why: &str) {
    // Not by `eprintln!`: what that prints is shown for failed tests only.
    let thread = thread::current();
    let name = thread.name().unwrap_or("a test");
    let _ = writeln!(io::stderr(), "skipped: {name} needs {word}: {why}");
}

/// A variable that `cargo xtask test` sets; an empty one is none.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the program runs, which a version manager's shim without a version does not.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether a program is there that no test is to be failed for, as nothing installs it.
pub(crate) fn happens_to_have(program: &str, arguments: &[&str]) -> bool {
    let works = works(program, arguments);
    if !works {
        say_skipped(program, "it does not run here, and is not required");
    }
    works
}

/// Whether a program that is called as its word is there.
pub(crate) fn has_program(word: &str, program: &str, arguments: &[&str]) -> bool {
    has(word, works(program, arguments), &format!("`{program} {}` does not run here", arguments.join(" ")))
}
