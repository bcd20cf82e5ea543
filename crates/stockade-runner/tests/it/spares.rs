//! Interpreters that wait for blocks: one is there after the first Python block, a block can't tell that it got one, and
//! whatever becomes of those that wait, blocks run.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::Signal;
use stockade_runner::{outcome::Status, wire::message::RunSpec};

use crate::{
    harness::{
        Runner, Setup, block, exited,
        needs::{self, Need},
        processes::{Process, descendants},
        sh, variable, wait_until,
    },
    preload::{preloaded, server},
};

pub(crate) fn python(code: impl AsRef<[u8]>) -> RunSpec {
    block("python", code)
}

pub(crate) fn with_spares(count: u32) -> Setup {
    let mut setup = Setup::new();
    setup.session.spares = count;
    setup
}

/// A session that has run a Python block, if Python is there.
fn warm(count: u32) -> Option<Runner> {
    Need::Python.is_there().then(|| {
        let mut runner = with_spares(count).start();
        assert_eq!(runner.ran(python("print('first')")).status_and_stdout(), (exited(0), "first\n".into()));
        runner
    })
}

/// The interpreters that wait.
fn waiting(runner: &Runner) -> Vec<Process> {
    let waits = |process: &Process| {
        let command = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("os.read(0")
    };
    descendants(runner.pid).into_iter().filter(waits).collect()
}

fn wait_for_spares(runner: &Runner, count: usize) -> Vec<Process> {
    wait_until("as many spares", || Some(waiting(runner)).filter(|spares| spares.len() == count))
}

#[test]
fn there_is_none_before_python_is_used_nor_when_none_is_wanted() {
    let mut runner = with_spares(1).start();
    runner.ran(sh("true"));
    runner.round_trip();
    assert_eq!(waiting(&runner), []);
    let Some(mut runner) = warm(0) else { return };
    runner.round_trip();
    assert_eq!(waiting(&runner), []);
}

#[test]
fn a_block_gets_one_that_waited_and_the_next_waits_already() {
    let Some(mut runner) = warm(1) else { return };
    let mut used = Vec::new();
    for _ in 0..5 {
        let [spare] = wait_for_spares(&runner, 1)[..] else { unreachable!("one was waited for") };
        let ran = runner.ran(python("import os; print(os.getpid())"));
        assert_eq!(ran.status_and_stdout(), (exited(0), format!("{}\n", spare.pid)));
        assert!(!used.contains(&spare), "each is for one block");
        used.push(spare);
    }
}

#[test]
fn blocks_that_run_at_once_each_have_their_own() {
    let Some(mut runner) = warm(3) else { return };
    let spares = wait_for_spares(&runner, 3);
    let code = |number| {
        format!(
            "import os, time\nopen('{number}', 'w').close()\n\
             while len([n for n in os.listdir() if n.isdigit()]) < 4: time.sleep(0.005)\nprint(os.getpid())"
        )
    };
    let runs: Vec<_> = (0..4).map(|number| runner.run(python(code(number)))).collect();
    let pids = runs.into_iter().map(|run| {
        let ran = runner.finished(run);
        let (status, printed) = ran.status_and_stdout();
        assert_eq!(status, exited(0));
        printed.trim().parse().expect("a number")
    });
    let pids: Vec<u32> = pids.collect();
    let from_spares = pids.iter().filter(|pid| spares.iter().any(|spare| spare.pid == **pid)).count();
    assert_eq!(from_spares, 3, "{pids:?} of {spares:?}, and one that was started for it");
}

