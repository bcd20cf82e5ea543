"""Shows what blocks print while they run: errors in red, and how each ended."""

import asyncio
import sys

from stockade import (
    BlockFinished,
    BlockOutput,
    BlockStarted,
    CodeBlock,
    Finished,
    LocalCommandLineCodeExecutor,
)

BLOCKS = [
    CodeBlock("import time\nfor step in range(3):\n    print('step', step)\n    time.sleep(0.2)", "python"),
    CodeBlock("echo 'something is odd' >&2; exit 3", "sh"),
]


async def main() -> int:
    """Runs the blocks, and gives their exit code."""
    async with LocalCommandLineCodeExecutor() as executor:
        async for event in executor.execute_stream(BLOCKS):
            match event:
                case BlockStarted(index, language):
                    print(f"── block {index}: {language}")
                case BlockOutput(stream="stderr"):
                    print(f"\x1b[31m{event.text}\x1b[0m", end="", flush=True)
                case BlockOutput():
                    print(event.text, end="", flush=True)
                case BlockFinished(outcome):
                    print(f"── {outcome.status} with {outcome.exit_code} after {outcome.duration:.1f} s")
                case Finished(result):
                    return result.exit_code
                case _:
                    pass
    return 0


sys.exit(asyncio.run(main()))
