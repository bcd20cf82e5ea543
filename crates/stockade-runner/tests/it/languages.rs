//! From a language to the program that runs it, found where the code runs; what is missing is an outcome that
//! says so.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_bytes::ByteBuf;
use stockade_runner::{
    language::{Command, Language},
    outcome::Status,
    wire::message::{LanguageReport, Reply, Request, RunSpec, Stream},
};
use tempfile::TempDir;

use crate::harness::{Runner, Setup, block, exited, needs::Need, sh, variable};

/// A folder of programs, and a PATH of nothing else.
struct Programs(TempDir);

impl Programs {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, contents: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode is set");
        path
    }

    fn on_path(&self, spec: RunSpec) -> RunSpec {
        RunSpec { env: vec![variable("PATH", self.path().to_str().expect("text"))], ..spec }
    }
}

#[test]
fn an_unknown_language_is_an_outcome_that_names_the_known_ones() {
    let mut runner = Runner::start();
    let ran = runner.ran(block("brainfuck", "+"));
    assert_eq!(ran.status(), Status::NotRun { code: 1 });
    assert!(ran.notice().starts_with("unknown language brainfuck; supported are python, bash, sh,"));
    assert_eq!((ran.outcome().language.as_str(), &ran.outcome().file), ("brainfuck", &None));
    assert_eq!(runner.names(), [""; 0]);
}

#[test]
fn a_language_is_known_by_any_of_its_names_in_any_case() {
    let mut runner = Runner::start();
    for name in ["sh", "SH", "shell", " Shell\t"] {
        let ran = runner.ran(block(name, "echo ok"));
        assert_eq!(
            (ran.status_and_stdout(), ran.outcome().language.as_str()),
            ((exited(0), "ok\n".into()), "sh")
        );
    }
}

#[test]
fn a_missing_interpreter_is_an_outcome_that_says_what_was_looked_for() {
    let mut runner = Runner::start();
    let ran =
        runner.ran(RunSpec { env: vec![variable("PATH", "/nonexistent:/also")], ..block("python", "1") });
    assert_eq!(ran.status(), Status::NotRun { code: 127 });
    let notice = "no interpreter for python: looked for python3, python in PATH (/nonexistent:/also)";
    assert_eq!(ran.notice(), notice);
    assert_eq!(runner.ran(sh("echo ok")).stdout(), "ok\n", "of that run only");
}

#[test]
fn an_interpreter_that_is_not_executable_is_an_outcome() {
    let (mut runner, programs) = (Runner::start(), Programs::new());
    let path = programs.put("sh", "#!/bin/sh\n", 0o644);
    let ran = runner.ran(programs.on_path(sh("echo never")));
    assert_eq!(ran.status(), Status::NotRun { code: 127 });
    assert!(ran.notice().ends_with(&format!("; {} is not executable", path.display())), "{}", ran.notice());
}

#[test]
fn an_interpreter_that_can_not_be_executed_is_an_outcome() {
    let (mut runner, programs) = (Runner::start(), Programs::new());
    for (contents, code, why) in [
        ("no program", 126, "Exec format error (os error 8)"),
        ("", 126, "Exec format error (os error 8)"),
        ("#!/nonexistent/interpreter\n", 127, "No such file or directory (os error 2)"),
        ("#!/etc\n", 126, "Permission denied (os error 13)"),
    ] {
        let path = programs.put("sh", contents, 0o755);
        let ran = runner.ran(programs.on_path(sh("echo never")));
        assert_eq!(ran.status(), Status::NotRun { code }, "{contents:?}");
        assert_eq!(ran.notice(), format!("{} could not be executed: {why}", path.display()));
    }
    programs.put("sh", "#!/bin/sh\nexec /bin/sh \"$@\"\n", 0o755);
    assert_eq!(runner.ran(programs.on_path(sh("echo ok"))).status_and_stdout(), (exited(0), "ok\n".into()));
}

#[test]
fn an_interpreter_that_dies_at_once_is_an_outcome() {
    let (mut runner, programs) = (Runner::start(), Programs::new());
    programs.put("sh", "#!/bin/sh\necho dying >&2; exit 9\n", 0o755);
    let ran = runner.ran(programs.on_path(sh("echo never")));
    assert_eq!((ran.status(), ran.bytes(Stream::Stderr)), (exited(9), b"dying\n".to_vec()));
    programs.put("sh", "#!/bin/sh\nkill -SEGV $$\n", 0o755);
    let ran = runner.ran(programs.on_path(sh("echo never")));
    assert_eq!(ran.status(), Status::Signaled { signal: 11 });
}

// Scripts in front of interpreters.

