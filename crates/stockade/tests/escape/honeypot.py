# Makes what attempts to get out aim at, in a folder and beside it, and prints their names. At a line of input, or the
# end of it, it prints what was done to them, and removes what the kernel would keep.

import atexit, ctypes, glob, json, os, pwd, resource, select, shutil, signal, socket, stat, sys, tempfile

base = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
os.chdir('/')
os.umask(0o022)
os.chmod(base, 0o755)


def made(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def file(path, mode=0o644, text='honey'):
    with open(path, 'x') as new:
        new.write(text)
    os.chmod(path, mode)
    return path


def folder(name):
    path = f'{base}/{name}'
    os.mkdir(path)
    return path


# Files.
hidden, shown, granted = folder('hidden'), folder('shown'), folder('granted')
secret = file(f'{hidden}/secret', 0o600)
program = file(f'{hidden}/program', 0o755, '#!/bin/sh\nexit 0\n')
os.mkdir(f'{hidden}/deep')
file(f'{shown}/file')
set_user = shutil.copy(shutil.which('id'), f'{shown}/set-user')
if os.geteuid() == 0:
    os.chown(set_user, 65532, -1)
os.chmod(set_user, 0o4755)
temporary = []
for place in '/tmp', '/dev/shm':
    temporary.append(file(f'{tempfile.mkdtemp(dir=place)}/secret', 0o600))


def remove_temporary():
    for path in temporary:
        if os.path.exists(path):
            os.unlink(path)
        os.rmdir(os.path.dirname(path))


atexit.register(remove_temporary)

# A process to be signaled and looked into. It holds back signals, which stay to be seen.
memory = ctypes.create_string_buffer(b'honey', 64)
ready, is_ready = os.pipe()
victim = os.fork()
if victim == 0:
    libc.prctl(1, signal.SIGKILL)
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.write(is_ready, b'.')
    while True:
        signal.pause()
os.read(ready, 1)
atexit.register(lambda: os.kill(victim, signal.SIGKILL))


def state_of_victim():
    status = dict(line.split(':', 1) for line in open(f'/proc/{victim}/status'))
    with open(f'/proc/{victim}/mem', 'rb') as all_memory:
        all_memory.seek(ctypes.addressof(memory))
        text = all_memory.read(5).decode()
    return {
        'end or stop': status['State'].strip()[0] in 'TtZX',
        'signals': status['SigPnd'].strip() + status['ShdPnd'].strip(),
        'traced by': status['TracerPid'].strip(),
        'priority': os.getpriority(os.PRIO_PROCESS, victim),
        'processors': sorted(os.sched_getaffinity(victim)),
        'scheduler': os.sched_getscheduler(victim),
        'limit': resource.prlimit(victim, resource.RLIMIT_CORE),
        'score': open(f'/proc/{victim}/oom_score_adj').read().strip(),
        'memory': text,
    }


# Objects of the kernel's.
key = int.from_bytes(os.urandom(3), 'little') | 0x40000000
CREATE = 0o3600
shared = made(libc.shmget(key, 4096, CREATE))
atexit.register(lambda: libc.shmctl(shared, 0, None))
semaphore = made(libc.semget(key, 1, CREATE))
atexit.register(lambda: libc.semctl(semaphore, 0, 0))
messages = made(libc.msgget(key, CREATE))
atexit.register(lambda: libc.msgctl(messages, 0, None))
libc.shmat.restype = ctypes.c_void_p
attached = libc.shmat(shared, None, 0)
ctypes.memmove(attached, b'honey', 5)
queue = f'stockade-test-{os.getpid()}'
made(libc.mq_open(f'/{queue}'.encode(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, None))
atexit.register(lambda: libc.mq_unlink(f'/{queue}'.encode()))

# Sockets. Who connects is not accepted, and waits where he is seen.
listeners = {}


def listen(name, family, kind, address):
    listener = socket.socket(family, kind)
    listener.bind(address)
    if kind != socket.SOCK_DGRAM:
        listener.listen(128)
    listeners[name] = listener
    return address


def port(name, family, kind, address):
    try:
        listen(name, family, kind, (address, 0))
    except OSError:
        return None
    return listeners[name].getsockname()[1]


STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
abstract = f'stockade-test-{os.getpid()}-{os.urandom(4).hex()}'
names = {
    'HIDDEN': hidden, 'SECRET': secret, 'PROGRAM': program, 'SHOWN_FOLDER': shown, 'SHOWN': f'{shown}/file',
    'GRANTED': granted, 'SET_USER': set_user, 'IN_TMP': temporary[0], 'IN_SHM': temporary[1],
    'VICTIM': victim, 'ADDRESS': ctypes.addressof(memory),
    'KEY': key, 'MEMORY': shared, 'QUEUE': queue,
    'STREAM': listen('STREAM', socket.AF_UNIX, STREAM, f'{hidden}/stream'),
    'DATAGRAM': listen('DATAGRAM', socket.AF_UNIX, DATAGRAM, f'{hidden}/datagram'),
    'PACKETS': listen('PACKETS', socket.AF_UNIX, socket.SOCK_SEQPACKET, f'{hidden}/packets'),
    'SHOWN_STREAM': listen('SHOWN_STREAM', socket.AF_UNIX, STREAM, f'{shown}/stream'),
    'ABSTRACT_STREAM': listen('ABSTRACT_STREAM', socket.AF_UNIX, STREAM, f'\0{abstract}-s')[1:],
    'ABSTRACT_DATAGRAM': listen('ABSTRACT_DATAGRAM', socket.AF_UNIX, DATAGRAM, f'\0{abstract}-d')[1:],
    'TCP': port('TCP', socket.AF_INET, STREAM, '127.0.0.1'),
    'TCP6': port('TCP6', socket.AF_INET6, STREAM, '::1'),
    'UDP': port('UDP', socket.AF_INET, DATAGRAM, '127.0.0.1'),
    'HOMES': [user.pw_dir for user in pwd.getpwall()
              if user.pw_dir.startswith(('/home/', '/root')) and user.pw_dir != os.environ.get('HOME')] + [hidden],
    'BLOCKS': [path for path in glob.glob('/dev/*') if stat.S_ISBLK(os.lstat(path).st_mode)],
}


def private():
    """Settings of the system that not every user may read."""
    for directory, _, files in os.walk('/etc'):
        for path in (f'{directory}/{name}' for name in files):
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and not mode & 0o004:
                yield path


names['PRIVATE'] = ['/etc/shadow', *private()]


def tree():
    """All that is there, but for what may be changed."""
    found = {}
    for directory, folders, files in os.walk(base):
        folders[:] = [name for name in folders if f'{directory}/{name}' != granted]
        for path in [directory] + [f'{directory}/{name}' for name in files]:
            status = os.lstat(path)
            text = open(path, 'rb').read(64).hex() if stat.S_ISREG(status.st_mode) else None
            found[path] = [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, text, os.listxattr(path)]
    for path in temporary:
        found[path] = [open(path).read(), os.lstat(path).st_mode]
    return found


def set_ids():
    for directory, _, files in os.walk(granted):
        for name in files:
            if os.lstat(f'{directory}/{name}').st_mode & 0o6000:
                yield f'{directory}/{name} has a bit of a set user or group'


def touched():
    told = []
    now, victim_now = tree(), state_of_victim()
    for path in {*before, *now}:
        if before.get(path) != now.get(path):
            told.append(f'{path} was {before.get(path)} and is {now.get(path)}')
    for name, value in victim_before.items():
        if victim_now[name] != value:
            told.append(f'the {name} of the process was {value} and is {victim_now[name]}')
    readable, _, _ = select.select(list(listeners.values()), [], [], 0)
    told += [f'somebody reached {name}' for name, listener in listeners.items() if listener in readable]
    if ctypes.string_at(attached, 5) != b'honey':
        told.append('the shared memory was changed')
    if not all(found == made_before for found, made_before in (
            (libc.shmget(key, 0, 0), shared), (libc.semget(key, 0, 0), semaphore), (libc.msgget(key, 0), messages))):
        told.append('an object of System V was removed')
    if libc.mq_open(f'/{queue}'.encode(), os.O_RDWR) == -1:
        told.append('the queue was removed')
    return told + list(set_ids())


before, victim_before = tree(), state_of_victim()
print(json.dumps(names), flush=True)
told = []
while True:
    readable, _, _ = select.select([sys.stdin, listeners['UDP']], [], [])
    if listeners['UDP'] in readable:
        text, whose = listeners['UDP'].recvfrom(64)
        told.append(f'somebody sent {text} to UDP')
        listeners['UDP'].sendto(b'answer', whose)
    elif sys.stdin in readable:
        break
line = sys.stdin.readline()
if line:
    print(json.dumps(told + touched()), flush=True)