/// What a block may look at, say and end with. `@` stands for the path of a file beside it.
const BLOCKS: &[&str] = &[
    "import sys; print(sys.argv, sys.path[0], sorted(globals()), __file__, __name__, __spec__, type(__loader__))",
    "import sys; print(getattr(sys, 'orig_argv', 0), sys.flags, sorted(sys.modules)[:0], sys.stdin.read())",
    "print(sys) if 'sys' in globals() else print('nothing is there')",
    "import os; print(sorted(os.listdir('/proc/self/fd')), os.getcwd(), os.getpid() == os.getsid(0))",
    "import signal; print([signal.getsignal(n) for n in (2, 13, 15, 17)])",
    "1 / 0",
    "def f():\n    raise ValueError('x')\ntry:\n    f()\nexcept Exception as error:\n    raise KeyError(3) from error",
    "class E(Exception):\n    def __str__(self): 1 / 0\nraise E",
    "import sys\nsys.excepthook = lambda *a: print(a[0], a[2].tb_frame.f_code.co_filename == __file__)\n1 / 0",
    "import atexit, sys\natexit.register(lambda: print(sys.last_value, sys.exc_info()))\n1 / 0",
    "import sys\nsys.addaudithook(lambda name, told: name == 'sys.excepthook' and print(told[1:3], len(told)))\n1 / 0",
    "import sys\ndef refuse(name, told):\n    if name == 'sys.excepthook': raise RuntimeError\nsys.addaudithook(refuse)\n1 / 0",
    "import sys; sys.excepthook = None; 1 / 0",
    "import sys; del sys.excepthook; 1 / 0",
    "import sys; sys.excepthook = lambda *told: {}['x']; 1 / 0",
    "import sys; sys.excepthook = lambda *told: sys.exit(5); 1 / 0",
    "import sys; sys.excepthook = lambda *told: sys.exit('no'); 1 / 0",
    "import sys; sys.excepthook = None; sys.stderr = None; 1 / 0",
    "import sys; sys.excepthook = lambda *told: print(told[:2]); raise KeyboardInterrupt",
    "import sys; sys.stderr = None; 1 / 0",
    "import sys; sys.tracebacklimit = 0; 1 / 0",
    "import asyncio\nasync def main(): 1 / 0\nasyncio.run(main())",
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n1 / 0",
    "def f():\n    f = open('@', 'w'); f.write('not closed'); 1 / 0\nf()",
    "def g():\n    try: yield 1\n    finally: print('closed')\ndef f():\n    own = g(); next(own); 1 / 0\nf()",
    "def f():\n    class A:\n        def __del__(self): print('gone')\n    a = A(); 1 / 0\nf()",
    "this is no Python",
    "x = (",
    "input()",
    "import sys; sys.exit()",
    "import sys; sys.exit(3)",
    "import sys; sys.exit(256 + 7)",
    "import sys; sys.exit('bye')",
    "raise KeyboardInterrupt",
    "import os; os._exit(4)",
    "import signal; signal.signal(signal.SIGTERM, lambda *a: print('caught')); signal.raise_signal(signal.SIGTERM)",
    "import signal; signal.signal(signal.SIGALRM, lambda *a: print('rang')); signal.setitimer(0, 0.05); signal.pause()",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "import os, sys; os.execv(sys.executable, ['python', '-c', 'print(1)'])",
    "import sys; sys.stdout.write('no end of line')",
    "import sys; sys.stdout.close()",
    "import sys; sys.stdout = None",
    "import atexit; atexit.register(print, 'at exit')",
    "class A:\n    def __del__(self): print('gone', self.name)\na = A(); a.name = 'a'\n_b = A(); _b.name = 'b'",
    "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'finalized')",
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "import sys, threading\nthreading.Thread(target=sys.exit, args=(5,)).start()",
    "import threading\nthreading.Thread(target=lambda: 1 / 0, name='t').start()",
    "f = open('@', 'w'); f.write('not closed')",
    "import gzip; f = gzip.open('@', 'wt'); f.write('not closed')",
    "import tempfile; t = tempfile.TemporaryDirectory(); print('made')",
    "import multiprocessing as m\ndef f(x): return x * x\nwith m.get_context('fork').Pool(2) as p: print(p.map(f, [1, 2]))",
    "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as p: print(p.map(f, [1, 2]))",
    "import asyncio\nasync def main(): print('async')\nasyncio.run(main())",
    "import pickle\nclass P: x = 1\nprint(pickle.loads(pickle.dumps(P())).x)",
    "import __main__, inspect; print(inspect.getsource(__main__) == open(__file__).read())",
    "from __future__ import annotations\nx: nowhere = 3\nprint(__annotations__)",
    "def generate():\n    try:\n        yield 1\n    finally:\n        print('closed')\ng = generate(); next(g)",
    "!echo from the shell",
    "#!/usr/bin/python3\n# filename: named.py\nimport sys; print(sys.argv[0].rpartition('/')[2])",
    "# -*- coding: latin-1 -*-\nprint('\u{e9}')",
];

