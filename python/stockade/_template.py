"""What the executors that await and those that block have in common: their options, and what needs no waiting."""

from __future__ import annotations

import sys
import warnings

from stockade import functions
from stockade._native import Executor, Pool
from stockade.errors import InvalidOptionError
from stockade.options import Sandbox
from stockade.results import PoolMetrics, PoolTimes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta
    from os import PathLike
    from pathlib import Path
    from typing import Any, Literal, NoReturn

    from stockade import _native
    from stockade.events import BlockOutput, Event, PullProgress
    from stockade.options import DeviceRequest, Language, Ulimit, Volume

    Seconds = float | timedelta
    StrPath = str | PathLike[str]


def tell_user(what: str) -> None:
    """Warns where this package was entered, however deep this is in it."""
    frame, level = sys._getframe(), 1  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "stockade":
        frame, level = frame.f_back, level + 1
    warnings.warn(what, RuntimeWarning, stacklevel=level)


def waits_for(on_output: Callable[[BlockOutput], object] | None) -> bool:
    """Whether blocks wait for who is told what they print: for everyone, unless somebody says otherwise."""
    if on_output is None:
        return False
    if not callable(on_output):
        raise TypeError(f"on_output: must be callable, not {type(on_output).__name__}")
    # `inspect` takes longer to import than all of this package.
    makes_coroutines = 0x80
    if getattr(getattr(on_output, "__code__", None), "co_flags", 0) & makes_coroutines:
        raise TypeError("on_output: must be a plain function, not a coroutine function: nobody would await it")
    return True


class Events:
    """The events of a call, without a way to wait for them."""

    def __init__(self, executor: Template, events: _native.Events) -> None:
        # An executor that nobody holds ends its session.
        self._executor = executor
        self._events = events
        # The last first.
        self._told: list[Event] = []

    def _end(self) -> None:
        self._told = []
        self._events.close()


class Template:
    """An executor without a way to wait."""

    _native: Executor
    _functions: tuple[functions.Function, ...]
    _functions_module: str

    def _make(
        self,
        make: Callable[[dict[str, Any]], Executor],
        options: dict[str, Any],
        given: Iterable[functions.Function],
        module: str,
    ) -> None:
        import keyword

        if not isinstance(module, str):
            raise TypeError(f"functions_module: must be a str, not {type(module).__name__}")
        if not module.isidentifier() or keyword.iskeyword(module):
            why = f"must be a Python identifier, not {module!r}"
            raise InvalidOptionError(f"failed to configure the executor: functions_module {why}", "invalid_option")
        if module in sys.stdlib_module_names or module == "__main__":
            why = f"must be a name that Python does not use itself, not {module!r}"
            raise InvalidOptionError(f"failed to configure the executor: functions_module {why}", "invalid_option")
        if options["timeout"] is None:
            why = "must be seconds or a timedelta, not None: there is no endless one, the longest is ten years"
            raise TypeError(f"timeout: {why}")
        if isinstance(given, str) or not hasattr(given, "__iter__"):
            single = "a single " if isinstance(given, str) or callable(given) else ""
            raise TypeError(f"functions: must be a list, not {single}{type(given).__name__}")
        self._functions = tuple(given)
        self._functions_module = module
        if self._functions:
            options["functions"], options["packages"] = functions.module(self._functions)
            options["functions_module"] = module
        self._native = make(options)

    @property
    def functions_module(self) -> str:
        """The name of the module from which blocks import the functions."""
        return self._functions_module

    def format_functions_for_prompt(self, template: str = functions.PROMPT) -> str:
        """Tells a model of the functions, by their signatures and docstrings.

        In the template `$module_name` stands for their module and `$functions` for their stubs.
        """
        if not self._functions:
            return ""
        return functions.format_for_prompt(self._functions, self._functions_module, template)

    @property
    def info(self) -> dict[str, Any]:
        """What the session is and enforces: the object `session` of the command's JSON.

        Raises:
            NotStartedError: Before `start` and after `stop`.
        """
        import json

        info: dict[str, Any] = json.loads(self._native.info)
        return info

    @property
    def work_dir(self) -> Path:
        """The absolute path of the workspace on this host.

        Raises:
            NotStartedError: Before `start` and after `stop`.
        """
        return self._native.work_dir

    @property
    def workspace(self) -> Path:
        """The absolute path of the workspace where the code runs.

        Raises:
            NotStartedError: Before `start` and after `stop`.
        """
        return self._native.workspace

    def _tell_of_preload(self) -> None:
        """Warns of modules that were to be preloaded and can't be."""
        preload = self.info.get("preload")
        if preload is not None and not preload["ready"]:
            tell_user(f"not preloaded, so that each block imports for itself: {preload['reason']}")

    def __reduce__(self) -> NoReturn:
        """Refuses to be pickled, for a session can't be."""
        name = type(self).__name__
        raise TypeError(f"a {name} can't be pickled or copied: make a new one where you need it")

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        """Ends the session, and says that nobody did."""
        # There is none where the options were refused.
        native = getattr(self, "_native", None)
        if native is not None and native.started:
            warn(f"{self!r} was not stopped: its session ends now", ResourceWarning, source=self)


