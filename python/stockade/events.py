"""What happens during a call, as it happens."""

from __future__ import annotations

from stockade._record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from stockade.results import BlockOutcome, CommandLineCodeResult


class BlockStarted(Record):
    """A block's process runs. A block that gets no process has no such event.

    Attributes:
        index: The block's place in the call, from 0.
        language: The canonical name of its language.
        code_file: The absolute path of its file.
    """

    index: int
    language: str
    code_file: Path


class BlockOutput(Record):
    r"""A block printed something.

    Attributes:
        index: The block's place in the call.
        stream: Which stream.
        data: What was read. A character is never divided between two events, unless its bytes came late.

    >>> BlockOutput(0, "stdout", b"caf\xc3\xa9").text
    'café'
    """

    index: int
    stream: Literal["stdout", "stderr"]
    data: bytes

    @property
    def text(self) -> str:
        """`data` as text; what is not UTF-8 becomes U+FFFD."""
        return self.data.decode("utf-8", "replace")


class OutputLost(Record):
    """The listener was slower than the block, and this much of its output was left out of the events here.

    The outcome is not affected. With `backpressure` the block waits instead.

    Attributes:
        index: The block's place in the call.
        bytes: How much.
    """

    index: int
    bytes: int


class BlockFinished(Record):
    """A block ended.

    Attributes:
        outcome: How.
    """

    outcome: BlockOutcome


class Finished(Record):
    """The call ended: the last event.

    Attributes:
        result: What `execute_code_blocks` gives.
    """

    result: CommandLineCodeResult


Event = BlockStarted | BlockOutput | OutputLost | BlockFinished | Finished
"""Something that happened during a call."""


class PullProgress(Record):
    """How far the pull of an image has come.

    Attributes:
        layers_done: How many layers of the image are there, downloaded and unpacked.
        layers: How many layers are known of. It may grow in the beginning.
        bytes_done: How many bytes have been downloaded.
        bytes_total: How many bytes there are to download, as far as is known.
        status: What the daemon is doing, in its own words.
    """

    layers_done: int
    layers: int
    bytes_done: int
    bytes_total: int
    status: str
