//! What code can use up of this host where limits were asked for, at both levels; a container's limits are the daemon's
//! to hold, and tested in `tests/docker`. Each limit is beside the same code without it.

use std::time::Duration;

use stockade::{Sandbox, Session, Status};

use crate::{
    place::{self, Place, is_root},
    support::{need, outcome, output, patiently, python},
    user,
};

/// Runs code at each level: with the limit it must print the first, without it the second.
fn limited(limit: impl Fn(Sandbox) -> Sandbox, code: &str, held: &str, free: &str) {
    let said = async |session: &Session| output(session, python(code)).await;
    at_each_level(async |sandbox| {
        let session = place::start(limit(sandbox.clone())).await;
        assert_eq!(said(&session).await.trim(), held, "{sandbox:?}");
        session.stop().await.expect("it stops");
        let session = place::start(sandbox).await;
        assert_eq!(said(&session).await.trim(), free);
        session.stop().await.expect("it stops");
    });
}

fn at_each_level(run: impl AsyncFn(Sandbox)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for place in [Place::Namespaces, Place::Landlock] {
        if place.is_there() {
            let level = place.level().expect("a level of the sandbox");
            runtime.block_on(patiently("a session with limits", run(Sandbox::default().level(level))));
        }
    }
}

/// Limits of all processes together need a control group, which only root can make everywhere.
fn has_groups() -> bool {
    need::has("root", is_root(), "who is not root has no control groups")
}

#[test]
fn files_are_not_opened_without_end() {
    let code = "try:\n    files = [open('/dev/null') for _ in range(200)]\n    print('REACHED')\n\
                except OSError as error:\n    print(error.strerror)";
    user::each("exhaustion::files_are_not_opened_without_end", || {
        limited(|sandbox| sandbox.open_files(64), code, "Too many open files", "REACHED");
    });
}

#[test]
fn a_file_does_not_grow_without_end() {
    let code = "try:\n    open('large', 'wb').write(bytes(2 << 20))\n    print('REACHED')\n\
                except OSError as error:\n    print(error.strerror)";
    user::each("exhaustion::a_file_does_not_grow_without_end", || {
        limited(|sandbox| sandbox.file_size(1 << 20), code, "File too large", "REACHED");
    });
}

#[test]
fn no_process_takes_processors_without_end() {
    let code = "import time\nwhile time.process_time() < 1.3:\n    pass\nprint('REACHED')";
    at_each_level(async |sandbox| {
        let session = place::start(sandbox.clone().cpu_time(Duration::from_secs(1))).await;
        let ended = outcome(&session, python(code)).await;
        assert_eq!((ended.status, ended.stdout.text().as_ref()), (Status::Signaled, ""));
        assert_eq!(output(&session, python("print('more')")).await, "more\n");
        session.stop().await.expect("it stops");
        let session = place::start(sandbox).await;
        assert_eq!(output(&session, python(code)).await, "REACHED\n");
        session.stop().await.expect("it stops");
    });
}

#[test]
fn processes_do_not_multiply_without_end() {
    let code = "import os, signal\nchildren = []\ntry:\n    while len(children) < 100:\n        child = os.fork()\n        \
                if child == 0:\n            signal.pause()\n        children.append(child)\n    print('REACHED')\n\
                except BlockingIOError as error:\n    print(error.strerror)\n\
                for child in children:\n    os.kill(child, 9)";
    if has_groups() {
        limited(|sandbox| sandbox.pids_limit(32), code, "Resource temporarily unavailable", "REACHED");
    }
}

#[test]
fn processes_that_leave_their_parents_count_too() {
    let code = "import os, signal\ncount, told = 0, os.pipe()\ntry:\n    while count < 100:\n        \
                if os.fork() == 0:\n            os.setsid()\n            try:\n                \
                os.write(told[1], b'x' if os.fork() else b'')\n            except BlockingIOError:\n                \
                os.write(told[1], b'!')\n            signal.pause()\n        count += 1\n        \
                if os.read(told[0], 1) == b'!':\n            raise BlockingIOError(11, 'no more')\n    print('REACHED')\n\
                except BlockingIOError:\n    print('no more')";
    if has_groups() {
        limited(|sandbox| sandbox.pids_limit(32), code, "no more", "REACHED");
    }
}

#[test]
fn memory_is_not_taken_without_end() {
    if !has_groups() {
        return;
    }
    let code = "taken = bytearray(200 << 20)\nprint('REACHED')";
    at_each_level(async |sandbox| {
        let session = place::start(sandbox.clone().memory(64 << 20)).await;
        let ended = outcome(&session, python(code)).await;
        assert_eq!((ended.status, ended.stdout.text().as_ref()), (Status::OutOfMemory, ""));
        assert_eq!(output(&session, python("print('more')")).await, "more\n");
        session.stop().await.expect("it stops");
        let session = place::start(sandbox).await;
        assert_eq!(output(&session, python(code)).await, "REACHED\n");
        session.stop().await.expect("it stops");
    });
}
