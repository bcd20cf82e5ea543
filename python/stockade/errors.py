"""What can go wrong with Stockade itself. What becomes of the code is never an error, but a result."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from stockade.results import BlockOutcome


class StockadeError(Exception):
    """Stockade failed.

    Attributes:
        message: What was being tried, and why it failed.
        kind: A stable word for this kind of failure, as the command's JSON has it.
        hint: What to do about it, where something is known.
        blocks: The outcomes of the blocks of the call that had finished before the failure.
    """

    message: str
    kind: str
    hint: str | None
    blocks: list[BlockOutcome]

    def __init__(
        self,
        message: str,
        kind: str = "failed",
        hint: str | None = None,
        blocks: Sequence[BlockOutcome] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.hint = hint
        self.blocks = list(blocks)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.kind, self.hint, self.blocks)


class InvalidOptionError(StockadeError, ValueError):
    """An option's value can't be used."""


class FunctionsError(StockadeError, ValueError):
    """The functions for the code can't be had: no source, no packages, or they fail to load."""


class NotStartedError(StockadeError, RuntimeError):
    """The executor was asked for something before `start` or after `stop`."""


class StartError(StockadeError, RuntimeError):
    """No session can be started: for want of its work_dir, sandbox, image or daemon, as the case may be."""


class SessionEndedError(StockadeError, RuntimeError):
    """The session has ended, or ended while the call ran."""


class UnresponsiveError(SessionEndedError, TimeoutError):
    """The session's runner did not answer in time, and was ended."""


class PoolExhaustedError(StockadeError, TimeoutError):
    """No session of the pool became free in time."""


class PoolClosedError(StockadeError, RuntimeError):
    """The pool gives no sessions out any more."""
