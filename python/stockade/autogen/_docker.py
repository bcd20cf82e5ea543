"""AutoGen's Docker executor, on Stockade."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autogen_core import CancellationToken, Component
from autogen_core.code_executor import CodeBlock
from pydantic import BaseModel

import stockade
from stockade import SessionEndedError
from stockade.autogen._shared import CommandLineCodeResult, SharedExecutor, dumped, text

if TYPE_CHECKING:
    from typing_extensions import Self

    from stockade.autogen._shared import Function

NOT_RUNNING = "Container is not running. Must first be started with either start or a context manager."


class DockerCommandLineCodeExecutorConfig(BaseModel):
    """What a `DockerCommandLineCodeExecutor` is dumped as: AutoGen's fields, and ours."""

    image: str = "python:3-slim"
    container_name: str | None = None
    timeout: int | float = 60
    work_dir: str | None = None
    bind_dir: str | None = None
    auto_remove: bool = True
    stop_container: bool = True
    device_requests: list[dict[str, Any]] | None = None
    functions_module: str = "functions"
    extra_volumes: dict[str, dict[str, str]] = {}
    extra_hosts: dict[str, str] = {}
    init_command: str | None = None
    delete_tmp_files: bool = False
    env: dict[str, str] | None = None
    user: str | None = None
    memory: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    network: str | None = None
    lockdown: bool = False
    output_limit: int | None = None