class LocalTemplate(Template):
    """Runs blocks on this host, as processes of this user, in a sandbox."""

    def __init__(
        self,
        *,
        timeout: Seconds = 60,
        work_dir: StrPath | None = None,
        virtual_env: StrPath | None = None,
        sandbox: Sandbox | None = Sandbox(),  # noqa: B008
        functions: Iterable[functions.Function] = (),
        functions_module: str = "functions",
        env: Mapping[str, str] | None = None,
        inherit_env: Sequence[str] = (),
        cleanup_temp_files: bool = True,
        output_limit: int = 1 << 20,
        keep_going: bool = False,
        merge_streams: bool = False,
        spares: int = 1,
        preload: Sequence[str] = (),
        teardown: bool = False,
        languages: Sequence[Language] = (),
    ) -> None:
        """Makes an executor; `start` starts its session.

        Args:
            timeout: How long each block may take, in seconds or as a `timedelta`.
            work_dir: The directory in which blocks' files are saved and their processes run. It is made when it is
                missing. By default each session has a temporary one, which is removed at its end.
            virtual_env: A virtual environment whose `python` and `pip` Python and shell blocks get. It is made at
                start when it is missing.
            sandbox: What the code may see and do. `None` gives it all of this user's rights.
            functions: Functions for the code to import: plain functions, their source, or AutoGen's
                `FunctionWithRequirements`, whose packages are installed by pip at start.
            functions_module: The module from which the code imports them.
            env: Variables for the code.
            inherit_env: Variables of this process that the code gets, beyond those that programs need to find
                themselves. A name that ends in `*` stands for all that begin so, and `*` for all.
            cleanup_temp_files: Whether the files of blocks that named none are removed after they have run.
            output_limit: How many bytes are kept of each of a block's streams, half from its beginning and half from
                its end: 64 MiB at most.
            keep_going: Whether blocks after one that fails are run all the same.
            merge_streams: Whether stdout and stderr share one pipe, so that their common order is exact.
            spares: How many Python interpreters wait for blocks, once the session has run a Python block: each is for
                one block, which is spared its start. 64 at most; 0 for none.
            preload: Python modules to import once, before the first block, for all Python blocks to begin with: one
                with pandas then takes some milliseconds instead of hundreds. Blocks are forks of the process that has
                imported them, with random numbers of their own and one seed of hashes; a call that sets an `env` gets
                none. What modules print when they are imported is told to nobody. When one changes, or a package is
                installed, all are imported anew. A module that can't be imported is a `StartError`. What no fork
                would have (open files, threads, shared memory) each block imports for itself:
                `info["preload"]` says so, and a warning.
            teardown: Whether Python blocks whose interpreter had waited, or was forked, take their modules apart at
                their end, as others do. It takes some milliseconds, and lets a `__del__` in a module have its say.
            languages: Languages beside those that are built in.

        Raises:
            InvalidOptionError: An option's value can't be used.
        """
        options = dict(
            timeout=timeout,
            work_dir=work_dir,
            virtual_env=virtual_env,
            sandbox=sandbox,
            env=env,
            inherit_env=inherit_env,
            cleanup_temp_files=cleanup_temp_files,
            output_limit=output_limit,
            keep_going=keep_going,
            merge_streams=merge_streams,
            spares=spares,
            preload=preload,
            teardown=teardown,
            languages=languages,
        )
        self._make(Executor.local, options, functions, functions_module)


