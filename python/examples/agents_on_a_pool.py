"""Twenty agents share a pool of eight sessions: nobody waits for a start, and nobody gets what another has used."""

import asyncio

from stockade import CodeBlock, LocalCommandLineCodeExecutor, Pool


async def agent(pool: Pool, number: int) -> str:
    """Runs what one agent has come up with, in a session that nobody has used."""
    code = f"open('note.txt', 'x').write('mine')\nprint(sum(range({number} + 1)))"
    async with pool.acquire() as session:
        result = await session.execute_code_blocks([CodeBlock(code, "python")])
        return f"agent {number}: {result.output.strip()}"


async def main() -> None:
    """Prints what each has found, as it comes, and what it took."""
    executor = LocalCommandLineCodeExecutor(timeout=30)
    async with Pool(executor, min_idle=4, max_total=8, acquire_timeout=120) as pool:
        for done in asyncio.as_completed([agent(pool, number) for number in range(20)]):
            print(await done, flush=True)
        metrics = pool.metrics
        print(f"{metrics.acquired} sessions, the longest wait {metrics.wait_time.longest * 1000:.0f} ms")


asyncio.run(main())
