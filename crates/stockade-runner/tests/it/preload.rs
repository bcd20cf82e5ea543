//! Modules that are imported once: blocks begin with them, as if each had imported them itself, and whatever becomes of
//! the process that has done so, blocks run.

use std::{fs, path::Path};

use rustix::process::Signal;
use stockade_runner::{
    outcome::Status,
    wire::message::{Preloaded, Reply, Request, RunSpec},
};

use crate::{
    harness::{
        Runner, exited,
        needs::Need,
        processes::{Process, children, descendants},
        variable, wait_until,
    },
    spares::{python, with_spares},
};

/// A session with this module in its workspace, if Python is there.
fn with_module(spares: u32, name: &str, contents: &str) -> Option<Runner> {
    let runner = session(spares)?;
    fs::write(runner.path(&format!("{name}.py")), contents).expect("written");
    Some(runner)
}

fn session(spares: u32) -> Option<Runner> {
    Need::Python.is_there().then(|| with_spares(spares).start())
}

fn preload(runner: &mut Runner, modules: &[&str], timeout_ms: u64) -> Preloaded {
    let modules = modules.iter().map(|module| (*module).to_owned()).collect();
    runner.send(&Request::Preload { modules, env: Vec::new(), timeout_ms });
    runner.wait_for("what came of it", |reply| match reply {
        Reply::Preloaded(preloaded) => Some(preloaded.clone()),
        _ => None,
    })
}

/// A session whose blocks begin with these modules, if Python is there.
pub(crate) fn preloaded(spares: u32, modules: &[&str]) -> Option<Runner> {
    let mut runner = session(spares)?;
    assert_eq!(preload(&mut runner, modules, 60_000), Preloaded::Ready);
    Some(runner)
}

/// The process that has imported them: a child of the runner's own, as keepers are.
pub(crate) fn server(runner: &Runner) -> Process {
    let of_python = |process: &Process| {
        let command = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("os.read(0")
    };
    wait_until("the server", || children(runner.pid).into_iter().find(of_python))
}

fn printed(runner: &mut Runner, code: &str) -> String {
    let ran = runner.ran(python(code));
    assert_eq!((ran.status(), ran.stderr()), (exited(0), String::new()), "{code}");
    ran.stdout()
}

const COUNTED: &str = "import os\nwith open('imports', 'a') as imports: imports.write('x')\n";

#[test]
fn modules_are_imported_once_for_all_blocks() {
    for spares in [0, 2] {
        let Some(mut runner) = with_module(spares, "counted", COUNTED) else { return };
        assert_eq!(preload(&mut runner, &["counted", "json"], 60_000), Preloaded::Ready);
        for _ in 0..4 {
            let said = printed(&mut runner, "import sys; print('json' in sys.modules); import counted");
            assert_eq!(said, "True\n");
        }
        assert_eq!(runner.file("imports"), "x", "with {spares} spares");
    }
}

/// Even by a block that is over before its keeper could be ready.
#[test]
fn what_a_forked_block_leaves_behind_goes_on() {
    let Some(mut runner) = preloaded(2, &["json"]) else { return };
    for round in 0..3 {
        let code = |number: u32| {
            format!(
                "import os, time\nif os.fork() == 0:\n    time.sleep(0.3)\n    open('left-{round}-{number}', 'w').close()\n\
                 os._exit(0)"
            )
        };
        let runs: Vec<_> = (0..12).map(|number| runner.run(python(code(number)))).collect();
        for run in runs {
            assert_eq!(runner.finished(run).status(), exited(0));
        }
        let count =
            || runner.names().iter().filter(|name| name.starts_with(&format!("left-{round}-"))).count();
        wait_until("all that was left behind", || (count() == 12).then_some(()));
    }
}

#[test]
fn a_module_that_is_not_there_is_named() {
    let Some(mut runner) = with_module(1, "broken", "1 / 0") else { return };
    let failed = preload(&mut runner, &["json", "no_such_module"], 60_000);
    let why = "no_such_module can't be imported: ModuleNotFoundError: No module named 'no_such_module'";
    assert_eq!(failed, Preloaded::Failed { why: why.into() });
    let Some(mut runner) = with_module(1, "broken", "1 / 0") else { return };
    let failed = preload(&mut runner, &["broken"], 60_000);
    let why = "broken can't be imported: ZeroDivisionError: division by zero";
    assert_eq!(failed, Preloaded::Failed { why: why.into() });
    assert_eq!(printed(&mut runner, "print('runs')"), "runs\n");
}