/// A script that counts its calls, and tells of a program behind it.
fn shim(programs: &Programs, real: &str) -> PathBuf {
    let calls = programs.path().join("calls");
    let script = format!(
        "#!/bin/sh
        echo call >> '{}'
        if [ \"$1\" = -c ]; then echo noise; echo '{real}'; else exec /bin/sh \"$@\"; fi\n",
        calls.display()
    );
    programs.put("python3", &script, 0o755);
    calls
}

fn calls(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[test]
fn a_script_in_front_of_an_interpreter_is_asked_once_and_then_passed_by() {
    let programs = Programs::new();
    let file = shim(&programs, "/bin/sh");
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    let mut runner = Setup::new().env("PATH", path).start();
    let runs: Vec<_> = (0..4).map(|number| runner.run(block("python", format!("echo {number}")))).collect();
    for (number, run) in runs.into_iter().enumerate() {
        assert_eq!(runner.finished(run).status_and_stdout(), (exited(0), format!("{number}\n")));
    }
    assert_eq!(runner.ran(block("python", "echo again")).stdout(), "again\n");
    assert_eq!(calls(&file), 1);
}

#[test]
fn a_script_that_tells_of_no_program_is_asked_once_and_then_used() {
    let programs = Programs::new();
    for nonsense in ["", "no path", "/nonexistent", "/etc/passwd"] {
        let file = shim(&programs, nonsense);
        let _ = fs::remove_file(&file);
        let path = format!("{}:/usr/bin:/bin", programs.path().display());
        let mut runner = Setup::new().env("PATH", path).start();
        for _ in 0..2 {
            assert_eq!(
                runner.ran(block("python", "echo ok")).status_and_stdout(),
                (exited(0), "ok\n".into())
            );
        }
        assert_eq!(calls(&file), 3, "{nonsense}");
    }
}

#[test]
fn a_run_that_waits_for_a_script_to_answer_is_cancelled() {
    let programs = Programs::new();
    programs.put("python3", "#!/bin/sh\ntouch asked; sleep 987\n", 0o755);
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    let mut runner = Setup::new().env("PATH", path).start();
    let run = runner.run(block("python", "echo never"));
    runner.file("asked");
    runner.send(&Request::Cancel { run });
    let ran = runner.finished(run);
    assert_eq!((ran.status(), ran.notice()), (Status::Cancelled, "Cancelled: the block had not started"));
    assert_eq!(runner.stop(), [0; 0]);
    assert_eq!(runner.survivors(), [""; 0]);
}

#[test]
fn a_script_is_asked_again_where_the_environment_is_another() {
    let programs = Programs::new();
    let file = shim(&programs, "/bin/sh");
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    let mut runner = Setup::new().env("PATH", path).start();
    for version in ["1", "2", "1", "2"] {
        let env = vec![variable("VERSION", version)];
        let ran = runner.ran(RunSpec { env, ..block("python", "echo $VERSION") });
        assert_eq!(ran.stdout(), format!("{version}\n"));
    }
    assert_eq!(calls(&file), 2);
}

// Other ways to run.

#[test]
fn what_is_not_run_is_saved_and_stays() {
    let mut runner = Setup::new().cleanup_temp_files().start();
    let ran = runner.ran(block("html", "<!-- filename: index.html -->\n<p>"));
    assert_eq!(ran.status(), Status::NotRun { code: 0 });
    assert_eq!(ran.notice(), "Saved as index.html; html is not run");
    let path = runner.path("index.html");
    assert_eq!(ran.outcome().file, Some(ByteBuf::from(path.to_str().expect("text"))));
    assert_eq!(runner.ran(block("json", "{}")).status(), Status::NotRun { code: 0 });
    assert_eq!(runner.names().len(), 2, "{:?}", runner.names());
}

#[test]
fn a_compiled_program_is_run_and_leaves_nothing_behind() {
    if !Need::Cc.is_there() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut runner = Setup::new().outer_env("TMPDIR", scratch.path()).cleanup_temp_files().start();
    let ran = runner.ran(block("c", "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 7; }"));
    assert_eq!(ran.status_and_stdout(), (exited(7), "compiled\n".into()));
    let ran = runner.ran(block("c", "int main(void) { return missing; }"));
    assert_eq!((ran.status(), ran.stderr().contains("missing")), (exited(1), true));
    assert_eq!(fs::read_dir(scratch.path()).expect("it is there").count(), 0);
    assert_eq!(runner.names(), [""; 0]);
}

#[test]
fn python_runs() {
    if !Need::Python.is_there() {
        return;
    }
    let mut runner = Runner::start();
    let ran = runner.ran(block("Python", "!echo shell\nprint('python')\nraise SystemExit(3)"));
    assert_eq!(ran.status_and_stdout(), (exited(3), "shell\npython\n".into()));
}

#[test]
fn a_language_that_the_session_brings_is_one_like_any_other() {
    let programs = Programs::new();
    let program = programs.put("toy", "#!/bin/sh\necho toy; cat \"$2\"\n", 0o755);
    let toy = Language::new("toy", "toy").comment(";").add_command(Command::new("toy", ["--", "{file}"]));
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    let mut setup = Setup::new().env("PATH", path);
    setup.session.languages = vec![toy];
    let mut runner = setup.start();
    let ran = runner.ran(block("TOY", "; filename: play.toy\n"));
    assert_eq!(ran.status_and_stdout(), (exited(0), "toy\n; filename: play.toy\n".into()));
    runner.send(&Request::Languages);
    let reports = runner.wait_for("the languages", |reply| match reply {
        Reply::Languages(reports) => Some(reports.clone()),
        _ => None,
    });
    let report = LanguageReport {
        name: "toy".into(),
        aliases: vec![],
        extension: "toy".into(),
        runs: true,
        interpreter: Some(ByteBuf::from(program.to_str().expect("text"))),
    };
    assert_eq!(reports.last(), Some(&report));
    let html = reports.iter().find(|report| report.name == "html").expect("it is built in");
    assert_eq!((html.runs, &html.interpreter), (false, &None));
}