/// What `python FILE` does and what a spare does are the same to whoever runs a block.
#[test]
fn a_block_can_not_tell_that_its_interpreter_waited() {
    let (Some(mut fresh), Some(mut warm)) = (warm(0), warm(1)) else { return };
    for code in BLOCKS {
        assert_eq!(waiting(&fresh), []);
        wait_for_spares(&warm, 1);
        assert_eq!(what_it_did(&mut fresh, code), what_it_did(&mut warm, code), "{code}");
    }
}

/// Nor that it was forked from one that had imported something, while it waited or when it was wanted.
#[test]
fn a_block_can_not_tell_that_its_interpreter_was_forked() {
    let Some(mut fresh) = warm(0) else { return };
    for spares in [0, 1] {
        let Some(mut forked) = preloaded(spares, &["json", "ctypes"]) else { return };
        for code in BLOCKS {
            let before = server(&forked);
            assert_eq!(what_it_did(&mut fresh, code), what_it_did(&mut forked, code), "{code}");
            assert_eq!(server(&forked), before, "{code}");
        }
    }
}

/// How it ended, what it printed, and whether it wrote what it left open, whatever the workspace.
fn what_it_did(runner: &mut Runner, code: &str) -> (Status, String, String, bool) {
    let ran = runner.ran(python(code.replace('@', "left-open")));
    let made = fs::read(runner.path("left-open")).is_ok_and(|made| !made.is_empty());
    let _ = fs::remove_file(runner.path("left-open"));
    let place = runner.path("").display().to_string();
    let [stdout, stderr] =
        [ran.stdout(), ran.stderr()].map(|text| text.replace(place.trim_end_matches('/'), "W"));
    (ran.status(), stdout, stderr, made)
}

/// Modules have nothing to say at their end unless somebody asks for it, and with a `__del__` in one they do.
#[test]
fn modules_are_taken_apart_where_that_is_asked_for() {
    if !Need::Python.is_there() {
        return;
    }
    for (teardown, said) in [(false, ""), (true, "taken apart\n")] {
        let mut setup = with_spares(1);
        setup.session.teardown = teardown;
        let mut runner = setup.start();
        let module = "class Held:\n    def __del__(self, say=print): say('taken apart')\nheld = Held()\n";
        fs::write(runner.path("held.py"), module).expect("written");
        runner.ran(python("pass"));
        wait_for_spares(&runner, 1);
        assert_eq!(runner.ran(python("import held")).status_and_stdout(), (exited(0), said.into()));
    }
}

#[test]
fn one_that_was_killed_or_stopped_keeps_no_block_from_running() {
    let Some(mut runner) = warm(1) else { return };
    let [spare] = wait_for_spares(&runner, 1)[..] else { unreachable!("one was waited for") };
    spare.signal(Signal::KILL);
    let ran = runner.ran(python("print('on')"));
    assert_eq!(ran.status_and_stdout(), (exited(0), "on\n".into()));
    // One that is stopped is as a block that hangs.
    let [spare] = wait_for_spares(&runner, 1)[..] else { unreachable!("one was waited for") };
    spare.signal(Signal::STOP);
    let mut late = python("print('never')");
    late.timeout_ms = 300;
    assert_eq!(runner.ran(late).status(), Status::TimedOut);
    assert_eq!(runner.ran(python("print('on')")).status_and_stdout(), (exited(0), "on\n".into()));
}

