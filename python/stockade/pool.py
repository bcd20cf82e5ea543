"""Sessions that are started ahead, so that nobody waits for a start."""

from __future__ import annotations

from stockade._template import PooledTemplate, PoolTemplate
from stockade.executors import CodeExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Any, TypeVar

    from stockade._template import Seconds, StrPath

    _Pool = TypeVar("_Pool", bound="Pool")


class PooledSession(PooledTemplate, CodeExecutor):
    """A session that a pool has started: fresh, with a workspace of its own, and used once.

    It is acquired by `async with pool.acquire() as session` or `session = await pool.acquire()`, and has all that a
    started executor has. `stop` throws it away.
    """

    def __await__(self) -> Generator[Any, None, PooledSession]:
        """Acquires it."""
        yield from self.start().__await__()
        return self


class Pool(PoolTemplate):
    """Keeps sessions of an executor started ahead. A session is for one holder, and never handed to another.

    >>> import asyncio
    >>> from stockade import CodeBlock, LocalCommandLineCodeExecutor, Pool
    >>> async def main():
    ...     async with Pool(LocalCommandLineCodeExecutor(), min_idle=2, max_total=8) as pool:
    ...         async with pool.acquire() as session:
    ...             result = await session.execute_code_blocks([CodeBlock("echo hello", "sh")])
    ...             print(result.exit_code, result.output)
    >>> asyncio.run(main())
    0 hello
    <BLANKLINE>

    When a session is stopped it is thrown away, and another started in its place, in the background. There is no way to
    give one back, for what a block leaves behind can't be proven gone; several tasks can share the session that one has
    acquired.
    """

    async def fill(self) -> None:
        """Waits until `min_idle` sessions are idle, or as many as those in use leave room for.

        Raises:
            StartError: One could not be started; it says why and what to do.
            PoolClosedError: The pool is closed.
        """
        await self._native.fill()

    def acquire(self, *, timeout: Seconds | None = None, work_dir: StrPath | None = None) -> PooledSession:
        """A session that nobody has used: `async with` it, or `await` it.

        One that is idle is there at once; else it is waited for, in the order of the asking.

        Args:
            timeout: How long to wait, in place of the pool's `acquire_timeout`.
            work_dir: The directory on this host whose files the blocks work with. It is copied, so it needs sessions
                that copy theirs: containers with `workspace="copy"`, or sandboxes with a `workspace_size`.

        Raises:
            PoolExhaustedError: When it is awaited: there was none in time.
            PoolClosedError: The pool is closed, or belongs to the process of which this is a fork.
            StartError: When it is awaited: one could not be started, or has no way to the work_dir.
        """
        return PooledSession(self._native.acquire(dict(timeout=timeout, work_dir=work_dir)), self._executor)

    async def close(self, grace: Seconds = 10) -> None:
        """Gives no session out any more, ends those that are idle, and waits for the others to end.

        Args:
            grace: How long those that are in use may go on. Then they are ended, and their calls end as cancelled.
        """
        await self._native.close(grace)

    async def __aenter__(self: _Pool) -> _Pool:
        try:
            await self.fill()
        except BaseException:
            await self.close(0)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._native.open:
            await self.close()
            self._tell_of_sessions_in_use()
