r"""Executors for code that does not await: scripts, notebooks, threads.

The classes and methods are those of `stockade`. Each method waits on its thread, while other threads go on; Ctrl-C ends
what it waits for.

>>> from stockade import CodeBlock
>>> from stockade.sync import LocalCommandLineCodeExecutor
>>> with LocalCommandLineCodeExecutor() as executor:
...     result = executor.execute_code_blocks([CodeBlock("print(6 * 7)", "python")])
>>> result.output
'42\n'
"""

from __future__ import annotations

from stockade._template import (
    DockerTemplate,
    Events,
    LocalTemplate,
    PooledTemplate,
    PoolTemplate,
    Template,
    waits_for,
)
from stockade.events import BlockOutput, Finished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, TypeVar

    from stockade import _native
    from stockade._template import Seconds, StrPath
    from stockade.events import Event
    from stockade.results import CommandLineCodeResult, LanguageReport

    _Executor = TypeVar("_Executor", bound="CodeExecutor")
    _Pool = TypeVar("_Pool", bound="Pool")

__all__ = [
    "CodeExecutor",
    "DockerCommandLineCodeExecutor",
    "EventStream",
    "LocalCommandLineCodeExecutor",
    "Pool",
    "PooledSession",
]


class EventStream(Events):
    """The events of a call, as they happen. Leaving them early ends the call, and so does leaving a `with`."""

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> Event:
        if not self._told:
            try:
                self._told = self._events.next().wait()[::-1]
            except BaseException:
                self._end()
                raise
        if not self._told:
            raise StopIteration
        return self._told.pop()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def close(self) -> None:
        """Ends the call, if it is not over."""
        self._end()


class CodeExecutor(Template):
    """An executor whose methods wait. It runs blocks from `start` to `stop`, or in a `with`.

    Calls can be under way at the same time, from several threads. Whatever is started ends with `stop`, with the
    executor, or with this process.
    """

    def start(self) -> None:
        """As `stockade.CodeExecutor.start`."""
        self._native.start().wait()
        self._tell_of_preload()

    def stop(self) -> None:
        """As `stockade.CodeExecutor.stop`."""
        self._native.stop().wait()

    def restart(self) -> None:
        """As `stockade.CodeExecutor.restart`."""
        self._native.restart().wait()
        self._tell_of_preload()

    def __enter__(self: _Executor) -> _Executor:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def execute_code_blocks(
        self,
        code_blocks: Iterable[Any],
        cancellation_token: _native.CancellationToken | None = None,
        *,
        timeout: Seconds | None = None,
        env: Mapping[str, str] | None = None,
        keep_going: bool | None = None,
        merge_streams: bool | None = None,
        backpressure: bool | None = None,
        on_output: Callable[[BlockOutput], object] | None = None,
    ) -> CommandLineCodeResult:
        """As `stockade.CodeExecutor.execute_code_blocks`.

        The token can be cancelled by another thread. `on_output` is called on this one.
        """
        call = self._native.call(
            code_blocks=code_blocks,
            cancellation_token=cancellation_token,
            timeout=timeout,
            env=env,
            keep_going=keep_going,
            merge_streams=merge_streams,
            backpressure=waits_for(on_output) if backpressure is None else backpressure,
        )
        if on_output is None:
            return call.run().wait()
        with EventStream(self, call.events()) as events:
            for event in events:
                if isinstance(event, BlockOutput):
                    on_output(event)
                elif isinstance(event, Finished):
                    return event.result
        raise AssertionError("the last event is the result")

    def execute_stream(
        self,
        code_blocks: Iterable[Any],
        cancellation_token: _native.CancellationToken | None = None,
        *,
        timeout: Seconds | None = None,
        env: Mapping[str, str] | None = None,
        keep_going: bool | None = None,
        merge_streams: bool | None = None,
        backpressure: bool | None = None,
    ) -> EventStream:
        """As `stockade.CodeExecutor.execute_stream`."""
        call = self._native.call(
            code_blocks=code_blocks,
            cancellation_token=cancellation_token,
            timeout=timeout,
            env=env,
            keep_going=keep_going,
            merge_streams=merge_streams,
            backpressure=backpressure,
        )
        return EventStream(self, call.events())

    def languages(self) -> list[LanguageReport]:
        """As `stockade.CodeExecutor.languages`."""
        return self._native.languages().wait()

    def put_file(self, path: StrPath, contents: bytes | str) -> None:
        """As `stockade.CodeExecutor.put_file`."""
        self._native.put_file(path, contents.encode() if isinstance(contents, str) else contents).wait()

    def get_file(self, path: StrPath) -> bytes:
        """As `stockade.CodeExecutor.get_file`."""
        return self._native.get_file(path).wait()


class LocalCommandLineCodeExecutor(LocalTemplate, CodeExecutor):
    """As `stockade.LocalCommandLineCodeExecutor`, for code that does not await."""


class DockerCommandLineCodeExecutor(DockerTemplate, CodeExecutor):
    """As `stockade.DockerCommandLineCodeExecutor`, for code that does not await."""


class PooledSession(PooledTemplate, CodeExecutor):
    """As `stockade.PooledSession`, for code that does not await: `with pool.acquire() as session`."""


class Pool(PoolTemplate):
    r"""As `stockade.Pool`, for code that does not await.

    >>> from stockade import CodeBlock
    >>> with Pool(LocalCommandLineCodeExecutor()) as pool, pool.acquire() as session:
    ...     result = session.execute_code_blocks([CodeBlock("echo hello", "sh")])
    >>> result.output
    'hello\n'
    """

    def fill(self) -> None:
        """As `stockade.Pool.fill`."""
        self._native.fill().wait()

    def acquire(self, *, timeout: Seconds | None = None, work_dir: StrPath | None = None) -> PooledSession:
        """As `stockade.Pool.acquire`, and waits for the session: use it in a `with`, or `stop` it."""
        session = PooledSession(self._native.acquire(dict(timeout=timeout, work_dir=work_dir)), self._executor)
        session.start()
        return session

    def close(self, grace: Seconds = 10) -> None:
        """As `stockade.Pool.close`."""
        self._native.close(grace).wait()

    def __enter__(self: _Pool) -> _Pool:
        try:
            self.fill()
        except BaseException:
            self.close(0)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._native.open:
            self.close()
            self._tell_of_sessions_in_use()
