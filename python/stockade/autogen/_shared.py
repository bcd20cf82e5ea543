"""What AutoGen's two executors have in common, on Stockade: the checks, the life of a session, the result."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, cast

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeExecutor, CodeResult

import stockade
from stockade import FunctionsError
from stockade.functions import format_for_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from autogen_core.code_executor import FunctionWithRequirements, FunctionWithRequirementsStr

    Function = FunctionWithRequirements[Any, ...] | FunctionWithRequirementsStr | Callable[..., Any]
    Session = stockade.LocalCommandLineCodeExecutor | stockade.DockerCommandLineCodeExecutor

FUNCTION_PROMPT_TEMPLATE = """\
You have access to the following user defined functions. They can be accessed from the module called \
`$module_name` by their function names.

For example, if there was a function called `foo` you could import it by writing \
`from $module_name import foo`

$functions"""


@dataclass
class Result(CodeResult):
    code_file: str | None


AutogenResult = Result
if not TYPE_CHECKING:
    # Where autogen-ext is installed, programs may ask whether a result is one of its own.
    with suppress(ImportError, RuntimeError):
        from autogen_ext.code_executors._common import CommandLineCodeResult as AutogenResult


@dataclass(eq=False)
class CommandLineCodeResult(AutogenResult):
    """What running blocks gives: AutoGen's result, and how each of the blocks ended.

    Attributes:
        exit_code: Of the last block that was reached.
        output: What the blocks printed.
        code_file: The path of the first block's file on this host.
        blocks: The outcome of each block that was reached; this is Stockade's.
    """

    blocks: list[stockade.BlockOutcome] = field(default_factory=list[stockade.BlockOutcome], repr=False)

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        """Compares what AutoGen's results have, to AutoGen's too."""
        if not isinstance(other, AutogenResult):
            return NotImplemented
        mine, its = ((one.exit_code, one.output, one.code_file) for one in (self, other))
        return mine == its


class SharedExecutor(CodeExecutor):
    """What both have in common: the checks, the life of a session, and how its results are told."""

    SUPPORTED_LANGUAGES: ClassVar[list[str]] = ["bash", "shell", "sh", "pwsh", "powershell", "ps1", "python"]
    FUNCTION_PROMPT_TEMPLATE: ClassVar[str] = FUNCTION_PROMPT_TEMPLATE

    def __init__(self, work_dir: Path | str | None, **options: Any) -> None:
        timeout, functions_module = options["timeout"], options["functions_module"]
        if isinstance(timeout, int | float) and timeout < 1:
            raise ValueError("Timeout must be greater than or equal to 1.")
        if isinstance(functions_module, str) and not functions_module.isidentifier():
            raise ValueError("Module name must be a valid Python identifier")
        self._options = options
        self._work_dir: Path | None = None
        self._temporary: TemporaryDirectory[str] | None = None
        self._session: Session | None = None
        self._is_started = False
        # Refuses what can't be used, before anything is made.
        self._make(_literal(work_dir))
        if work_dir is not None:
            self._work_dir = Path(work_dir)
            if self._work_dir.resolve() == Path.cwd():
                text = "Using the current directory as work_dir is deprecated."
                warnings.warn(text, DeprecationWarning, stacklevel=3)
            self._work_dir.mkdir(exist_ok=True, parents=True)

    @abstractmethod
    def _make(self, work_dir: Path | str | None) -> Session:
        """Stockade's executor with these options."""

    def _on_this_host(self, file: Path, work_dir: Path) -> Path:
        """Where a block's file is."""
        return file

    @property
    @abstractmethod
    def work_dir(self) -> Path:
        """The directory whose files the blocks work with."""

    @property
    def timeout(self) -> int:
        """How long each block may take, in seconds."""
        timeout: int = self._options["timeout"]
        return timeout

    @property
    def functions_module(self) -> str:
        """The name of the module that the functions are in."""
        name: str = self._options["functions_module"]
        return name

    def format_functions_for_prompt(self, prompt_template: str = FUNCTION_PROMPT_TEMPLATE) -> str:
        """Tells a model of the functions that its code can import.

        Args:
            prompt_template: What is said; `$module_name` stands for the module, `$functions` for stubs of
                them.
        """
        return format_for_prompt(self._options["functions"], self.functions_module, prompt_template)

    async def execute_code_blocks(
        self, code_blocks: list[CodeBlock], cancellation_token: CancellationToken
    ) -> CommandLineCodeResult:
        """Runs blocks in order, until one fails.

        Args:
            code_blocks: The blocks.
            cancellation_token: Ends the block that runs.

        Raises:
            ValueError: The functions' packages can't be installed, or the functions can't be loaded.
            stockade.StockadeError: Stockade failed; what becomes of the code is no error.
        """
        if not self._is_started:
            await self._start(cancellation_token)
        session, work_dir = self._session, self.work_dir
        if session is None:
            why = "failed to run the blocks: the executor was stopped while it started"
            raise stockade.NotStartedError(why, "not_started", "call `start` again")
        token = stockade.CancellationToken()
        cancellation_token.add_callback(token.cancel)
        result = await session.execute_code_blocks(code_blocks, token)
        code_file = None if result.code_file is None else str(self._on_this_host(result.code_file, work_dir))
        return CommandLineCodeResult(result.exit_code, result.output, code_file, result.blocks)

    async def start(self) -> None:
        """Starts a session; nothing where one has started.

        What is wrong with the functions is told by the first call, as at AutoGen.
        """
        try:
            await self._start()
        except FunctionsError:
            pass
        except BaseException:
            await self.stop()
            raise

    async def _start(self, cancellation_token: CancellationToken | None = None) -> None:
        if self._session is None:
            self._session = self._make(_literal(self._directory_of_session()))
        # Whoever else comes meanwhile waits for the same.
        starting = asyncio.ensure_future(self._session.start())
        if cancellation_token is not None and self._options["functions"]:
            cancellation_token.link_future(starting)
        try:
            await starting
        except asyncio.CancelledError:
            if cancellation_token is not None and cancellation_token.is_cancelled():
                raise ValueError("Pip install was cancelled") from None
            raise
        self._is_started = True

    def _directory(self) -> Path:
        """The work_dir; when none was named, a temporary one until the stop."""
        if self._work_dir is not None:
            return self._work_dir
        if self._temporary is None:
            self._temporary = TemporaryDirectory(prefix="stockade-autogen-", ignore_cleanup_errors=True)
            # Whoever the code runs as may use it; who may not enter the one around it does not get there.
            inner = Path(self._temporary.name, "work_dir")
            inner.mkdir()
            inner.chmod(0o777)
        return Path(self._temporary.name, "work_dir")

    def _directory_of_session(self) -> Path | None:
        return self._directory()

    async def stop(self) -> None:
        """Ends all that blocks have started, and removes a temporary work_dir; nothing before a start."""
        temporary, self._temporary = self._temporary, None
        try:
            await self._end_session()
        finally:
            if temporary is not None:
                temporary.cleanup()

    async def _end_session(self) -> None:
        session, self._session, self._is_started = self._session, None, False
        if session is not None:
            await session.stop()


def _literal(path: Path | str | None) -> Path | str | None:
    """A path that says where it is: to AutoGen `~` is a name like any other, which Stockade refuses."""
    return Path(path).absolute() if isinstance(path, str | Path) else path


def dumped(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a configuration has them."""
    if options["functions"]:
        logging.info("Functions will not be included in serialized configuration")
    dumped = {name: value for name, value in options.items() if name != "functions" and value is not None}
    sandbox: stockade.Sandbox | None = dumped.get("sandbox")
    if sandbox is not None:
        dumped["sandbox"] = {name: _plain(value) for name, value in vars(sandbox).items()}
    return dumped


def _plain(value: Any) -> Any:
    """An option of a sandbox as JSON can have it."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return [os.fspath(path) for path in cast(Sequence[Any], value)] if isinstance(value, list | tuple) else value


def text(path: Path | None) -> str | None:
    return None if path is None else str(path)
