"""Stockade runs code blocks that a language model wrote, each in a new process, and hands back all they did.

>>> import asyncio
>>> from stockade import CodeBlock, LocalCommandLineCodeExecutor
>>> async def main():
...     async with LocalCommandLineCodeExecutor() as executor:
...         result = await executor.execute_code_blocks([CodeBlock("print(6 * 7)", "python")])
...         print(result.exit_code, result.output)
>>> asyncio.run(main())
0 42
<BLANKLINE>

`stockade.sync` has the same classes for code that does not await.
"""

from stockade._native import CancellationToken
from stockade.errors import (
    FunctionsError,
    InvalidOptionError,
    NotStartedError,
    PoolClosedError,
    PoolExhaustedError,
    SessionEndedError,
    StartError,
    StockadeError,
    UnresponsiveError,
)
from stockade.events import (
    BlockFinished,
    BlockOutput,
    BlockStarted,
    Event,
    Finished,
    OutputLost,
    PullProgress,
)
from stockade.executors import (
    CodeExecutor,
    DockerCommandLineCodeExecutor,
    EventStream,
    LocalCommandLineCodeExecutor,
)
from stockade.options import DeviceRequest, Language, Sandbox, Ulimit, Volume
from stockade.pool import Pool, PooledSession
from stockade.results import (
    BlockOutcome,
    CodeBlock,
    CommandLineCodeResult,
    FileChange,
    LanguageReport,
    PoolMetrics,
    PoolTimes,
    code_blocks,
)

__all__ = [
    "BlockFinished",
    "BlockOutcome",
    "BlockOutput",
    "BlockStarted",
    "CancellationToken",
    "CodeBlock",
    "CodeExecutor",
    "CommandLineCodeResult",
    "DeviceRequest",
    "DockerCommandLineCodeExecutor",
    "Event",
    "EventStream",
    "FileChange",
    "Finished",
    "FunctionsError",
    "InvalidOptionError",
    "Language",
    "LanguageReport",
    "LocalCommandLineCodeExecutor",
    "NotStartedError",
    "OutputLost",
    "Pool",
    "PoolClosedError",
    "PoolExhaustedError",
    "PoolMetrics",
    "PoolTimes",
    "PooledSession",
    "PullProgress",
    "Sandbox",
    "SessionEndedError",
    "StartError",
    "StockadeError",
    "Ulimit",
    "UnresponsiveError",
    "Volume",
    "code_blocks",
]
