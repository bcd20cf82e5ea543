//! What one session leaves another does not find: neither beside it nor after it. A later block of the same session
//! does.

use stockade::{CodeBlock, Session};

use crate::{
    honeypot::Honeypot,
    place::Place,
    support::{Mark, output, patiently, python},
    user,
};

/// Leaves something wherever that is possible. `MARK` is a text that nobody else uses.
const LEAVE: &str = r"
import ctypes, os, socket, subprocess, sys, tempfile, zlib

libc = ctypes.CDLL(None)
KEY = zlib.crc32(MARK.encode()) | 1
for folder in {os.path.expanduser('~'), tempfile.gettempdir(), '/tmp', '/var/tmp', '/dev/shm', '.'}:
    try:
        open(f'{folder}/{MARK}', 'x').close()
    except OSError:
        pass
libc.shmget(KEY & 0x7fffffff, 64, 0o3600)
libc.mq_open(f'/{MARK}'.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
stay = '''
import os, socket, sys
try:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('\\0' + os.environ['LEFT'])
    listener.listen()
except OSError:
    pass
print('ready', flush=True)
os.dup2(os.open(os.devnull, os.O_RDWR), 1)
import signal
signal.pause()
'''
stays = subprocess.Popen([sys.executable, '-c', stay], env={**os.environ, 'LEFT': MARK}, stdout=subprocess.PIPE, start_new_session=True)
stays.stdout.readline()
";

/// Prints in words what it finds of that.
const LOOK: &str = r"
import ctypes, os, socket, tempfile, zlib

libc = ctypes.CDLL(None)
KEY = zlib.crc32(MARK.encode()) | 1
found = set()
for folder in {os.path.expanduser('~'), tempfile.gettempdir(), '/tmp', '/var/tmp', '/dev/shm', '.'}:
    if os.path.exists(f'{folder}/{MARK}'):
        found.add('files')
if libc.shmget(KEY & 0x7fffffff, 0, 0) != -1:
    found.add('memory')
if libc.mq_open(f'/{MARK}'.encode(), os.O_RDWR) != -1:
    found.add('queue')
try:
    socket.socket(socket.AF_UNIX).connect('\0' + MARK)
    found.add('socket')
except OSError:
    pass
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        if f'LEFT={MARK}'.encode() in open(f'/proc/{pid}/environ', 'rb').read().split(b'\0'):
            found.add('process')
    except OSError:
        pass
print(*sorted(found))
";

fn block(mark: &Mark, code: &str) -> CodeBlock {
    python(format!("MARK = 'stockade-{}'\n{code}", mark.value()))
}

/// `left` is all that can be left in that place.
fn leave(place: Place, left: &str) {
    if !place.is_there() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(patiently("both sessions", async {
        let honeypot = Honeypot::new();
        let start = || place.start(honeypot.path("SHOWN_FOLDER"), honeypot.path("GRANTED"));
        let mark = Mark::new();
        let found = async |session: &Session| output(session, block(&mark, LOOK)).await.trim().to_owned();
        let (first, beside) = (start().await, start().await);
        output(&first, block(&mark, LEAVE)).await;
        assert_eq!(found(&first).await, left);
        assert_eq!(found(&beside).await, "");
        first.stop().await.expect("it stops");
        let after = start().await;
        assert_eq!((found(&beside).await, found(&after).await), (String::new(), String::new()));
        for session in [beside, after] {
            session.stop().await.expect("it stops");
        }
        assert_eq!(honeypot.touched(), [""; 0]);
    }));
}

/// Landlock knows no place where a named queue could be.
#[test]
fn a_session_finds_nothing_of_another_in_namespaces() {
    user::each("leftovers::a_session_finds_nothing_of_another_in_namespaces", || {
        leave(Place::Namespaces, "files memory process socket");
    });
}

/// Nor are there sockets with names, and objects that others could find.
#[test]
fn a_session_finds_nothing_of_another_with_landlock() {
    user::each("leftovers::a_session_finds_nothing_of_another_with_landlock", || {
        leave(Place::Landlock, "files process");
    });
}

#[test]
fn a_session_finds_nothing_of_another_in_containers() {
    leave(Place::Docker, "files memory process queue socket");
}