#[test]
fn one_is_only_for_a_block_that_would_be_started_alike() {
    let Some(mut runner) = warm(1) else { return };
    let pid = "import os; print(os.environ.get('OWN'), os.getpid())";
    let spare = wait_for_spares(&runner, 1)[0];
    let own = RunSpec { env: vec![variable("OWN", "1")], ..python(pid) };
    let (_, printed) = runner.ran(own.clone()).status_and_stdout();
    assert!(printed.starts_with("1 ") && !printed.ends_with(&format!(" {}\n", spare.pid)), "{printed}");
    let given = |spare: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", spare.pid)).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == b"OWN=1")
    };
    let next = wait_for_spares(&runner, 1)[0];
    assert!(!given(&next), "what one call was given does not stay behind");
    // The second time in a row it is what calls are given.
    runner.ran(own.clone());
    let spare = wait_until("another spare", || waiting(&runner).into_iter().find(given));
    assert_eq!(runner.ran(own).status_and_stdout().1, format!("1 {}\n", spare.pid));
    let merged = RunSpec {
        merge_streams: true,
        ..python("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    };
    assert_eq!(runner.ran(merged).status_and_stdout(), (exited(0), "out\nerr\n".into()));
}

/// As when a package is installed in between.
#[test]
fn one_has_started_after_all_that_was_done_before_its_block() {
    let Some(mut runner) = warm(1) else { return };
    let before = wait_for_spares(&runner, 1)[0];
    let install = "import os, site; os.makedirs(site.getusersitepackages()); \
                   open(site.getusersitepackages() + '/given.py', 'w').close()";
    let home = runner.path("home").display().to_string();
    let at_home = |spec| RunSpec { env: vec![variable("HOME", &home)], ..spec };
    // Twice, so that interpreters with this home wait.
    for _ in 0..2 {
        runner.ran(at_home(python("pass")));
    }
    wait_until("one with that home", || waiting(&runner).into_iter().find(|spare| *spare != before));
    let code = format!("\"$(command -v python3)\" -c \"{install}\"");
    assert_eq!(runner.ran(at_home(sh(code))).status(), exited(0));
    assert_eq!(runner.ran(at_home(python("import given"))).status(), exited(0));
}

#[test]
fn one_does_not_outlive_its_workspace() {
    let Some(mut runner) = warm(1) else { return };
    wait_for_spares(&runner, 1);
    let place = runner.path("");
    let place = Path::new(place.to_str().expect("text").trim_end_matches('/')).to_owned();
    fs::rename(&place, place.with_extension("old")).expect("renamed");
    fs::create_dir(&place).expect("made");
    let ran = runner.ran(python("import os; print(os.path.samefile('.', os.path.dirname(__file__)))"));
    assert_eq!(ran.status_and_stdout(), (exited(0), "True\n".into()));
    fs::remove_dir_all(place.with_extension("old")).expect("removed");
}

#[test]
fn nothing_of_one_is_left_at_the_end() {
    let Some(mut runner) = warm(2) else { return };
    wait_for_spares(&runner, 2);
    assert_eq!(runner.stop(), []);
    runner.wait_for_no_survivor();
}

#[test]
fn one_ends_when_the_runner_is_killed() {
    let Some(runner) = warm(1) else { return };
    let spares = wait_for_spares(&runner, 1);
    runner.signal(Signal::KILL);
    wait_until("the end of the spare", || (!spares[0].runs()).then_some(()));
}

/// A Python whose start-up does not bear waiting is left alone after some tries.
#[test]
fn an_interpreter_that_can_not_wait_runs_blocks_all_the_same() {
    let Some(real) = needs::python() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let program = folder.path().join("python3");
    let script = format!(
        "#!/bin/sh\ncase $1 in -c) echo tried >>\"$TRIES\"; exit 1;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let tries = folder.path().join("tries");
    let mut runner = with_spares(1)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("TRIES", &tries)
        .start();
    for _ in 0..8 {
        assert_eq!(runner.ran(python("print('runs')")).status_and_stdout(), (exited(0), "runs\n".into()));
    }
    let tried = fs::read_to_string(&tries).unwrap_or_default().lines().count();
    assert!((1..=4).contains(&tried), "{tried} times");
}
