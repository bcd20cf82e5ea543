//! The interpreters of this host, as they are found there: good, missing, broken, and behind the scripts of
//! version managers.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use stockade::{BlockOutcome, CodeBlock, Language, Session, Status};
use tempfile::TempDir;

use crate::{
    probe::{builder, start},
    support::{need, outcome, output, python, sh},
};

#[tokio::test]
async fn every_language_that_is_there_runs() {
    let session = start(builder()).await;
    for (language, word, probe, code) in [
        ("python", "python", "python3 -V", "print('hello')"),
        ("sh", "sh", "sh -c :", "echo hello"),
        ("bash", "bash", "bash -c :", "words=(hello); echo ${words[0]}"),
        ("zsh", "zsh", "zsh -c :", "words=(hello); echo $words[1]"),
        ("perl", "perl", "perl -v", "print \"hello\\n\""),
        ("javascript", "node", "node -v", "console.log('hello')"),
        ("ruby", "ruby", "ruby -v", "puts 'hello'"),
        ("lua", "lua", "lua -v", "print('hello')"),
        ("php", "php", "php -v", "<?php echo \"hello\\n\";"),
        ("c", "cc", "cc --version", "#include <stdio.h>\nint main(void) { puts(\"hello\"); }"),
    ] {
        let mut probe = probe.split(' ');
        let program = probe.next().unwrap_or_default();
        if need::has_program(word, program, &probe.collect::<Vec<_>>()) {
            assert_eq!(output(&session, CodeBlock::new(language, code)).await, "hello\n", "{language}");
        }
    }
}

#[tokio::test]
async fn a_program_that_does_not_compile_is_the_compilers_affair() {
    if !need::has_program("cc", "cc", &["--version"]) {
        return;
    }
    let session = start(builder()).await;
    let wrong = outcome(&session, CodeBlock::new("c", "int main(void) { return x; }")).await;
    assert_eq!((wrong.status, wrong.exit_code), (Status::Exited, 1));
    assert!(wrong.stderr.text().contains("error"), "{}", wrong.stderr);
    // What it made is not among the workspace's files.
    let fine =
        outcome(&session, CodeBlock::new("c", "// filename: x/main\nint main(void) { return 3; }")).await;
    assert_eq!((fine.status, fine.exit_code, fine.files.len()), (Status::Exited, 3, 0), "{}", fine.stderr);
}

/// A folder of programs, which comes first on the PATH of the code.
struct Programs(TempDir);

impl Programs {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, contents: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents).expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }

    /// A session that finds these programs first, and runs the language `odd` by the program of that name.
    async fn session(&self) -> Session {
        let rest = env::var_os("PATH").unwrap_or_default();
        let folders = [self.path().to_owned()].into_iter().chain(env::split_paths(&rest));
        let path = env::join_paths(folders).expect("no folder has a colon");
        start(builder().env("PATH", path).language(Language::new("odd", "odd").command("odd", ["{file}"])))
            .await
    }
}

fn assert_not_run(outcome: &BlockOutcome, exit_code: i32, words: &[&str]) {
    assert_eq!((outcome.status, outcome.exit_code), (Status::NotRun, exit_code), "{}", outcome.output);
    for word in words {
        assert!(outcome.output.text().contains(word), "{word}: {}", outcome.output);
    }
}

#[tokio::test]
async fn an_interpreter_that_may_not_be_executed_is_an_outcome_that_says_so() {
    let programs = Programs::new();
    let program = programs.put("odd", "#!/bin/cat\n", 0o644);
    let outcome = outcome(&programs.session().await, CodeBlock::new("odd", "x")).await;
    let shown = program.display().to_string();
    assert_not_run(&outcome, 127, &["no interpreter for odd", &shown, "is not executable"]);
}

#[tokio::test]
async fn an_interpreter_that_is_no_program_is_an_outcome_that_says_so() {
    let programs = Programs::new();
    let program = programs.put("odd", "neither a script nor a binary", 0o755);
    let session = programs.session().await;
    let shown = program.display().to_string();
    let refused = outcome(&session, CodeBlock::new("odd", "x")).await;
    assert_not_run(&refused, 126, &[&shown, "could not be executed"]);
    programs.put("odd", "#!/no/such/program\n", 0o755);
    let refused = outcome(&session, CodeBlock::new("odd", "x")).await;
    assert_not_run(&refused, 127, &[&shown, "could not be executed"]);
    programs.put("odd", "#!/bin/cat\n", 0o755);
    assert_eq!(outcome(&session, CodeBlock::new("odd", "x")).await.exit_code, 0);
}

#[tokio::test]
async fn a_version_managers_script_is_asked_once_for_the_program_behind_it() {
    if !need::has_program("python", "python3", &["-c", ""]) {
        return;
    }
    let real = output(&start(builder()).await, python("import sys; print(sys.executable)")).await;
    let programs = Programs::new();
    let log = programs.path().join("log");
    let script = format!("#!/bin/sh\necho asked >> '{}'\nexec '{}' \"$@\"\n", log.display(), real.trim());
    programs.put("python3", &script, 0o755);
    let session = programs.session().await;
    for number in 0..3 {
        assert_eq!(output(&session, python(format!("print({number})"))).await, format!("{number}\n"));
    }
    assert_eq!(fs::read_to_string(&log).expect("it was asked"), "asked\n");
    // The code's own calls go by the script, as they would anywhere.
    assert_eq!(output(&session, sh("python3 -c 'print(1)'")).await, "1\n");
    assert_eq!(fs::read_to_string(&log).expect("it was asked"), "asked\nasked\n");
}

#[tokio::test]
async fn a_script_that_does_not_tell_is_used_as_it_is() {
    let programs = Programs::new();
    programs.put("python3", "#!/bin/sh\n[ \"$1\" = -c ] && exit 1\necho ran \"${1##*/}\"\n", 0o755);
    let session = programs.session().await;
    assert_eq!(output(&session, python("# filename: a.py\n")).await, "ran a.py\n");
}
