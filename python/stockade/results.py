"""What goes in and what comes back: code blocks, the result of a call, and the outcome of each of its blocks."""

from __future__ import annotations

from stockade import _native
from stockade._record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal


class CodeBlock(Record):
    """A piece of code and the language it is written in.

    Attributes:
        code: The code.
        language: A name or an alias, in any case: `python`, `py`, `Python`.

    >>> CodeBlock("print('hello')", "python")
    CodeBlock(code="print('hello')", language='python')
    """

    code: str
    language: str


def code_blocks(markdown: str) -> list[CodeBlock]:
    r"""The fenced code blocks of a Markdown text, in order.

    A block names a language. Fences without one, indented code and a fence that is never closed are not blocks.

    >>> code_blocks("Try this:\n```python\nprint('hello')\n```\n")
    [CodeBlock(code="print('hello')\n", language='python')]
    """
    return [CodeBlock(code, language) for code, language in _native.code_blocks(markdown)]


class FileChange(Record):
    """A file that was created or changed while a block ran.

    Attributes:
        path: Relative to the workspace.
        size: In bytes.
        mime: The media type that its name speaks for; `application/octet-stream` when it speaks for none.
        change: `deleted` is told of a workspace that is a copy alone; the file on this host stays.
    """

    path: Path
    size: int
    mime: str
    change: Literal["created", "changed", "deleted"]


class BlockOutcome(Record):
    """How one block ended.

    Attributes:
        index: Its place among the blocks of the call, from 0.
        language: The canonical name of its language, or the name that was asked for when it is unknown.
        code_file: The absolute path of its file; `None` when none was saved. A generated file is gone by now where
            the executor removes them.
        status: What became of it. `signaled` is a signal that was not Stockade's; `not_run` means that there was no
            process, and the output says why.
        exit_code: The process's own, or the one that stands for the status, as in `CommandLineCodeResult`.
        signal: The number of the signal that ended it, when its status is `signaled`.
        stdout_bytes: What it printed to stdout, and to stderr too when the streams are merged.
        stderr_bytes: What it printed to stderr.
        output_bytes: Both, in the order in which they were read, and Stockade's notice where there is one.
        dropped_bytes: How many bytes of both streams were printed and not kept.
        duration: Seconds from the start of its process to its end.
        cpu: Seconds of processor time of its processes.
        max_rss_bytes: The largest resident set of any one of them.
        files: Files in the workspace that were created or changed while it ran, its own file left out.
        files_truncated: The search for them was given up: there may be more.
        files_notice: Which of the files that it changed were not copied back to a work_dir that is not shared, and why;
            a part of `output` too.
        hint: How to get what the session denied the block and it seems to have failed for, such as the network: a
            guess from what it printed.
    """

    index: int
    language: str
    code_file: Path | None
    status: Literal["exited", "signaled", "timed_out", "cancelled", "out_of_memory", "not_run"]
    exit_code: int
    signal: int | None
    stdout_bytes: bytes
    stderr_bytes: bytes
    output_bytes: bytes
    dropped_bytes: int
    duration: float
    cpu: float
    max_rss_bytes: int
    files: list[FileChange]
    files_truncated: bool
    files_notice: str | None
    hint: str | None

    @property
    def stdout(self) -> str:
        """`stdout_bytes` as text; what is not UTF-8 becomes U+FFFD."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """`stderr_bytes` as text."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def output(self) -> str:
        """`output_bytes` as text."""
        return self.output_bytes.decode("utf-8", "replace")


class CommandLineCodeResult(Record):
    """The result of a call with any number of blocks.

    Attributes:
        exit_code: Of the last block that was reached; 0 when there was none. 124 timed out, 125 cancelled, 128+n
            ended by signal n, 137 out of memory, 127 no interpreter, 126 not executable, 1 unknown language or bad
            file name.
        output: What all blocks printed, in order, with Stockade's notices (a timeout, a missing interpreter).
        code_file: The absolute path of the first block's file; `None` when none was saved.
        blocks: The blocks that were reached, in order.
    """

    exit_code: int
    output: str
    code_file: Path | None
    blocks: list[BlockOutcome]


class LanguageReport(Record):
    """A language, and what runs it where a session's code runs.

    Attributes:
        name: The canonical name.
        aliases: Other names for it.
        extension: Of its files, without the dot.
        runs: `False` for what is saved and not run.
        interpreter: The absolute path of the interpreter or compiler; `None` when none was found.
    """

    name: str
    aliases: list[str]
    extension: str
    runs: bool
    interpreter: Path | None


class PoolTimes(Record):
    """How long something took that happens again and again, in seconds.

    Attributes:
        last: The last time.
        longest: The longest.
        total: All of them together.
    """

    last: float
    longest: float
    total: float


class PoolMetrics(Record):
    """What a pool has at one moment, and what has happened until then.

    Attributes:
        idle: Sessions that wait to be acquired.
        in_use: Sessions that were acquired and have not ended.
        starting: Sessions that are being started.
        ending: Sessions that were never acquired and are ending.
        waiting: Acquires that wait.
        started: Sessions that were started.
        failed_starts: Starts that failed.
        acquired: Acquires that gave a session.
        timed_out: Acquires that waited in vain.
        ended_while_idle: Sessions that ended by themselves, or broke, before anybody acquired them.
        expired_while_idle: Sessions that were replaced as they had been idle for too long.
        expired_in_use: Sessions that were ended while they were in use, as they had lived for too long.
        closed_in_use: Sessions that were ended while they were in use, as the pool was closed and its grace over.
        start_time: How long starts took.
        wait_time: How long acquires that gave a session took.
    """

    idle: int
    in_use: int
    starting: int
    ending: int
    waiting: int
    started: int
    failed_starts: int
    acquired: int
    timed_out: int
    ended_while_idle: int
    expired_while_idle: int
    expired_in_use: int
    closed_in_use: int
    start_time: PoolTimes
    wait_time: PoolTimes
