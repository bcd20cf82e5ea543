//! The terminal that the host program runs in: the code can neither open it nor put anything into it. The test runs
//! once more in a terminal of its own, made by `script`.

use std::{
    env, fs,
    process::{Command, Stdio},
};

use crate::{
    place::{Place, start, start_outside},
    support::{need, output, patiently, python},
    user,
};

const TEST: &str = "terminal::the_terminal_of_the_host_program_is_not_reached";

/// Prints whether it opened the terminal by any name.
fn open(terminal: &str) -> String {
    let test = std::process::id();
    format!(
        "import os\nfound = 'DENIED'\nfor path in {terminal:?}, '/dev/tty', '/dev/console', '/proc/{test}/fd/0', \
         '/proc/{test}/fd/2':\n    try:\n        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))\n        \
         found = 'REACHED'\n    except OSError:\n        pass\nprint(found)"
    )
}

#[test]
fn the_terminal_of_the_host_program_is_not_reached() {
    if let Some(notes) = user::notes() {
        let tried = in_a_terminal();
        fs::write(notes, tried).expect("the file is ours");
        return;
    }
    if !need::has_program("script", "script", &["--version"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let notes = folder.path().join("notes");
    let program = env::current_exe().expect("this program has a path");
    let command = format!("exec '{}' {TEST} --exact --nocapture", program.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env(user::NOTES, &notes);
    let output = script.stdin(Stdio::null()).output().expect("script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let noted = fs::read_to_string(notes).expect("it ran");
    assert!(noted.starts_with("outside REACHED"), "{noted}");
    assert!(!noted.replace("outside REACHED", "").contains("REACHED"), "{noted}");
}

/// What became of it in every place that is to be had.
fn in_a_terminal() -> String {
    let terminal = fs::read_link("/proc/self/fd/0").expect("stdin is open");
    let open = open(terminal.to_str().expect("it is text"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(patiently("the terminal", async {
        let outside = start_outside().await;
        let mut noted = format!("outside {}", output(&outside, python(open.as_str())).await);
        outside.stop().await.expect("it stops");
        for place in [Place::Namespaces, Place::Landlock].into_iter().filter(|place| place.is_there()) {
            let sandbox = stockade::Sandbox::default().level(place.level().expect("a level of the sandbox"));
            let session = start(sandbox).await;
            noted += &format!("{place:?} {}", output(&session, python(open.as_str())).await);
            session.stop().await.expect("it stops");
        }
        noted
    }))
}
