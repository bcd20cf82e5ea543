//! Code in the container that is out for its runner: it is the container's root, and does not get at the runner's
//! memory, descriptors or executable, can't freeze it, and can't speak on its wire. Each attempt is made on a process
//! of the code's own too, where it succeeds.

use std::time::Duration;

use stockade::{CodeBlock, DockerCommandLineCodeExecutorBuilder, Error, Session, Status, WorkspaceMode};

use crate::{
    engine::{builder, container, gone, start},
    leftovers::Name,
    support::{Mark, Running, outcome, output, python, sh},
};

/// Defines `attempts(pid)`, which tells of everything that was tried on a process whether it was refused.
const ATTEMPTS: &str = r"
import ctypes, errno, os, signal, sys

libc = ctypes.CDLL(None, use_errno=True)

def call(function, *arguments):
    ctypes.set_errno(0)
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def open_at(path, flags):
    def attempt():
        os.close(os.open(path, flags))
    return attempt

def read(path):
    def attempt():
        with open(path, 'rb') as file:
            if not file.read(1):
                raise OSError(errno.EPERM, 'it is empty')
    return attempt

class Part(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]

def transfer(function, pid, address):
    def attempt():
        buffer = ctypes.create_string_buffer(b'12345678')
        here = Part(ctypes.addressof(buffer), 8)
        there = Part(address, 8)
        call(function, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return attempt

def each_descriptor(at):
    def attempt():
        refused = None
        # How many there are may be seen, for the list is a directory of root's.
        for number in os.listdir(at + 'fd'):
            try:
                os.close(os.open(f'{at}fd/{number}', os.O_RDWR | os.O_NONBLOCK))
                return
            except OSError as error:
                refused = error
        raise refused
    return attempt

def trace(request, pid):
    def attempt():
        try:
            call(libc.ptrace, request, pid, None, None)
        finally:
            # Where it was let in, it lets go again.
            os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, os.WUNTRACED) if request == 16 else None
        call(libc.ptrace, 17, pid, None, None) if request == 16 else None
    return attempt

target = ctypes.create_string_buffer(b'abcdefgh')

def attempts(pid):
    at = f'/proc/{pid}/'
    tried = {
        'mem': open_at(at + 'mem', os.O_RDONLY),
        'mem to write': open_at(at + 'mem', os.O_RDWR),
        'environ': read(at + 'environ'),
        'maps': read(at + 'maps'),
        'auxv': read(at + 'auxv'),
        'exe': lambda: os.readlink(at + 'exe'),
        'exe to read': open_at(at + 'exe', os.O_RDONLY),
        'cwd': lambda: os.readlink(at + 'cwd'),
        'root': lambda: os.listdir(at + 'root'),
        'descriptors': each_descriptor(at),
        'descriptors told': lambda: os.listdir(at + 'fdinfo'),
        'vm_readv': transfer(libc.process_vm_readv, pid, ctypes.addressof(target)),
        'vm_writev': transfer(libc.process_vm_writev, pid, ctypes.addressof(target)),
        'attach': trace(16, pid),
        'seize': trace(0x4206, pid),
    }
    for name, attempt in tried.items():
        try:
            attempt()
            print(pid, name, 'succeeded')
        except OSError as error:
            is_refusal = error.errno in (errno.EPERM, errno.EACCES)
            print(pid, name, 'refused' if is_refusal else f'failed: {error}')
";

/// Everything of Stockade's that runs in the container: this block is alone, so it is whoever else there is.
const ON_EACH_OTHER: &str = "
others = [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and int(pid) != os.getpid()]
assert 1 in others and os.getppid() in others and len(others) >= 3, others
for pid in others: attempts(pid)
";

const ON_A_CHILD: &str = "
ready, up = os.pipe()
child = os.fork()
if child == 0:
    os.write(up, b'.')
    while True: signal.pause()
os.read(ready, 1)
attempts(child)
os.kill(child, signal.SIGKILL)
";

/// How many attempts `ATTEMPTS` makes.
const COUNT: usize = 15;
/// How many of them some engines' filter of system calls refuses.
const FILTERED: usize = 2;

fn attempts(on: &str) -> CodeBlock {
    python(format!("{ATTEMPTS}{on}"))
}

async fn assert_out_of_reach(session: &Session) {
    let printed = output(session, attempts(ON_EACH_OTHER)).await;
    let (refused, others): (Vec<_>, Vec<_>) = printed.lines().partition(|line| line.ends_with(" refused"));
    assert_eq!(others, Vec::<&str>::new());
    assert!(refused.len() >= 3 * COUNT && refused.contains(&"1 mem refused"), "{printed}");
    assert!(assert_reaches_a_child(session).await >= COUNT - FILTERED);
}

/// On a process of its own nothing fails, though some may be refused to everybody. Gives how many succeed.
async fn assert_reaches_a_child(session: &Session) -> usize {
    let printed = output(session, attempts(ON_A_CHILD)).await;
    assert!(!printed.contains(" failed"), "{printed}");
    printed.lines().filter(|line| line.ends_with(" succeeded")).count()
}

async fn assert_goes_on(session: &Session) {
    let block = outcome(session, sh("echo out; echo err >&2; exit 3")).await;
    assert_eq!((block.status, block.exit_code), (Status::Exited, 3));
    assert_eq!((block.stdout.text().as_ref(), block.stderr.text().as_ref()), ("out\n", "err\n"));
}