#[test]
fn a_workspace_that_is_gone_is_told() {
    let Some(mut runner) = with_module(1, "there", "") else { return };
    fs::remove_dir_all(runner.path("")).expect("removed");
    let told = preload(&mut runner, &["there"], 60_000);
    assert!(matches!(told, Preloaded::Failed { .. }), "{told:?}");
}

#[test]
fn an_import_that_ends_the_process_or_never_ends_is_told() {
    for (contents, timeout_ms, told) in [
        ("import os; os._exit(3)", 60_000, "Python ended with exit code 3 while it imported them"),
        ("import sys; sys.exit('no')", 60_000, "odd can't be imported: SystemExit: no"),
        (
            "import os; os.kill(os.getpid(), 9)",
            60_000,
            "Python was killed while it imported them, as happens when memory is short",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
            60_000,
            "Python was ended by signal 15 while it imported them",
        ),
        ("import time; time.sleep(3600)", 300, "the import did not end within 300.0ms"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
            300,
            "the import did not end within 300.0ms",
        ),
    ] {
        let Some(mut runner) = with_module(1, "odd", contents) else { return };
        assert_eq!(preload(&mut runner, &["odd"], timeout_ms), Preloaded::Failed { why: told.into() });
        assert_eq!(printed(&mut runner, "print('runs')"), "runs\n", "{contents}");
        assert_eq!(runner.stop(), []);
        runner.wait_for_no_survivor();
    }
}

#[test]
fn what_leaves_threads_running_is_not_forked_and_blocks_import_it_themselves() {
    let threads =
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n";
    let Some(mut runner) = with_module(1, "threads", threads) else { return };
    let why = "what is imported keeps 1 thread running";
    assert_eq!(preload(&mut runner, &["threads"], 60_000), Preloaded::Unfit { why: why.into() });
    assert_eq!(printed(&mut runner, "import threads, threading; print(threading.active_count())"), "2\n");
    // One that ends its threads when it is forked will do.
    let ends = "import threading, os\nstop = threading.Event()\nthread = threading.Thread(target=stop.wait)\n\
                thread.start()\nos.register_at_fork(before=lambda: (stop.set(), thread.join()))\n";
    let Some(mut runner) = with_module(1, "ends", ends) else { return };
    assert_eq!(preload(&mut runner, &["ends"], 60_000), Preloaded::Ready);
}

#[test]
fn a_forked_block_and_all_that_it_starts_is_ended_in_time() {
    let code = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                if os.fork() == 0:\n    os.setsid()\n    os.fork()\n\
                open(f'started-{os.getpid()}', 'w').close()\nwhile True: time.sleep(1)";
    for spares in [0, 1] {
        let Some(mut runner) = preloaded(spares, &["json"]) else { return };
        let mut spec = python(code);
        spec.timeout_ms = 1_000;
        assert_eq!(runner.ran(spec).status(), Status::TimedOut);
        let started = runner.names().into_iter().filter(|name| name.starts_with("started-"));
        let pids: Vec<String> = started.map(|name| name["started-".len()..].to_owned()).collect();
        assert_eq!(pids.len(), 3, "{pids:?}");
        let gone = |pid: &String| !Path::new(&format!("/proc/{pid}")).exists();
        wait_until("their end", || pids.iter().all(gone).then_some(()));
        assert_eq!(printed(&mut runner, "print('on')"), "on\n");
    }
}

#[test]
fn blocks_run_at_once_and_none_has_anything_of_another() {
    let Some(mut runner) = with_module(2, "shared", "values = []\n") else { return };
    assert_eq!(preload(&mut runner, &["shared", "random"], 60_000), Preloaded::Ready);
    let code = "import shared, random, os\nshared.values.append(1)\n\
                print(len(shared.values), random.random(), os.getpid())";
    let runs: Vec<_> = (0..12).map(|_| runner.run(python(code))).collect();
    let mut said: Vec<String> = runs.into_iter().map(|run| runner.finished(run).stdout()).collect();
    assert!(said.iter().all(|said| said.starts_with("1 ")), "{said:?}");
    said.sort_unstable();
    said.dedup();
    assert_eq!(said.len(), 12, "neither numbers nor processes are shared");
}

