//! Confined code: what it can't reach, each beside what it still can, and that nothing it does to the runner's helpers
//! lets a block out.

mod files;
mod helpers;
mod limits;

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use rustix::process::Signal;
use serde_bytes::ByteBuf;
use stockade_runner::wire::message::{
    Confined, Confinement, Failure, Ownership, Refusal, Reply, Request, RunSpec, Sockets,
};
use tempfile::TempDir;

use crate::harness::{
    Runner, Setup, block, exited,
    needs::{Need, python},
    processes::children,
    sh, wait_until,
};

fn paths<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Vec<ByteBuf> {
    let bytes = |path: P| ByteBuf::from(path.as_ref().as_os_str().as_bytes());
    paths.into_iter().map(bytes).collect()
}

/// What programs need to run, and the workspace to write to.
fn confinement(setup: &Setup) -> Confinement {
    let python = python().and_then(|python| python.parent()?.parent());
    let system = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/no/such/folder"];
    Confinement {
        readable: paths(system.into_iter().map(Path::new).chain(python)),
        writable: vec![setup.session.workspace.clone()],
        devices: paths(["/dev/null", "/dev/zero", "/dev/urandom"]),
        ..Confinement::default()
    }
}

/// A confined session, changed before it starts.
fn confined_as(change: impl FnOnce(&mut Confinement)) -> Setup {
    let mut setup = Setup::new();
    let mut confinement = confinement(&setup);
    change(&mut confinement);
    setup.session.confinement = Some(confinement);
    setup
}

fn confined() -> Runner {
    confined_as(|_| ()).start()
}

fn python_block(code: impl AsRef<[u8]>) -> RunSpec {
    block("python", code)
}

/// What a block printed that ended well.
#[track_caller]
fn shown(runner: &mut Runner, spec: RunSpec) -> String {
    let ran = runner.ran(spec);
    assert_eq!(ran.status(), exited(0), "{}\n{}", ran.stdout(), ran.stderr());
    ran.stdout()
}

/// A call of the kernel's by its number: what it gave, or the name of its error.
const CALLS: &str = r#"
import ctypes, errno, os, platform, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return errno.errorcode[ctypes.get_errno()] if result < 0 else "ok"
def attempt(action):
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
"#;

fn with_calls(code: &str) -> RunSpec {
    python_block(format!("{CALLS}{code}"))
}

/// A folder with a file, that is nobody's to see.
fn outside() -> TempDir {
    let folder = TempDir::with_prefix("stockade-outside-").expect("a temporary directory can be made");
    fs::write(folder.path().join("secret"), "told").expect("it is writable");
    folder
}

/// Kills some of the runner's children, by their order, and waits until it has reaped them.
fn kill(runner: &Runner, which: impl Fn(usize) -> bool) {
    let doomed: Vec<_> = children(runner.pid).into_iter().enumerate().filter(|(at, _)| which(*at)).collect();
    assert!(!doomed.is_empty());
    doomed.iter().for_each(|(_, process)| process.signal(Signal::KILL));
    let there = || children(runner.pid).iter().any(|child| doomed.iter().any(|(_, dead)| child == dead));
    wait_until("the dead to be reaped", || (!there()).then_some(()));
}

// What is told.

#[track_caller]
fn answer(setup: Setup) -> Result<Option<Confined>, (Refusal, Failure)> {
    let session = setup.session.clone();
    let mut runner = setup.connect();
    runner.send(&Request::Start(session));
    runner.wait_for("the answer", |reply| match reply {
        Reply::Ready { confined, .. } => Some(Ok(*confined)),
        Reply::StartFailed { refusal, failure } => Some(Err((*refusal, failure.clone()))),
        _ => None,
    })
}

#[test]
fn the_host_is_told_what_confines_the_code() {
    if !Need::Landlock.is_there() {
        return;
    }
    assert_eq!(answer(Setup::new()), Ok(None));
    let confined = answer(confined_as(|_| ())).expect("it starts").expect("it was asked for");
    assert!(confined.landlock.is_some_and(|version| version >= 6), "{confined:?}");
    assert_eq!((confined.scopes, confined.seccomp), (true, true));
}

