"""AutoGen's local executor, on Stockade."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
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


class VirtualEnvConfig(BaseModel):
    """What is used of a context of Python's `venv`."""

    bin_path: str
    env_exe: str


class LocalCommandLineCodeExecutorConfig(BaseModel):
    """What a `LocalCommandLineCodeExecutor` is dumped as: AutoGen's fields, and ours."""

    timeout: int | float = 60
    work_dir: str | None = None
    functions_module: str = "functions"
    cleanup_temp_files: bool = True
    virtual_env_context: VirtualEnvConfig | None = None
    sandbox: dict[str, Any] | None = None
    env: dict[str, str] | None = None
    inherit_env: list[str] | None = None
    output_limit: int | None = None


class LocalCommandLineCodeExecutor(SharedExecutor, Component[LocalCommandLineCodeExecutorConfig]):
    """Runs code on this machine: AutoGen's executor, on Stockade.

    It needs no start: the first call is one. Without a `sandbox` the code can do what this user can.

    Args:
        timeout: How long each block may take, in seconds.
        work_dir: Where blocks are saved and run; by default a temporary directory, removed at the stop.
        functions: Functions for the code to import.
        functions_module: The module that it imports them from.
        cleanup_temp_files: Whether the files of blocks that named none are removed.
        virtual_env_context: A virtual environment, as `venv.EnvBuilder.ensure_directories` gives it.
        sandbox: What the code may see and do.
        env: Variables for the code.
        inherit_env: Variables of this program for the code, beyond those that programs need to find
            themselves. `*` at the end of a name stands for anything: `["*"]` is what AutoGen does.
        output_limit: How many bytes are kept of each of a block's streams.

    >>> import asyncio
    >>> from autogen_core import CancellationToken
    >>> from autogen_core.code_executor import CodeBlock
    >>> from stockade import Sandbox
    >>> from stockade.autogen import LocalCommandLineCodeExecutor
    >>> async def main() -> None:
    ...     async with LocalCommandLineCodeExecutor(sandbox=Sandbox(best_effort=True)) as executor:
    ...         block = CodeBlock(code="print('hello')", language="python")
    ...         result = await executor.execute_code_blocks([block], CancellationToken())
    ...     print(result.exit_code, result.output)
    >>> asyncio.run(main())
    0 hello
    <BLANKLINE>
    """

    component_config_schema = LocalCommandLineCodeExecutorConfig
    component_provider_override = "stockade.autogen.LocalCommandLineCodeExecutor"

    def __init__(
        self,
        timeout: int = 60,
        work_dir: Path | str | None = None,
        functions: Sequence[Function] = (),
        functions_module: str = "functions",
        cleanup_temp_files: bool = True,
        virtual_env_context: SimpleNamespace | None = None,
        *,
        sandbox: stockade.Sandbox | None = None,
        env: Mapping[str, str] | None = None,
        inherit_env: Sequence[str] | None = None,
        output_limit: int | None = None,
    ) -> None:
        if sandbox is None:
            warnings.warn(
                "Using LocalCommandLineCodeExecutor may execute code on the local machine which can be "
                "unsafe. For security, it is recommended to use DockerCommandLineCodeExecutor instead, or a "
                "sandbox: LocalCommandLineCodeExecutor(sandbox=stockade.Sandbox()).",
                UserWarning,
                stacklevel=2,
            )
        self._virtual_env = _virtual_env(virtual_env_context)
        super().__init__(
            work_dir,
            timeout=timeout,
            functions=functions,
            functions_module=functions_module,
            cleanup_temp_files=cleanup_temp_files,
            sandbox=sandbox,
            env=env,
            inherit_env=inherit_env,
            output_limit=output_limit,
        )

    def _make(self, work_dir: Path | str | None) -> stockade.LocalCommandLineCodeExecutor:
        options: dict[str, Any] = {**self._options, "work_dir": work_dir}
        python = sys.executable
        if self._virtual_env is not None:
            python = os.path.abspath(self._virtual_env.env_exe)
            path = [os.path.abspath(self._virtual_env.bin_path), os.environ.get("PATH", os.defpath)]
            options["env"] = {"PATH": os.pathsep.join(path), **(options["env"] or {})}
        # The Python of this program or of the virtual environment, not the first on PATH.
        language = stockade.Language("python", "py", comments=["#"], commands=[[python, "{file}"]])
        return _Local(**options, languages=[language])

    @property
    def work_dir(self) -> Path:
        """Where blocks are saved and run."""
        return self._directory()

    @property
    def cleanup_temp_files(self) -> bool:
        """Whether the files of blocks that named none are removed."""
        clean_up: bool = self._options["cleanup_temp_files"]
        return clean_up

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> CommandLineCodeResult:
        try:
            return await super().execute_code_blocks(code_blocks, cancellation_token)
        except SessionEndedError:
            # Whoever uses this without a start knows of no session: the next call begins another.
            with suppress(SessionEndedError):
                await self._end_session()
            raise

    async def restart(self) -> None:
        """Does nothing, with a warning that says so, as at AutoGen."""
        said = "Restarting local command line code executor is not supported. No action is taken."
        warnings.warn(said, UserWarning, stacklevel=2)

    def _to_config(self) -> LocalCommandLineCodeExecutorConfig:
        return LocalCommandLineCodeExecutorConfig(
            **dumped(self._options),
            work_dir=text(self._work_dir),
            virtual_env_context=self._virtual_env,
        )

    @classmethod
    def _from_config(cls, config: LocalCommandLineCodeExecutorConfig) -> Self:
        options = dict(config)
        if config.virtual_env_context is not None:
            options["virtual_env_context"] = SimpleNamespace(**dict(config.virtual_env_context))
        if config.sandbox is not None:
            options["sandbox"] = stockade.Sandbox(**config.sandbox)
        return cls(**options)


class _Local(stockade.LocalCommandLineCodeExecutor):
    """One that ends without a word when nobody stops it: AutoGen's need not be stopped."""

    def __del__(self, *_: object) -> None:
        """Leaves the rest to the session's own end."""


def _virtual_env(context: Any) -> VirtualEnvConfig | None:
    if context is None:
        return None
    try:
        return VirtualEnvConfig(bin_path=str(context.bin_path), env_exe=str(context.env_exe))
    except AttributeError as error:
        raise TypeError(f"virtual_env_context must have bin_path and env_exe: {error}") from error