#[tokio::test]
async fn root_in_the_container_gets_at_nothing_of_the_runner() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    assert_out_of_reach(&session).await;
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn root_gets_at_nothing_of_the_runner_without_a_filter_of_system_calls() {
    let Some(builder) = builder() else { return };
    let session = start(builder.security_opt("seccomp=unconfined")).await;
    assert_out_of_reach(&session).await;
    assert_eq!(assert_reaches_a_child(&session).await, COUNT);
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn another_user_gets_at_nothing_of_the_runner() {
    let Some(builder) = builder() else { return };
    let session = start(builder.user("nobody")).await;
    assert_eq!(output(&session, sh("id -un")).await, "nobody\n");
    assert_out_of_reach(&session).await;
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_session_whose_code_may_trace_needs_a_user_of_its_own() {
    let Some(builder) = builder() else { return };
    let name = Name::of_container();
    let may_trace = |builder: DockerCommandLineCodeExecutorBuilder| builder.cap_add("SYS_PTRACE");
    let refused =
        may_trace(builder.clone()).container_name(name.as_str()).build().expect("the options are valid");
    let error = refused.start().await.expect_err("the code could look into the runner");
    assert!(matches!(&error, Error::InvalidOption { option: "cap_add", .. }), "{error:?}");
    assert!(error.to_string().contains("choose a `user` that is not root"), "{error}");
    gone(name.as_str()).await;

    let session = start(may_trace(builder).user("nobody")).await;
    assert_out_of_reach(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn no_signal_from_the_code_stops_or_ends_the_runner() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    // TERM, INT and HUP ask it to end, and a block may end its session.
    let flood = "
import os, signal
polite = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
for number in sorted(set(range(1, 65)) - polite):
    try:
        for _ in range(2000): os.kill(1, number)
    except OSError: pass
print('sent')";
    assert_eq!(output(&session, python(flood)).await, "sent\n");
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_block_that_ends_its_session_ends_nothing_else() {
    let Some(builder) = builder() else { return };
    let (session, other) = tokio::join!(start(builder.clone()), start(builder));
    let ended = session.call(vec![sh("kill -TERM 1; sleep 600")]).run().await.expect_err("it is over");
    assert!(matches!(ended, Error::SessionEnded { .. }), "{ended:?}");
    gone(&container(&session)).await;
    assert_goes_on(&other).await;
    other.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_block_that_stops_its_keeper_ends_by_its_deadline() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let code = "kill -STOP $PPID; echo stopped; sleep 600";
    let call = session.call(vec![sh(code)]).timeout(Duration::from_secs(2));
    let result = call.run().await.expect("the runner holds the deadline");
    assert_eq!(
        (result.blocks[0].status, result.blocks[0].stdout.text().as_ref()),
        (Status::TimedOut, "stopped\n")
    );
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn the_code_finds_neither_a_terminal_nor_the_runners_file_nor_a_socket_of_it() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let look = "
import os
print('files', os.listdir('/run/.stockade'))
named = [line.split() for line in open('/proc/net/unix').read().splitlines()[1:]]
print('sockets', [line[7] for line in named if len(line) > 7])
for path in '/dev/tty', '/dev/console', '/dev/stdin':
    try:
        print(path, os.isatty(os.open(path, os.O_RDWR | os.O_NOCTTY)))
    except OSError:
        print(path, False)";
    let expected = "files []\nsockets []\n/dev/tty False\n/dev/console False\n/dev/stdin False\n";
    assert_eq!(output(&session, python(look)).await, expected);
    // What the code puts in the runner's place is of no effect.
    let replace = "printf '#!/bin/sh\\necho hostile\\n' >/run/.stockade/runner; chmod 755 /run/.stockade/runner\n\
                   ln -sf /run/.stockade/runner /run/.stockade/host.sock; ls /run/.stockade";
    assert_eq!(output(&session, sh(replace)).await, "host.sock\nrunner\n");
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_the_code_writes_never_gets_onto_the_wire() {
    let Some(builder) = builder() else { return };
    let session = start(builder).await;
    let mut frames = Vec::new();
    for length in [0_u32, 1, 4, u32::MAX] {
        frames.extend_from_slice(&length.to_le_bytes());
        frames.extend_from_slice(&[0; 64]);
    }
    session.put_file("frames", &frames).await.expect("it is saved");
    let code = "
import os
frames = open('frames', 'rb').read()
written = []
for number in range(64):
    try:
        os.write(number, frames)
        written.append(number)
    except OSError: pass
os.write(1, repr(written).encode())";
    let block = outcome(&session, python(code)).await;
    // It has nothing but an empty stdin and two pipes of its own.
    assert_eq!(block.stdout.as_bytes(), [frames.as_slice(), b"[0, 1, 2]"].concat());
    assert_eq!(block.stderr.as_bytes(), frames);
    assert_goes_on(&session).await;
    session.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_session_sees_neither_the_processes_nor_the_files_of_another() {
    let Some(builder) = builder() else { return };
    let (session, other) =
        tokio::join!(start(builder.clone()), start(builder.workspace(WorkspaceMode::Copy)));
    let mark = Mark::new();
    let code = "echo secret >/tmp/secret; echo secret >secret; echo ready; sleep 600";
    let running = session.call(vec![sh(code)]).env(mark.name(), mark.value());
    let running = Running::until(running, "ready").await;
    mark.count_inside(&session, 2).await;
    assert_eq!(mark.seen_inside(&other).await, Vec::<String>::new());
    let look = "ls /tmp/secret secret 2>/dev/null | wc -l";
    assert_eq!(output(&session, sh(look)).await.trim(), "2");
    assert_eq!(output(&other, sh(look)).await.trim(), "0");
    drop(running);
    session.stop().await.expect("it stops");
    other.stop().await.expect("it stops");
}
