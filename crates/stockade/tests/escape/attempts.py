# What attempts are written with, and what makes them: each in a process of its own, for it may end or change that.
# `NAMES`, `CALLS` and `ROWS` are set above, and `HERE` is the workspace.

import ctypes, errno, fcntl, json, os, resource, signal, socket, stat, struct, subprocess, sys, termios

libc = ctypes.CDLL(None, use_errno=True)
HERE = os.getcwd()
# The program above a block, and the one above that.
KEEPER = os.getppid()
RUNNER = int(open(f'/proc/{KEEPER}/stat').read().rpartition(')')[2].split()[1])
# Descriptors that a block could have been left.
INHERITED = [number for number in range(3, 1024)]
TEXT = ctypes.create_string_buffer(b'text', 64)
globals().update(NAMES)


class Denied(Exception):
    """Several things, by several errors."""

    def __init__(self, names):
        super().__init__(' '.join(sorted(names)))


class Absent(Exception):
    """Nothing to aim at."""


def name_of(error):
    if isinstance(error, socket.gaierror):
        return 'EAI'
    return errno.errorcode.get(error.errno, str(error.errno))


def none_of(things, act):
    """Whether nothing works for any of them."""
    names = set()
    for thing in things:
        try:
            act(thing)
            return
        except OSError as error:
            names.add(name_of(error))
    raise Denied(names)


def answered(call, *arguments):
    """Any answer but that it is not allowed."""
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise


def known(call, *arguments):
    """Any answer but that there is no such call."""
    try:
        return call(*arguments)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise


def made(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def kernel(name, *arguments):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    libc.syscall.restype = ctypes.c_long
    return made(libc.syscall(ctypes.c_long(CALLS[name]), *words))


# Files.
counted = iter(range(1_000_000))


def fresh():
    return f'{HERE}/fresh-{os.getpid()}-{next(counted)}'


def own(text=b'own', mode=0o644):
    path = fresh()
    with open(path, 'xb') as new:
        new.write(text)
    os.chmod(path, mode)
    return path


def own_folder(name):
    path = fresh()
    os.mkdir(path)
    open(f'{path}/{name}', 'x').close()
    return path


def read(path):
    with open(path, 'rb') as file:
        return file.read(16)


def listed(path):
    """What stands for a folder that is hidden is empty."""
    if not os.listdir(path):
        raise FileNotFoundError(errno.ENOENT, path)


def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))


def overwrite(path):
    with open(path, 'r+b') as file:
        file.write(b'changed')


def link_to(path):
    link = fresh()
    os.symlink(path, link)
    return link


def via(path):
    """The path by a descriptor of its name only."""
    return f'/proc/self/fd/{os.open(path, os.O_PATH)}'


def make_group(parent):
    group = f'{parent}/stockade-test-{os.getpid()}'
    os.mkdir(group)
    is_group = os.path.exists(f'{group}/cgroup.procs')
    os.rmdir(group)
    if not is_group:
        raise FileNotFoundError(errno.ENOENT, group)


# Sockets.
kept = []


def connect(family, kind, address):
    if address is None or isinstance(address, tuple) and None in address:
        raise Absent
    made_socket = socket.socket(family, kind)
    made_socket.settimeout(20)
    made_socket.connect(address)


def ask(family, address):
    asking = socket.socket(family, socket.SOCK_DGRAM)
    asking.settimeout(20)
    asking.connect(address)
    asking.send(b'question')
    asking.recv(64)


def listening(family, kind, address):
    listener = socket.socket(family, kind)
    listener.bind(address)
    if kind != socket.SOCK_DGRAM:
        listener.listen()
    kept.append(listener)
    return listener.getsockname()


def own_listener(kind=socket.SOCK_STREAM, is_abstract=False):
    address = f'\0own-{os.getpid()}' if is_abstract else os.path.basename(fresh())
    listening(socket.AF_UNIX, kind, address)
    return address


def own_port():
    return listening(socket.AF_INET, socket.SOCK_STREAM, ('0.0.0.0', 0))[1]


def send_from_pair(address):
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'sent', address)


# Processes.
def own_child():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    child = os.fork()
    if child == 0:
        libc.prctl(1, signal.SIGKILL)
        while True:
            signal.pause()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child


def arrived(number, pid):
    """Whether a signal that is held back there got there."""
    status = dict(line.split(':', 1) for line in open(f'/proc/{pid}/status'))
    if not int(status['ShdPnd'], 16) >> number - 1 & 1:
        raise PermissionError(errno.EPERM, 'it did not get there')


def clone(flags):
    if kernel('clone', flags | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()


def trace(request, pid):
    kernel('ptrace', request, pid, 0, 0)
    if request == 16:
        os.waitpid(pid, 0x40000000)
        kernel('ptrace', 17, pid, 0, 0)


class Part(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]


def transfer(call, pid, address):
    here, there = Part(ctypes.addressof(TEXT), 4), Part(address, 4)
    kernel(call, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


def own_signal(pid):
    """Has the kernel send a signal for a socket's data."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, pid)
    fcntl.fcntl(one, 10, signal.SIGURG)  # F_SETSIG
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC)
    other.send(b'.')
    arrived(signal.SIGURG, pid)


def attempt(code, aim):
    scope = dict(globals())
    try:
        if aim:
            scope['target'] = eval(aim, scope)
    except Exception as error:
        return f'has nothing to aim at: {error!r}'
    try:
        exec(code, scope)
        return 'REACHED'
    except Denied as error:
        return f'DENIED {error}'
    except Absent:
        return 'ABSENT'
    except OSError as error:
        return f'DENIED {name_of(error)}'
    except BaseException as error:
        return repr(error)


def tell(row, which, what):
    os.write(1, json.dumps([row, which, what]).encode() + b'\n')


for row, which, code, aim in ROWS:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        tell(row, which, attempt(code, aim))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        tell(row, which, f'ended with {status}')
