# What the fork server does: it imports the modules that blocks are to begin with, and forks a spare whenever it is asked.
#
# It is run as a spare is, with the functions of spare interpreters beside its own. A fork keeps the thread that made it and
# no other: where an import left threads running, no fork is made.


def serve(main):
    import os

    main.pop("os", None)
    runner = connect()
    modules = runner.recv(65536).decode().split()
    said = take_in(modules)
    runner.send(said)
    found = stamps(modules)
    while True:
        streams = asked(runner)
        if streams is None:
            os._exit(0)
        if stamps(modules) != found:
            # What it has imported is not what an interpreter would import now.
            runner.send(b"changed")
            os._exit(0)
        if fork(streams, runner):
            break
    begin_anew()
    spare(main)


def connect():
    """The way to the runner, which was stdin."""
    import os

    import _socket

    runner = _socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    return runner


def take_in(modules):
    """Imports them, and says what came of it."""
    import os
    import sys

    for module in modules:
        try:
            __import__(module)
        except BaseException as error:
            return f"failed {module} can't be imported: {type(error).__name__}: {error}".encode()[:4096]
    for stream in sys.stdout, sys.stderr:
        if stream is not None:
            stream.flush()
    # Some end their threads around a fork, for good.
    trial = os.fork()
    if trial == 0:
        os._exit(0)
    os.waitpid(trial, 0)
    threads = len(os.listdir("/proc/self/task")) - 1
    if threads:
        return f"unfit what is imported keeps {threads} thread{'s' * (threads > 1)} running, which no fork would have".encode()
    return b"ready"


def stamps(modules):
    """By which it is known that a module's package was installed anew."""
    import os
    import sys

    found = []
    for name in {part for module in modules for part in (module, module.partition(".")[0])}:
        try:
            stat = os.stat(sys.modules[name].__file__)
            found.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except Exception:
            # It has no file, or it is gone.
            found.append((name, 0, 0, 0))
    return sorted(found)


def asked(runner):
    """The descriptors of the next spare; None when there is to be none any more."""
    import _socket

    message, ancillary, _, _ = runner.recvmsg(1, _socket.CMSG_SPACE(5 * 4))
    if not message or not ancillary:
        return None
    return list(memoryview(ancillary[0][2]).cast("i"))


def fork(given, runner):
    """Forks a spare below a keeper of its own. True in the spare."""
    import os

    keeper, channel, *streams = given
    ended, end = os.pipe()
    between = os.fork()
    if between:
        for descriptor in [ended, end, *given]:
            os.close(descriptor)
        os.waitpid(between, 0)
        return False
    between = os.getpid()
    if os.fork():
        os._exit(0)
    # Without a parent it is the runner's child; a process that ends is that until a little after its descriptors.
    os.close(end)
    os.read(ended, 1)
    while os.getppid() == between:
        os.sched_yield()
    child = os.fork()
    if child:
        become_keeper(child, keeper, channel)
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    let_go([runner.detach(), ended, *given])
    return True


def let_go(own):
    """Closes what is the server's own. What a module holds open leads nowhere: it may close the number, when it is not
    to be another's."""
    import os

    for descriptor in own:
        os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in map(int, descriptors()):
        try:
            if descriptor > 2 and descriptor != nowhere:
                os.fstat(descriptor)
                os.dup2(nowhere, descriptor, False)
        except OSError:
            # That of the list.
            pass
    os.close(nowhere)


def become_keeper(child, keeper, channel):
    import os

    try:
        os.dup2(channel, 0)
        os.execve(keeper, ["stockade-runner", "keep", str(child)], {})
    finally:
        os.kill(child, 9)
        os._exit(1)


def begin_anew():
    """Has what a fork shares with others begin as in an interpreter of its own. `random` sees to itself."""
    import importlib
    import os
    import sys

    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
    # What was installed since is found.
    importlib.invalidate_caches()
    site = sys.modules.get("site")
    if site is not None and site.ENABLE_USER_SITE:
        packages = site.getusersitepackages()
        if packages not in sys.path and os.path.isdir(packages):
            site.addsitedir(packages)
