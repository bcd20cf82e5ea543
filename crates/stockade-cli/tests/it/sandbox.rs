//! `run` in a sandbox: what is told when it is a weaker one, or when files are lost.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::{
    doctor::{root, whole_machine},
    support::{Ended, Place},
};

/// Runs a block in the sandbox where there is no bubblewrap but one in a folder of PATH that blocks can change.
fn without_bubblewrap(place: &Place, options: &[&str]) -> Ended {
    let planted = place.path().join("bwrap");
    place.write("bwrap", "#!/bin/sh\n: >ran\nexit 1\n");
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let hide = r#"mount --bind /dev/null /usr/bin/bwrap && PATH="$PWD:$PATH" && exec "$0" "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_stockade")]);
    command.args(["run", "-w", ".", "-l", "sh", "-c", "echo done"]).args(options).current_dir(place.path());
    Ended::new(command.output().expect("it starts"))
}

#[test]
fn a_weaker_level_is_told_and_no_planted_bubblewrap_is_run() {
    if whole_machine().and_then(|()| root()).is_none() {
        return;
    }
    let place = Place::new();
    let weaker = without_bubblewrap(&place, &[]);
    assert_eq!((weaker.status, weaker.stdout.as_str()), (Some(0), "done\n"), "{weaker}");
    assert!(
        weaker.stderr.contains("warning: the sandbox is at the level landlock, a weaker one"),
        "{weaker}"
    );
    assert!(weaker.stderr.contains("there is no bubblewrap"), "{weaker}");
    let json = without_bubblewrap(&place, &["--json"]);
    assert_eq!(json.stderr, "", "the object has it");
    assert_eq!(json.json()["session"]["policy"]["passed_over"][0]["control"], "level namespaces");
    // The twins: who asks for that level has what he asked for, and so has who gets the strongest.
    let asked = without_bubblewrap(&place, &["--sandbox", "landlock"]);
    assert!(asked.status == Some(0) && !asked.stderr.contains("warning"), "{asked}");
    assert!(!place.path().join("ran").exists());
    let strongest = place.stockade(["run", "-l", "sh", "-c", "echo done"]);
    assert!(strongest.status == Some(0) && !strongest.stderr.contains("warning"), "{strongest}");
}

#[test]
fn files_that_are_not_copied_back_are_told() {
    if whole_machine().is_none() {
        return;
    }
    let place = Place::new();
    std::os::unix::fs::symlink("nowhere", place.path().join("link")).expect("it is made");
    let run = |code: &str| {
        place.stockade([
            "run",
            "--sandbox",
            "namespaces",
            "--workspace-size",
            "1m",
            "-w",
            ".",
            "-l",
            "sh",
            "-c",
            code,
        ])
    };
    let lost = run("rm link; echo mine >link; echo done");
    assert_eq!((lost.status, lost.stdout.as_str()), (Some(0), "done\n"), "{lost}");
    assert!(
        lost.stderr.contains("warning: 1 changed files were not copied back to the work_dir\n  link: "),
        "{lost}"
    );
    let kept = run("echo mine >file; echo done");
    assert!(kept.status == Some(0) && !kept.stderr.contains("warning"), "{kept}");
    assert_eq!(fs::read_to_string(place.path().join("file")).expect("it came back"), "mine\n");
}
