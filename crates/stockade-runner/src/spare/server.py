# What the fork server does: it imports the modules that blocks are to begin with, and forks a spare whenever it is asked.
#
# It is run as a spare is, with the functions of spare interpreters beside its own. A fork has nothing that its block would not
# have had of an interpreter of its own, and lacks nothing: what can't be so is not forked.


def serve(main):
    import os
    import time

    main.pop("os", None)
    runner, place, begun = connect(), os.getcwd(), time.time_ns()
    modules = runner.recv(65536).decode().split()
    failed = take_in(modules)
    why = failed or unfit(place, runner)
    runner.send((("failed " if failed else "unfit ") + why).encode("utf-8", "replace")[:4096] if why else b"ready")
    enlarge_pages()
    files, folders = watched(modules, place)
    found = stamps(files, folders)
    if any(stamp and stamp[-1] >= begun for stamp in found[: len(files)]):
        # It was changed while it was imported, before or after it was read.
        found = None
    while True:
        streams = asked(runner)
        if streams is None:
            os._exit(0)
        if stamps(files, folders) != found:
            # What it has imported is not what an interpreter would import now.
            runner.send(b"changed")
            os._exit(0)
        if fork(streams, runner):
            break
    begin_anew()
    spare(main, lambda: stamps(files, folders) == found)


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
    """Imports them. Gives what can't be imported, and why."""
    for module in modules:
        try:
            __import__(module)
        except BaseException as error:
            return f"{module} can't be imported: {type(error).__name__}: {error}"
    return ""


def unfit(place, runner):
    """Why no fork of this process would be to a block what an interpreter of its own is."""
    import os
    import sys

    try:
        for stream in sys.stdout, sys.stderr:
            if stream is not None:
                stream.flush()
        # Some end their threads around a fork, for good.
        trial = os.fork()
        if trial == 0:
            os._exit(0)
        os.waitpid(trial, 0)
        threads = os.listdir("/proc/self/task")
        if len(threads) > 1:
            return f"what is imported keeps {len(threads) - 1} thread{'s' * (len(threads) > 2)} running"
        for name in descriptors():
            if int(name) > 2 and int(name) != runner.fileno() and os.path.exists(f"/proc/self/fd/{name}"):
                return f"what is imported keeps open {os.readlink(f'/proc/self/fd/{name}')}"
        children = f"/proc/self/task/{threads[0]}/children"
        if os.path.exists(children) and open(children).read():
            return "what is imported keeps a child process running"
        if any(line.split()[1].startswith("rw-s") for line in open("/proc/self/maps")):
            return "what is imported shares memory with other processes"
        if os.getcwd() != place:
            return "what is imported changes the current directory"
    except BaseException as error:
        return f"what is imported keeps Python from being forked: {type(error).__name__}: {error}"
    return ""


def enlarge_pages():
    """Has the kernel keep this memory in large pages where it can: the fewer there are, the sooner a fork is made, and gone.

    That takes ctypes. It comes with numpy, and is not imported for this: a block finds what its modules have imported.
    """
    import sys

    ctypes, collapse = sys.modules.get("ctypes"), 25
    try:
        with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") as file:
            size = int(file.read())
        with open("/proc/self/maps") as file:
            mapped = [line.split() for line in file]
        madvise = ctypes.CDLL(None).madvise
        for place, rights, _, _, _, *name in mapped:
            if rights == "rw-p" and name in ([], ["[heap]"]):
                begin, end = (int(address, 16) for address in place.split("-"))
                for large in range(-(-begin // size) * size, end - size + 1, size):
                    madvise(ctypes.c_void_p(large), ctypes.c_size_t(size), collapse)
    except Exception:
        # Another kernel, a /sys that is not there, no ctypes: the pages stay as they are.
        pass


def watched(modules, place):
    """By which it is known whether an interpreter would import something else now: the files of the modules and of all that
    lies in the workspace, then the folders in which modules are looked for."""
    import os
    import sys

    listed = {part for module in modules for part in (module, module.partition(".")[0])}
    files, folders = set(), set()
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if type(path) is not str:
            continue
        is_own = path.startswith(place + os.sep) and not path.startswith(sys.prefix + os.sep)
        if is_own or name in listed:
            files.add(path)
    # The workspace itself changes with every block.
    folders.update(folder for folder in sys.path if folder and os.path.abspath(folder) != place)
    site = sys.modules.get("site")
    if site is not None and site.ENABLE_USER_SITE:
        folders.add(site.getusersitepackages())
    return sorted(files), sorted(folders)


def stamps(files, folders):
    """Of each path in turn; the last of a file's is when it was changed, in nanoseconds."""
    import os

    def stamp(path, *fields):
        try:
            stat = os.stat(path)
        except OSError:
            return None
        return tuple(getattr(stat, field) for field in fields)

    of_files = [stamp(path, "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns") for path in files]
    return of_files + [stamp(path, "st_ino", "st_mtime_ns") for path in folders]


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
    for descriptor in [runner.detach(), ended, *given]:
        os.close(descriptor)
    return True


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
    import sys

    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
    # What was written since is found.
    importlib.invalidate_caches()