#[test]
fn what_can_not_be_confined_does_not_start() {
    let relative = confined_as(|confinement| confinement.readable = paths(["etc"]));
    let (refusal, failure) = answer(relative).expect_err("it is refused");
    assert_eq!(refusal, Refusal::Confinement);
    assert_eq!(failure.to_string(), "failed to confine the code: etc is not an absolute path");
    if !Need::Root.is_there() {
        return;
    }
    let mut as_other = confined_as(|_| ());
    as_other.session.user = Some("51234:51235".to_owned());
    as_other.session.ownership = Ownership::User;
    let (refusal, failure) = answer(as_other).expect_err("it is refused");
    assert_eq!(refusal, Refusal::Confinement);
    assert!(failure.why.contains("as another user"), "{failure}");
    let mut as_itself = confined_as(|_| ());
    as_itself.session.user = Some("0:0".to_owned());
    assert!(answer(as_itself).expect("root is the runner's own user").is_some());
}

// Other processes.

#[test]
fn the_runner_and_its_host_are_not_signaled_and_another_blocks_process_is() {
    if !Need::Landlock.is_there() {
        return;
    }
    let mut runner = confined();
    let left = shown(&mut runner, sh("sleep 987 > /dev/null 2>&1 & echo $!"));
    let test = std::process::id();
    for outsider in [runner.pid, test] {
        let code = format!("kill -0 {outsider} 2> /dev/null || echo denied");
        assert_eq!(shown(&mut runner, sh(&code)), "denied\n");
        assert_eq!(shown(&mut Runner::start(), sh(&code)), "");
    }
    assert_eq!(shown(&mut runner, sh(format!("kill {left}"))), "");
    runner.wait_for_no_survivor();
}

#[test]
fn other_processes_are_neither_looked_into_nor_traced_and_own_ones_are() {
    if !Need::Landlock.is_there() {
        return;
    }
    const ATTACH: i32 = 16;
    let look = |pid: u32| {
        with_calls(&format!(
            r#"
look = lambda pid: [attempt(lambda: open(f"/proc/{{pid}}/{{name}}").read()) for name in ("environ", "maps")]
print(*look({pid}), libc.ptrace({ATTACH}, {pid}, None, None))
child = os.fork()
if child == 0:
    signal.pause()
print(*look(child), libc.ptrace({ATTACH}, child, None, None))
os.kill(child, signal.SIGKILL)
"#
        ))
    };
    let mut runner = confined();
    let (runner_pid, test) = (runner.pid, std::process::id());
    for outsider in [runner_pid, test] {
        assert_eq!(shown(&mut runner, look(outsider)), "EACCES EACCES -1\nok ok 0\n");
    }
    // Unconfined, this test at least is as open as any process of its user.
    assert!(
        shown(
            &mut Runner::start(),
            python_block(format!("print(len(open('/proc/{test}/environ').read()) > 0)"))
        )
        .starts_with("True")
    );
}

#[test]
fn limits_of_other_processes_are_not_set_and_own_ones_are() {
    if !Need::Landlock.is_there() {
        return;
    }
    let mut runner = confined();
    let code = format!(
        "import resource\n\
         files = resource.getrlimit(resource.RLIMIT_NOFILE)\n\
         resource.setrlimit(resource.RLIMIT_NOFILE, (64, files[1]))\n\
         print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n\
         print(resource.prlimit({pid}, resource.RLIMIT_CORE) is not None)\n\
         try:\n    resource.prlimit({pid}, resource.RLIMIT_CPU, (1, 1))\n\
         except PermissionError:\n    print('denied')",
        pid = runner.pid
    );
    assert_eq!(shown(&mut runner, python_block(code)), "64\nTrue\ndenied\n");
}

// Privileges.

#[test]
fn there_is_no_capability_and_no_way_to_get_one() {
    if !Need::Landlock.is_there() {
        return;
    }
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    let none = "0000000000000000";
    let rest = format!("CapInh:{none} CapPrm:{none} CapEff:{none}");
    let found = shown(&mut confined(), sh(status));
    assert!(found.starts_with(&rest), "{found}");
    assert!(found.contains(&format!("CapAmb:{none} NoNewPrivs:1 Seccomp:2")), "{found}");
    if Need::Root.is_there() {
        assert!(found.contains(&format!("CapBnd:{none}")), "{found}");
    }
    assert!(shown(&mut Runner::start(), sh(status)).contains("NoNewPrivs:0"));
}

