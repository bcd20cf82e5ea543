# What a spare interpreter does: it waits for a block and then is to it what `python FILE` would be.
#
# It runs as `exec` of its own namespace. Names of the block's namespace are the block's alone, and frames above the block's
# are taken out of what is told of an error; code that looks at its stack sees them.


def wait(is_current):
    """Waits for the path of the block's file, and whether all is to be taken apart at its end.

    At the end of the wait stdin is as empty as every block's.
    """
    import os

    asked = os.read(0, 65536)
    # One that has imported what was changed since is not the block's.
    if not asked or not is_current():
        os._exit(0)
    # From here on it is the block's own affair what becomes of it.
    os.write(0, b"!")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    return os.fsdecode(asked[1:]), asked[:1] == b"t"


def set_up(path, main):
    """Sets what the interpreter sets when it is started with a file."""
    import os
    import sys

    main.pop("os", None)
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    main.update(__loader__=loader("__main__", path), __file__=path, __cached__=None)
    sys.argv[:] = [path]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = [path]
    if not getattr(sys.flags, "safe_path", False):
        # What was put before it stays there.
        folder = os.path.dirname(path)
        sys.path[:] = [folder if entry == "" else entry for entry in sys.path]


def load(path):
    """The block's code. Nobody tells better what is wrong with a file than the interpreter that is started with it."""
    import os
    import sys

    try:
        with open(path, "rb") as file:
            return compile(file.read(), path, "exec", 0, True)
    except BaseException:
        os.execv(sys.executable, [sys.orig_argv[0] if hasattr(sys, "orig_argv") else "python", path])


def run(code, main):
    """Runs the block, and gives its exit status where that is a number."""
    import sys

    display = sys.__excepthook__
    try:
        exec(code, main)
        return 0
    except SystemExit as ended:
        if ended.code is None or type(ended.code) is int:
            # What is no number of the machine's counts as -1.
            return (ended.code or 0) & 0xFF if -(2**63) <= (ended.code or 0) < 2**63 else 0xFF
        raise
    except BaseException as caught:
        error = caught
    # Out of its handler: what goes wrong now has not begun with it.
    tell(error, error.__traceback__.tb_next, display)
    if isinstance(error, KeyboardInterrupt):
        # Of this the interpreter makes the signal by which it ends.
        sys.excepthook = lambda *told: None
        raise error
    # Its frames know of this one, which is to keep none of what they hold.
    del error
    return 1


def tell(error, own, display):
    """Tells of the error that ends the block as the interpreter does, with the block's own frames: by a hook that may be the
    block's choice, and by `display` where that does not do."""
    import os
    import sys

    def say(text):
        try:
            sys.stderr.write(text)
        except BaseException:
            os.write(2, text.encode())

    kind = type(error)
    error.__traceback__ = own
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, own
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    if not hasattr(sys, "excepthook"):
        say("sys.excepthook is missing\n")
        return display(kind, error, own)
    hook = sys.excepthook
    try:
        if hasattr(sys, "audit"):
            sys.audit("sys.excepthook", hook, kind, error, own)
    except RuntimeError:
        return
    try:
        hook(kind, error, own)
    except SystemExit:
        raise
    except BaseException as caught:
        failed = caught
    else:
        return
    failed.__traceback__ = failed.__traceback__.tb_next
    say("Error in sys.excepthook:\n")
    display(type(failed), failed, failed.__traceback__)
    say("\nOriginal exception was:\n")
    display(kind, error, own)


def descriptors():
    import os

    return os.listdir("/proc/self/fd")


def end(status, main, held, apart):
    """Ends as the interpreter does, but for what takes longest and nobody sees: taking modules apart.

    Where a file is open, a thread runs or a class wants to know of its objects' end, something may be seen of that, and it
    is done.
    """
    import atexit
    import os
    import sys

    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()
    is_busy = len(sys._current_frames()) > 1 or len(descriptors()) > held
    if apart or is_busy or any(isinstance(own, type) and "__del__" in own.__dict__ for own in main.values()):
        sys.exit(status)
    # What the block has made goes now, and may speak; what it is spoken with stays.
    for name in "last_exc", "last_type", "last_value", "last_traceback":
        sys.__dict__.pop(name, None)
    kept = (type, type(sys), type(end))
    for name in list(main):
        if name[:2] != "__" and not isinstance(main[name], kept):
            del main[name]
    try:
        for stream in sys.stderr, sys.stdout:
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException:
        sys.exit(status)
    os._exit(status)


def rehearse():
    """Does for no block what is done for each. A first time takes two milliseconds longer: memory is asked of the kernel then,
    and code runs that has not run yet."""
    import atexit
    import os
    import sys

    try:
        with open(os.devnull, "rb") as file:
            exec(compile(file.read() + b"0", os.devnull, "exec", 0, True), {})
        sys._current_frames()
    except BaseException:
        # Where it goes wrong it does so for the block again, and is told.
        pass


def spare(main, is_current=lambda: True):
    rehearse()
    held = len(descriptors())
    path, apart = wait(is_current)
    set_up(path, main)
    end(run(load(path), main), main, held, apart)
