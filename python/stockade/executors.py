"""Executors for asyncio: where blocks run. `stockade.sync` has the same for code that does not await."""

from __future__ import annotations

from stockade._template import DockerTemplate, Events, LocalTemplate, Template, waits_for
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


class EventStream(Events):
    """The events of a call, as they happen. Leaving them early ends the call, and so does leaving an `async with`."""

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        if not self._told:
            try:
                self._told = (await self._events.next())[::-1]
            except BaseException:
                self._end()
                raise
        if not self._told:
            raise StopAsyncIteration
        return self._told.pop()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    async def aclose(self) -> None:
        """Ends the call, if it is not over."""
        self._end()


class CodeExecutor(Template):
    """An executor whose methods are awaited.

    It runs blocks from `start` to `stop`, or in an `async with`. Calls can be under way at the same time, from several
    event loops and threads. Whatever is started ends with `stop`, with the executor, or with this process.
    """

    async def start(self) -> None:
        """Starts a session; nothing where one has started.

        Raises:
            StartError: There can be none; it says why and what to do.
            FunctionsError: The functions don't load, or their packages are not installed.
        """
        await self._native.start()
        self._tell_of_preload()

    async def stop(self) -> None:
        """Ends every process of the session, and waits for that; nothing where none has started.

        Calls that are under way end as cancelled.

        Raises:
            SessionEndedError: It had ended before, or a process can't be ended.
        """
        await self._native.stop()

    async def restart(self) -> None:
        """Stops the session, whatever has become of it, and starts a new one.

        Raises:
            StartError: As `start`.
        """
        await self._native.restart()
        self._tell_of_preload()

    async def __aenter__(self: _Executor) -> _Executor:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def execute_code_blocks(
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
        """Runs the blocks in order, and stops at the first that fails.

        Cancelling the task that awaits this ends the block that runs; so does the token, which gives a result, with
        what was printed until then.

        Args:
            code_blocks: Anything with `code` and `language`: `CodeBlock`, AutoGen's too.
            cancellation_token: Ends the call when it is cancelled.
            timeout: How long each block may take; the executor's timeout by default.
            env: Variables for these blocks, over the executor's.
            keep_going: Whether to run the blocks after one that fails; as the executor does by default.
            merge_streams: Whether stdout and stderr share one pipe; as the executor has it by default.
            backpressure: Whether a block waits for `on_output`, so that nothing is left out of what it is told. By
                default it does.
            on_output: Is called with what blocks print, as they do. It is no coroutine function.

        Raises:
            NotStartedError: Before `start` and after `stop`.
            StockadeError: Stockade failed. What becomes of the code is no error.
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
            return await call.run()
        async with EventStream(self, call.events()) as events:
            async for event in events:
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
        """As `execute_code_blocks`, and tells what happens as it happens. The last event is `Finished`.

        Whoever leaves the stream early ends the call.

        Args:
            code_blocks: Anything with `code` and `language`.
            cancellation_token: Ends the call when it is cancelled.
            timeout: How long each block may take.
            env: Variables for these blocks.
            keep_going: Whether to run the blocks after one that fails.
            merge_streams: Whether stdout and stderr share one pipe.
            backpressure: Whether a block waits for whoever takes the events, so that nothing is left out. By default
                it never waits, and `OutputLost` tells what was left out.
        """
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

    async def languages(self) -> list[LanguageReport]:
        """Every language, and what runs it here."""
        return await self._native.languages()

    async def put_file(self, path: StrPath, contents: bytes | str) -> None:
        """Saves a file in the workspace, and makes its parents. A symbolic link is not followed."""
        await self._native.put_file(path, contents.encode() if isinstance(contents, str) else contents)

    async def get_file(self, path: StrPath) -> bytes:
        """The contents of a regular file in the workspace, of 1 GiB at most. A symbolic link is not followed."""
        return await self._native.get_file(path)


class LocalCommandLineCodeExecutor(LocalTemplate, CodeExecutor):
    """Runs blocks on this host, as processes of this user, in a `Sandbox`.

    >>> import asyncio
    >>> from stockade import CodeBlock, LocalCommandLineCodeExecutor
    >>> async def main():
    ...     async with LocalCommandLineCodeExecutor(timeout=10) as executor:
    ...         result = await executor.execute_code_blocks([
    ...             CodeBlock("open('answer.txt', 'w').write('42')", "python"),
    ...             CodeBlock("cat answer.txt; exit 3", "sh"),
    ...         ])
    ...         print(result.exit_code, result.output)
    ...         print(result.blocks[0].files[0].path)
    >>> asyncio.run(main())
    3 42
    answer.txt
    """


class DockerCommandLineCodeExecutor(DockerTemplate, CodeExecutor):
    """Runs blocks in a container, with Docker or Podman. It is gone when the session is.

    A session that is locked down has no network, no root and no more than 1 GiB of memory::

        async with DockerCommandLineCodeExecutor("python:3-slim", lockdown=True) as executor:
            result = await executor.execute_code_blocks(blocks)
    """
