"""What executors can be asked for that is more than a number or a word."""

from __future__ import annotations

from stockade._record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from os import PathLike
    from typing import Literal

    from typing_extensions import TypedDict, Unpack

    class _SandboxOptions(TypedDict, total=False):
        level: Literal["auto", "namespaces", "landlock"]
        best_effort: bool
        network: Literal["none", "host"]
        read_only: Sequence[str | PathLike[str]]
        read_write: Sequence[str | PathLike[str]]
        memory: int | None
        pids_limit: int | None
        cpus: float | None
        cpu_time: float | timedelta | None
        open_files: int | None
        file_size: int | None
        workspace_size: int | None


class Sandbox(Record):
    """What the code of a local session may see and do on this host.

    By default it sees the system's programs and libraries, read-only, the interpreters that are found on PATH, and its
    work_dir; it has a home, `/tmp` and `/dev/shm` of its own, no network, and no way to other processes. What was asked
    for holds, or the session does not start.

    Attributes:
        level: By what the code is held back: `namespaces` of the session's own, by bubblewrap, with Landlock and
            seccomp inside them; `landlock` and seccomp alone; `auto` takes the strongest that works here.
        best_effort: Starts with whatever this host has, and tells what is missing in `info`, instead of refusing.
        network: None but a loopback interface of its own, or this host's.
        read_only: Shows files or directories, with all beneath them. Absolute paths.
        read_write: Lets the code change files or directories, with all beneath them. Absolute paths.
        memory: The most bytes that all processes of the session may have together, 6 MiB at least. This, `pids_limit`
            and `cpus` need a control group: root, or a delegated one.
        pids_limit: The most processes and threads of the session, 8 at least.
        cpus: The most CPU time per time of all processes of the session together, in CPUs: `1.5`.
        cpu_time: The most seconds of processor time of any one process, which is ended then.
        open_files: The most files that any one process may have open, 16 at least.
        file_size: The largest file, in bytes, that any process may make.
        workspace_size: The most bytes that all files in the workspace may have together, 64 KiB at least. The
            workspace is then a copy of the work_dir; what blocks create or change is copied back after each.

    >>> Sandbox(network="host", open_files=256)
    Sandbox(network='host', open_files=256)
    """

    level: Literal["auto", "namespaces", "landlock"] = "auto"
    best_effort: bool = False
    network: Literal["none", "host"] = "none"
    read_only: Sequence[str | PathLike[str]] = ()
    read_write: Sequence[str | PathLike[str]] = ()
    memory: int | None = None
    pids_limit: int | None = None
    cpus: float | None = None
    cpu_time: float | timedelta | None = None
    open_files: int | None = None
    file_size: int | None = None
    workspace_size: int | None = None
    _strict: bool = False

    @classmethod
    def strict(cls, **options: Unpack[_SandboxOptions]) -> Sandbox:
        """Nothing but the work_dir, and what the interpreters need.

        Of `/etc` the code sees only what programs look up names with; it has no sockets but connected pairs, and
        nothing else of the host.
        """
        return cls(**options, _strict=True)


class Volume(Record):
    """A directory of the daemon's host, or a volume, and where it is mounted.

    Where one is taken, text is too: `/data:/mnt/data:ro`.

    Attributes:
        source: The directory, or the name of a volume.
        target: Where it is in the container.
        read_only: The code can't write to it.
    """

    source: str | PathLike[str]
    target: str
    read_only: bool = False


class DeviceRequest(Record):
    """A request for devices, such as GPUs, as the daemon takes it.

    Where one is taken, text is too, as in `docker run --gpus`: `all`, a number, or `device=0,1`.

    Attributes:
        driver: Which driver; by default one that has the capabilities.
        count: How many; -1 for all. Not together with `device_ids`.
        device_ids: Which ones.
        capabilities: Alternatives, each a list of what the driver must be able to do: `[["gpu"]]`.
        options: For the driver.
    """

    driver: str | None = None
    count: int | None = None
    device_ids: Sequence[str] = ()
    capabilities: Sequence[Sequence[str]] = ()
    options: Mapping[str, str] | None = None


class Ulimit(Record):
    """A limit of each process in a container, such as `nofile`, `nproc` or `core`.

    Where one is taken, text is too: `nofile=1024` or `nofile=1024:4096`.

    Attributes:
        name: What is limited.
        soft: The limit; -1 is none.
        hard: The most that a process can give itself; the same by default.
    """

    name: str
    soft: int
    hard: int | None = None


class Language(Record):
    """A language that blocks can be written in, beside those that are built in.

    One with the name or an alias of another takes that over.

    Attributes:
        name: The canonical name.
        extension: Of its files, without the dot.
        aliases: Other names for it.
        comments: How a comment begins, and ends where that is not the end of its line: `"#"`, `("<!--", "-->")`. A
            `filename:` line is looked for in these.
        commands: What runs it, the best first: a program and its arguments. `{file}` stands for the block's file;
            with `{binary}` it is a compiler, and what it makes is run. None for what is saved and not run.

    >>> Language("elixir", "exs", comments=["#"], commands=[["elixir", "{file}"]])
    Language(name='elixir', extension='exs', comments=['#'], commands=[['elixir', '{file}']])
    """

    name: str
    extension: str
    aliases: Sequence[str] = ()
    comments: Sequence[str | tuple[str, str]] = ()
    commands: Sequence[Sequence[str]] = ()