#[test]
fn a_fork_has_no_descriptor_of_the_server_s() {
    let Some(mut runner) = preloaded(1, &["json"]) else { return };
    // The last is that of the list.
    let open = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))";
    assert_eq!(printed(&mut runner, open), "[0, 1, 2, 3]\n");
}

#[test]
fn what_a_fork_would_not_have_or_would_share_is_told_and_imported_by_each_block() {
    for (held, told) in [
        ("file = open(__file__)", "what is imported keeps open "),
        ("import logging; logging.basicConfig(filename='log')", "what is imported keeps open "),
        (
            "import subprocess; child = subprocess.Popen(['sleep', '600'])",
            "what is imported keeps a child process running",
        ),
        ("import mmap; shared = mmap.mmap(-1, 4096)", "what is imported shares memory with other processes"),
        (
            "import multiprocessing; lock = multiprocessing.Lock()",
            "what is imported shares memory with other processes",
        ),
        ("import os; os.chdir('/')", "what is imported changes the current directory"),
        (
            "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
            "what is imported keeps Python from being forked: ",
        ),
    ] {
        let Some(mut runner) = with_module(1, "odd", held) else { return };
        let Preloaded::Unfit { why } = preload(&mut runner, &["odd"], 60_000) else {
            panic!("{held} is fit")
        };
        assert!(why.starts_with(told), "{why}");
        assert_eq!(runner.ran(python("import odd")).stderr(), "", "{held}");
        assert_eq!(runner.stop(), []);
        runner.wait_for_no_survivor();
    }
}

#[test]
fn what_a_module_puts_before_all_folders_stays_there() {
    let Some(mut runner) = with_module(1, "first", "import sys\nsys.path.insert(0, '/first')\n") else {
        return;
    };
    assert_eq!(preload(&mut runner, &["first"], 60_000), Preloaded::Ready);
    let said = printed(
        &mut runner,
        "import sys, os; print(sys.path[0], sys.path[1] == os.getcwd(), '' in sys.path)",
    );
    assert_eq!(said, "/first True False\n");
}

#[test]
fn a_server_that_is_killed_is_replaced_and_one_that_is_stopped_keeps_no_block_from_running() {
    let Some(mut runner) = with_module(0, "counted", COUNTED) else { return };
    assert_eq!(preload(&mut runner, &["counted"], 60_000), Preloaded::Ready);
    let first = server(&runner);
    first.signal(Signal::KILL);
    assert_eq!(printed(&mut runner, "print('on')"), "on\n");
    wait_until("another server", || Some(server(&runner)).filter(|server| *server != first));
    let is_forked = "import sys; print('counted' in sys.modules)";
    wait_until("its import", || (printed(&mut runner, is_forked) == "True\n").then_some(()));
    assert_eq!(runner.file("imports"), "xx");
    let stopped = server(&runner);
    stopped.signal(Signal::STOP);
    assert_eq!(printed(&mut runner, "print('on')"), "on\n");
    wait_until("another server", || Some(server(&runner)).filter(|server| *server != stopped));
}

#[test]
fn any_number_of_servers_are_replaced_that_have_served() {
    let Some(mut runner) = preloaded(0, &["decimal"]) else { return };
    for _ in 0..5 {
        assert_eq!(printed(&mut runner, "import sys; print('decimal' in sys.modules)"), "True\n");
        let last = server(&runner);
        last.signal(Signal::KILL);
        wait_until("the next", || {
            printed(&mut runner, "pass");
            Some(server(&runner)).filter(|server| *server != last)
        });
        let is_there =
            |runner: &mut Runner| printed(runner, "import sys; print('decimal' in sys.modules)") == "True\n";
        wait_until("its import", || is_there(&mut runner).then_some(()));
    }
}

