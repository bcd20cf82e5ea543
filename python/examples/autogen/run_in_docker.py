"""AutoGen's example of its Docker executor, moved over by the import alone."""

import asyncio
from pathlib import Path

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock

from stockade.autogen import DockerCommandLineCodeExecutor

work_dir = Path("coding")
work_dir.mkdir(exist_ok=True)


async def main() -> None:
    async with DockerCommandLineCodeExecutor(work_dir=work_dir) as executor:
        print(
            await executor.execute_code_blocks(
                code_blocks=[
                    CodeBlock(language="python", code="print('Hello, World!')"),
                ],
                cancellation_token=CancellationToken(),
            )
        )


asyncio.run(main())
