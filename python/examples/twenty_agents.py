"""Twenty agents at once, each with a session of its own; one of them is stuck, and keeps nobody waiting."""

import asyncio

from stockade import CodeBlock, LocalCommandLineCodeExecutor


async def agent(number: int) -> str:
    """Runs what one agent has come up with."""
    code = f"print(sum(range({number} + 1)))" if number != 13 else "while True: pass"
    async with LocalCommandLineCodeExecutor(timeout=5) as executor:
        result = await executor.execute_code_blocks([CodeBlock(code, "python")])
        return f"agent {number}: {result.blocks[0].status}, {result.blocks[0].stdout.strip() or 'nothing'}"


async def main() -> None:
    """Prints what each has found, as it comes."""
    for done in asyncio.as_completed([agent(number) for number in range(20)]):
        print(await done, flush=True)


asyncio.run(main())