class DockerCommandLineCodeExecutor(SharedExecutor, Component[DockerCommandLineCodeExecutorConfig]):
    """Runs code in a container: AutoGen's executor, on Stockade.

    Args:
        image: The image. Nothing is needed in it but `sh`, and what runs the blocks.
        container_name: The container's name; by default one is made up.
        timeout: How long each block may take, in seconds.
        work_dir: The directory on this host whose files the blocks work with; by default a temporary one,
            removed at the stop.
        bind_dir: Where the daemon finds the work_dir on its own host, when that is another path than here.
        auto_remove: Whether the container is removed when it has ended.
        stop_container: Whether the container ends at the stop. If not it stays, and the next executor with
            its name goes on in it.
        device_requests: Devices, such as GPUs: those of the docker package, or `stockade.DeviceRequest`.
        functions: Functions for the code to import.
        functions_module: The module that it imports them from.
        extra_volumes: What else to mount: `{"/home/user1": {"bind": "/mnt/vol2", "mode": "ro"}}`.
        extra_hosts: Names for the container's `/etc/hosts`, and their addresses.
        init_command: A shell command that is run in the workspace at the start. When it fails, so does the
            start.
        delete_tmp_files: Whether the files of blocks that named none are removed.
        env: Variables for the code.
        user: Whom the blocks run as; the container's root by default.
        memory: The most bytes of memory of all processes together.
        cpus: The most CPU time per time, in CPUs.
        pids_limit: The most processes and threads.
        network: The network: `none`, `bridge`, `host` or the name of one.
        lockdown: Denies the code all that blocks can do without.
        output_limit: How many bytes are kept of each of a block's streams.
    """

    component_config_schema = DockerCommandLineCodeExecutorConfig
    component_provider_override = "stockade.autogen.DockerCommandLineCodeExecutor"

    def __init__(
        self,
        image: str = "python:3-slim",
        container_name: str | None = None,
        *,
        timeout: int = 60,
        work_dir: Path | str | None = None,
        bind_dir: Path | str | None = None,
        auto_remove: bool = True,
        stop_container: bool = True,
        device_requests: Sequence[Mapping[str, Any] | stockade.DeviceRequest] | None = None,
        functions: Sequence[Function] = (),
        functions_module: str = "functions",
        extra_volumes: Mapping[str, Mapping[str, str]] | None = None,
        extra_hosts: Mapping[str, str] | None = None,
        init_command: str | None = None,
        delete_tmp_files: bool = False,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        memory: int | None = None,
        cpus: float | None = None,
        pids_limit: int | None = None,
        network: str | None = None,
        lockdown: bool = False,
        output_limit: int | None = None,
    ) -> None:
        self._is_named = container_name is not None
        self.container_name = container_name if container_name is not None else f"autogen-code-exec-{uuid.uuid4()}"
        # What AutoGen dumps as the bind_dir when none was named.
        self._bind_dir = None if bind_dir is None or bind_dir == work_dir else Path(bind_dir)
        self._device_requests = [_device_request(request) for request in device_requests or ()]
        self._extra_volumes = {source: dict(mount) for source, mount in (extra_volumes or {}).items()}
        super().__init__(
            work_dir,
            image=image,
            timeout=timeout,
            functions=functions,
            functions_module=functions_module,
            auto_remove=auto_remove,
            stop_container=stop_container,
            extra_hosts=extra_hosts,
            init_command=init_command,
            delete_tmp_files=delete_tmp_files,
            env=env,
            user=user,
            memory=memory,
            cpus=cpus,
            pids_limit=pids_limit,
            network=network,
            lockdown=lockdown,
            output_limit=output_limit,
        )

    def _make(self, work_dir: Path | str | None) -> stockade.DockerCommandLineCodeExecutor:
        return stockade.DockerCommandLineCodeExecutor(
            **self._options,
            container_name=self.container_name,
            work_dir=work_dir,
            bind_dir=None if self._bind_dir is None else self._bind_dir.resolve(),
            device_requests=self._device_requests,
            extra_volumes=[_volume(source, mount) for source, mount in self._extra_volumes.items()],
        )

    def _on_this_host(self, file: Path, work_dir: Path) -> Path:
        # As it was named, like AutoGen: relative where it was.
        return work_dir / file.relative_to(work_dir.resolve())

    @property
    def work_dir(self) -> Path:
        """The directory on this host whose files the blocks work with.

        Raises:
            RuntimeError: None was named, and nothing has started.
        """
        if self._work_dir is not None or self._temporary is not None:
            return self._directory()
        if self._session is not None and self._is_started:
            return self._session.work_dir
        raise RuntimeError("Working directory not properly initialized")

    def _directory_of_session(self) -> Path | None:
        # A container that stays keeps its directory: when none was named, a temporary one of Stockade's.
        return self._directory() if self._options["stop_container"] else self._work_dir

    @property
    def bind_dir(self) -> Path:
        """Where the daemon finds the work_dir on its own host."""
        return self.work_dir if self._bind_dir is None else self._bind_dir

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> CommandLineCodeResult:
        if self._session is None:
            raise ValueError(NOT_RUNNING)
        if not code_blocks:
            raise ValueError("No code blocks to execute.")
        result = await super().execute_code_blocks(code_blocks, cancellation_token)
        if result.blocks[-1].status == "cancelled":
            # As AutoGen tells it, whose local executor says something else.
            result.exit_code = 1
            result.output += "Code execution was cancelled."
        return result

    async def restart(self) -> None:
        """Ends all that blocks have started, and starts a new container with the same work_dir.

        Raises:
            ValueError: Nothing has started.
        """
        if self._session is None:
            raise ValueError(NOT_RUNNING)
        with suppress(SessionEndedError):
            await self._end_session()
        await self.start()

    def _to_config(self) -> DockerCommandLineCodeExecutorConfig:
        return DockerCommandLineCodeExecutorConfig(
            **dumped(self._options),
            container_name=self.container_name if self._is_named else None,
            work_dir=text(self._work_dir),
            bind_dir=text(self._bind_dir or self._work_dir),
            device_requests=[_as_docker_has_it(request) for request in self._device_requests] or None,
            extra_volumes=self._extra_volumes,
        )

    @classmethod
    def _from_config(cls, config: DockerCommandLineCodeExecutorConfig) -> Self:
        return cls(**dict(config))


def _volume(source: str, mount: Mapping[str, str]) -> stockade.Volume:
    mode = mount.get("mode", "rw")
    if mode not in ("rw", "ro"):
        raise ValueError(f"extra_volumes: the mode of {source} must be rw or ro, not {mode}")
    return stockade.Volume(source, mount["bind"], read_only=mode == "ro")


# The docker package's names, and Stockade's.
DEVICE_REQUEST = {
    "Driver": "driver",
    "Count": "count",
    "DeviceIDs": "device_ids",
    "Capabilities": "capabilities",
    "Options": "options",
}


def _device_request(request: Mapping[str, Any] | stockade.DeviceRequest) -> stockade.DeviceRequest:
    if isinstance(request, stockade.DeviceRequest):
        return request
    # The package fills in what was not said, with what says nothing.
    said = {name: request.get(theirs) or None for theirs, name in DEVICE_REQUEST.items()}
    return stockade.DeviceRequest(**{name: value for name, value in said.items() if value is not None})


def _as_docker_has_it(request: stockade.DeviceRequest) -> dict[str, Any]:
    nothing: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": [], "Capabilities": [], "Options": {}}
    return {theirs: getattr(request, name) or nothing[theirs] for theirs, name in DEVICE_REQUEST.items()}