#[test]
fn bits_that_lend_a_users_rights_are_not_set() {
    if !Need::Landlock.is_there() {
        return;
    }
    let code = r#"
open("file", "w").close()
print(*(attempt(lambda: os.chmod("file", mode)) for mode in (0o4755, 0o2755, 0o755, 0o700)))
os.umask(0)
make = lambda name, mode: attempt(lambda: os.open(name, os.O_CREAT | os.O_WRONLY, mode))
print(make("made", 0o4755), make("other", 0o755), oct(os.stat("other").st_mode)[-4:], os.path.exists("made"))
print(call(452, -100, 0, 0o4755, 0), call(437, -100, 0, 0, 0))
"#;
    let expected = "EPERM EPERM ok ok\nEPERM ok 0755 False\nEPERM ENOSYS\n";
    assert_eq!(shown(&mut confined(), with_calls(code)), expected);
}

#[test]
fn namespaces_are_not_made_and_all_kinds_of_processes_are() {
    if !Need::Landlock.is_there() {
        return;
    }
    let mut runner = confined();
    let code = r#"
NEWUSER = 0x10000000
print(attempt(lambda: os.unshare(NEWUSER)) if hasattr(os, "unshare") else call(272, NEWUSER))
print(call(435, 0, 0), call(425, 1, 0), call(321, 0, 0, 0) if platform.machine() == "x86_64" else "EPERM")
if platform.machine() == "x86_64":
    print(call(56, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0), call(20 | 0x40000000))
else:
    print("EPERM ENOSYS")
"#;
    assert_eq!(shown(&mut runner, with_calls(code)), "EPERM\nENOSYS ENOSYS EPERM\nEPERM ENOSYS\n");
    let code = r#"
import asyncio, multiprocessing, subprocess, threading
done = []
threads = [threading.Thread(target=done.append, args=(number,)) for number in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(sorted(done), subprocess.run(["sh", "-c", "echo child"], capture_output=True).stdout)
ours, theirs = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=theirs.send, args=("sent",))
process.start(), process.join()
print(ours.recv())
async def echo():
    process = await asyncio.create_subprocess_exec("echo", "async", stdout=asyncio.subprocess.PIPE)
    return await process.communicate()
print(asyncio.run(echo())[0])
"#;
    assert_eq!(shown(&mut runner, python_block(code)), "[0, 1, 2, 3] b'child\\n'\nsent\nb'async\\n'\n");
}

// Sockets.

#[test]
fn sockets_are_those_that_were_asked_for() {
    if !Need::Landlock.is_there() {
        return;
    }
    let code = r#"
families = [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_VSOCK, 38]
kind = lambda family: socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM
print(*(attempt(lambda: socket.socket(family, kind(family))) for family in families[:4]))
print(*(attempt(lambda: socket.socket(family, socket.SOCK_SEQPACKET)) for family in families[4:]))
print(attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)))
pair = lambda kind: attempt(lambda: socket.socketpair(socket.AF_UNIX, kind))
print(*(pair(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)))
"#;
    let no = "EACCES";
    for (sockets, expected) in [
        (Sockets::Pairs, format!("{no} {no} {no} {no}\n{no} {no}\n{no}\nok ok {no}\n")),
        (Sockets::Internet, format!("{no} ok ok ok\n{no} {no}\n{no}\nok ok {no}\n")),
        (Sockets::Local, format!("ok ok ok ok\n{no} {no}\n{no}\nok ok ok\n")),
    ] {
        let mut runner = confined_as(|confinement| confinement.sockets = sockets).start();
        assert_eq!(shown(&mut runner, with_calls(code)), expected, "{sockets:?}");
    }
}

#[test]
fn a_port_of_this_machine_is_reached_where_the_internet_was_asked_for() {
    if !Need::Landlock.is_there() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let code = format!("print(attempt(lambda: socket.create_connection(('127.0.0.1', {port}))))");
    for (sockets, expected) in [(Sockets::Pairs, "EACCES\n"), (Sockets::Internet, "ok\n")] {
        let mut runner = confined_as(|confinement| confinement.sockets = sockets).start();
        assert_eq!(shown(&mut runner, with_calls(&code)), expected, "{sockets:?}");
    }
}
