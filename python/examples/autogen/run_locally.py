"""AutoGen's example of its local executor, moved over by the import alone."""

import asyncio
from pathlib import Path

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock

from stockade.autogen import LocalCommandLineCodeExecutor

work_dir = Path("coding")
work_dir.mkdir(exist_ok=True)


async def main() -> None:
    local_executor = LocalCommandLineCodeExecutor(work_dir=work_dir)
    print(
        await local_executor.execute_code_blocks(
            code_blocks=[
                CodeBlock(language="python", code="print('Hello, World!')"),
            ],
            cancellation_token=CancellationToken(),
        )
    )


asyncio.run(main())