class DockerTemplate(Template):
    """Runs blocks in a container, with Docker or Podman."""

    def __init__(
        self,
        image: str = "python:3-slim",
        *,
        timeout: Seconds = 60,
        work_dir: StrPath | None = None,
        bind_dir: StrPath | None = None,
        workspace: Literal["bind", "copy"] | None = None,
        container_name: str | None = None,
        auto_remove: bool = True,
        stop_container: bool = True,
        delete_tmp_files: bool = False,
        init_command: str | None = None,
        functions: Iterable[functions.Function] = (),
        functions_module: str = "functions",
        env: Mapping[str, str] | None = None,
        extra_volumes: Sequence[Volume | str] = (),
        extra_hosts: Mapping[str, str] | None = None,
        device_requests: Sequence[DeviceRequest | str] = (),
        daemon: str | None = None,
        pull: Literal["missing", "always", "never"] = "missing",
        on_pull: Callable[[PullProgress], object] | None = None,
        platform: str | None = None,
        labels: Mapping[str, str] | None = None,
        user: str | None = None,
        memory: int | None = None,
        cpus: float | None = None,
        pids_limit: int | None = None,
        shm_size: int | None = None,
        ulimits: Sequence[Ulimit | str] = (),
        network: str | None = None,
        runtime: str | None = None,
        read_only: bool = False,
        cap_add: Sequence[str] = (),
        cap_drop: Sequence[str] = (),
        security_opt: Sequence[str] = (),
        lockdown: bool = False,
        output_limit: int = 1 << 20,
        keep_going: bool = False,
        merge_streams: bool = False,
        spares: int = 1,
        preload: Sequence[str] = (),
        teardown: bool = False,
        languages: Sequence[Language] = (),
    ) -> None:
        """Makes an executor; `start` starts its session.

        Args:
            image: The image. Nothing is needed in it but `sh`, and what runs the blocks.
            timeout: How long each block may take, in seconds or as a `timedelta`.
            work_dir: The directory on this host whose files the blocks work with, at `/workspace` in the container.
                It is made when it is missing. By default each session has a temporary one.
            bind_dir: Where the daemon finds the work_dir on its own host, when that is another path than here.
            workspace: How the work_dir gets into the container. By default it is mounted where the daemon shares this
                host's files, and else copied, and what blocks create or change copied back.
            container_name: The container's name; by default one is made up.
            auto_remove: Whether the container is removed when it has ended.
            stop_container: Whether the container ends with its session. If not it stays, and a later session of the
                same `container_name` goes on in it.
            delete_tmp_files: Whether the files of blocks that named none are removed after they have run.
            init_command: A shell command that is run in the workspace at the start.
            functions: Functions for the code to import: plain functions, their source, or AutoGen's
                `FunctionWithRequirements`, whose packages are installed by pip at start.
            functions_module: The module from which the code imports them.
            env: Variables for the code.
            extra_volumes: Directories of the daemon's host, or volumes, to be mounted.
            extra_hosts: Names for the container's `/etc/hosts`, and their addresses.
            device_requests: Devices, such as GPUs.
            daemon: The daemon's address, as in `DOCKER_HOST`. By default that variable, the current Docker context
                and the usual sockets are tried, Podman's too.
            pull: When the image is pulled.
            on_pull: Is told how a pull goes, by whoever waits for the start.
            platform: The platform of the image where it has several: `linux/amd64`, `linux/arm64`.
            labels: Labels for the container.
            user: Whom the blocks run as: `name`, `uid`, `name:group` or `uid:gid` of the container; by default its
                root. Files in the work_dir belong to its owner in any case.
            memory: The most bytes of memory of all processes together, 6 MiB at least.
            cpus: The most CPU time per time, in CPUs: `1.5`.
            pids_limit: The most processes and threads, 16 at least, or 0 for no limit; 4096 by default.
            shm_size: The size of `/dev/shm`, in bytes.
            ulimits: Limits of every process.
            network: The network: `none`, `bridge`, `host` or the name of one.
            runtime: The container runtime: `runsc` (gVisor), `kata`.
            read_only: Whether the image's files can't be changed. The workspace can.
            cap_add: Capabilities that the container gets.
            cap_drop: Capabilities that are taken from it.
            security_opt: Security options of the daemon's.
            lockdown: Denies the code all that blocks can do without: there is no network, no root, no capability, the
                image's files can't be changed, and memory, CPUs and processes are limited.
            output_limit: How many bytes are kept of each of a block's streams, half from its beginning and half from
                its end: 64 MiB at most.
            keep_going: Whether blocks after one that fails are run all the same.
            merge_streams: Whether stdout and stderr share one pipe, so that their common order is exact.
            spares: How many Python interpreters wait for blocks, once the session has run a Python block: each is for
                one block, which is spared its start. 64 at most; 0 for none.
            preload: Python modules to import once, before the first block, for all Python blocks to begin with: one
                with pandas then takes some milliseconds instead of hundreds. Blocks are forks of the process that has
                imported them, with random numbers of their own and one seed of hashes; a call that sets an `env` gets
                none. What modules print when they are imported is told to nobody. When one changes, or a package is
                installed, all are imported anew. A module that can't be imported is a `StartError`. What no fork
                would have (open files, threads, shared memory) each block imports for itself:
                `info["preload"]` says so, and a warning.
            teardown: Whether Python blocks whose interpreter had waited, or was forked, take their modules apart at
                their end, as others do. It takes some milliseconds, and lets a `__del__` in a module have its say.
            languages: Languages beside those that are built in.

        Raises:
            InvalidOptionError: An option's value can't be used.
        """
        options = dict(
            image=image,
            timeout=timeout,
            work_dir=work_dir,
            bind_dir=bind_dir,
            workspace=workspace,
            container_name=container_name,
            auto_remove=auto_remove,
            stop_container=stop_container,
            delete_tmp_files=delete_tmp_files,
            init_command=init_command,
            env=env,
            extra_volumes=extra_volumes,
            extra_hosts=extra_hosts,
            device_requests=device_requests,
            daemon=daemon,
            pull=pull,
            on_pull=on_pull,
            platform=platform,
            labels=labels,
            user=user,
            memory=memory,
            cpus=cpus,
            pids_limit=pids_limit,
            shm_size=shm_size,
            ulimits=ulimits,
            network=network,
            runtime=runtime,
            read_only=read_only,
            cap_add=cap_add,
            cap_drop=cap_drop,
            security_opt=security_opt,
            lockdown=lockdown,
            output_limit=output_limit,
            keep_going=keep_going,
            merge_streams=merge_streams,
            spares=spares,
            preload=preload,
            teardown=teardown,
            languages=languages,
        )
        self._make(Executor.docker, options, functions, functions_module)