#[test]
fn a_block_whose_keeper_is_killed_ends_with_it() {
    let Some(mut runner) = preloaded(1, &["json"]) else { return };
    let code = "import os, time\nos.fork()\nopen(f'started-{os.getpid()}', 'w').close()\ntime.sleep(3600)";
    let run = runner.run(python(code));
    wait_until("both", || {
        (runner.names().iter().filter(|name| name.starts_with("started-")).count() == 2).then_some(())
    });
    let own =
        runner.names().into_iter().filter_map(|name| name.strip_prefix("started-")?.parse::<u32>().ok());
    let own: Vec<u32> = own.collect();
    let holds = |keeper: &Process| descendants(keeper.pid).iter().any(|process| own.contains(&process.pid));
    let keeper = children(runner.pid).into_iter().find(holds).expect("it is the runner's child");
    keeper.signal(Signal::KILL);
    assert_eq!(runner.finished(run).status(), Status::Signaled { signal: 9 });
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
    wait_until("their end", || own.iter().all(gone).then_some(()));
    assert_eq!(printed(&mut runner, "print('on')"), "on\n");
}

/// By whomever, and when a spare waits already.
#[test]
fn what_has_changed_is_imported_anew() {
    for spares in [0, 1] {
        let Some(mut runner) = with_module(spares, "changing", "import part\nvalue = part.value\n") else {
            return;
        };
        for round in 0..5 {
            // What lies in the workspace counts, listed or not.
            fs::write(runner.path("part.py"), format!("value = {round} # {}", "x".repeat(round)))
                .expect("written");
            if round == 0 {
                assert_eq!(preload(&mut runner, &["changing"], 60_000), Preloaded::Ready);
            }
            for _ in 0..2 {
                let said = printed(&mut runner, "import changing; print(changing.value)");
                assert_eq!(said, format!("{round}\n"), "with {spares} spares");
            }
        }
        server(&runner);
        let change = "open('part.py', 'w').write('value = 99 # by a block')";
        assert_eq!(printed(&mut runner, change), "");
        assert_eq!(printed(&mut runner, "import changing; print(changing.value)"), "99\n");
    }
}

#[test]
fn what_was_changed_while_it_was_imported_is_imported_anew() {
    let Some(mut runner) = with_module(1, "slow", "open(__file__, 'w').write('value = 22')\nvalue = 1\n")
    else {
        return;
    };
    assert_eq!(preload(&mut runner, &["slow"], 60_000), Preloaded::Ready);
    for _ in 0..3 {
        assert_eq!(printed(&mut runner, "import slow; print(slow.value)"), "22\n");
    }
}

#[test]
fn packages_that_a_block_installs_are_found() {
    if !Need::Python.is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let mut runner = with_spares(1).env("PYTHONPATH", folder.path()).start();
    assert_eq!(preload(&mut runner, &["json"], 60_000), Preloaded::Ready);
    let first = server(&runner);
    let install = format!("open('{}/installed.py', 'w').write('value = 1')", folder.path().display());
    assert_eq!(printed(&mut runner, &install), "");
    assert_eq!(printed(&mut runner, "import installed; print(installed.value)"), "1\n");
    wait_until("another server", || Some(server(&runner)).filter(|server| *server != first));
}

#[test]
fn a_block_with_an_environment_of_its_own_is_started_with_it() {
    let Some(mut runner) = preloaded(1, &["json"]) else { return };
    let own = RunSpec { env: vec![variable("OWN", "1")], ..python("import os; print(os.environ['OWN'])") };
    assert_eq!(runner.ran(own).status_and_stdout(), (exited(0), "1\n".into()));
    let merged = RunSpec {
        merge_streams: true,
        ..python("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    };
    assert_eq!(runner.ran(merged).status_and_stdout(), (exited(0), "out\nerr\n".into()));
}

#[test]
fn nothing_of_the_server_is_left_at_the_end() {
    let Some(mut runner) = preloaded(2, &["json"]) else { return };
    let run = runner.run(python("import time; time.sleep(3600)"));
    runner.started(run);
    assert_eq!(runner.stop(), []);
    runner.wait_for_no_survivor();
    let Some(runner) = preloaded(1, &["json"]) else { return };
    let server = server(&runner);
    runner.signal(Signal::KILL);
    wait_until("the end of the server", || (!server.runs()).then_some(()));
}