class PooledTemplate(Template):
    """A session of a pool without a way to wait."""

    def __init__(self, native: Executor, executor: Template) -> None:
        self._native = native
        self._functions = executor._functions
        self._functions_module = executor._functions_module


class PoolTemplate:
    """A pool without a way to wait."""

    _native: Pool
    _executor: Template

    def __init__(
        self,
        executor: Template,
        *,
        min_idle: int = 1,
        max_total: int = 10,
        acquire_timeout: Seconds = 30,
        max_idle_time: Seconds | None = None,
        max_lifetime: Seconds | None = None,
    ) -> None:
        """Makes a pool, which starts its first sessions when it is first used.

        Args:
            executor: What sessions are started from. Its own session, should it have one, is not the pool's.
            min_idle: How many sessions are kept idle, as far as `max_total` leaves room.
            max_total: The most sessions that there are at any time: idle, in use, being started, and ending.
            acquire_timeout: How long an acquire waits, in seconds or as a `timedelta`.
            max_idle_time: How long a session may be idle before it is replaced by a new one; for ever by default.
            max_lifetime: How long a session may live; for ever by default. One that is in use is ended then. One that
                is idle is replaced after half of that time.

        Raises:
            InvalidOptionError: An option's value can't be used, or the executor has what all sessions would share,
                such as a `work_dir`.
        """
        if not isinstance(executor, Template):
            raise TypeError(f"executor: must be an executor, not {type(executor).__name__}")
        options = dict(
            min_idle=min_idle,
            max_total=max_total,
            acquire_timeout=acquire_timeout,
            max_idle_time=max_idle_time,
            max_lifetime=max_lifetime,
        )
        self._executor = executor
        self._native = Pool(executor._native, options)  # pyright: ignore[reportPrivateUsage]

    @property
    def metrics(self) -> PoolMetrics:
        """What there is now, and what has happened."""
        import json

        told: dict[str, Any] = json.loads(self._native.metrics)
        for name in ("start_time", "wait_time"):
            milliseconds = told[name]
            told[name] = PoolTimes(*(milliseconds[f"{field}_ms"] / 1000 for field in ("last", "longest", "total")))
        return PoolMetrics(**told)

    def _tell_of_sessions_in_use(self) -> None:
        """Warns of those that had to be ended, for which the end of the pool has waited."""
        count = self.metrics.closed_in_use
        if count:
            sessions = "a session was" if count == 1 else f"{count} sessions were"
            tell_user(
                f"{sessions} still in use 10 s after the end of its pool, and ended then: stop each, as "
                "`with pool.acquire()` does"
            )

    def __reduce__(self) -> NoReturn:
        """Refuses to be pickled, for its sessions can't be."""
        name = type(self).__name__
        raise TypeError(f"a {name} can't be pickled or copied: make a new one where you need it")

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        """Ends the idle sessions, and says that nobody did."""
        # There is none where the options were refused.
        native = getattr(self, "_native", None)
        if native is not None and native.open:
            warn(f"{self!r} was not closed: its idle sessions end now", ResourceWarning, source=self)
