"""Times of the drop-in beside autogen-ext, by turns in one process, for `cargo xtask bench autogen`.

Each executor is used as its own documentation shows. Prints a line for each measurement: its name, then the
medians in nanoseconds of Stockade's and AutoGen's. Whoever runs this says by STOCKADE_TEST_IMAGE in which
image; without one the containers are left out.

usage: autogen.py [--quick]
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from autogen_ext.code_executors.docker import DockerCommandLineCodeExecutor as AutogenDocker
from autogen_ext.code_executors.local import LocalCommandLineCodeExecutor as AutogenLocal

from stockade.autogen import DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor

QUICK = "--quick" in sys.argv
WIDTH = 16
# The daemon works on after a `docker exec` has returned.
TURN = 5
number = itertools.count()


async def run(executor: Any, language: str, code: str) -> None:
    """Runs a block that is like no other: AutoGen's identical ones delete each other's files."""
    block = CodeBlock(f"{code} # {next(number)}", language)
    result = await executor.execute_code_blocks([block], CancellationToken())
    assert result.exit_code == 0, result


async def run_at_once(executor: Any) -> None:
    await asyncio.gather(*(run(executor, "sh", "true") for _ in range(WIDTH)))


async def by_turns(
    name: str, rounds: int, ours: Callable[[], Awaitable[None]], theirs: Callable[[], Awaitable[None]]
) -> None:
    """Prints the medians of both, measured by turns after one round that does not count."""
    times: dict[Any, list[int]] = {ours: [], theirs: []}
    for _ in range(1 + (max(rounds // 5, 1) if QUICK else rounds)):
        for measured in (ours, theirs):
            for _ in range(TURN):
                begun = time.perf_counter_ns()
                await measured()
                times[measured].append(time.perf_counter_ns() - begun)
    report(name, *(int(median(found[TURN:])) for found in times.values()))


def report(name: str, ours: int, theirs: int) -> None:
    print(name, ours, theirs, sep="\t", flush=True)


async def compare_blocks(place: str, rounds: int, ours: Any, theirs: Any) -> None:
    await by_turns(f"{place}-sh", rounds, lambda: run(ours, "sh", "true"), lambda: run(theirs, "sh", "true"))
    await by_turns(
        f"{place}-python", rounds, lambda: run(ours, "python", "pass"), lambda: run(theirs, "python", "pass")
    )
    await by_turns(f"{place}-width", rounds, lambda: run_at_once(ours), lambda: run_at_once(theirs))


async def local() -> None:
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        ours, theirs = LocalCommandLineCodeExecutor(work_dir=here), AutogenLocal(work_dir=there)
        await compare_blocks("local", 20, ours, theirs)
        await ours.stop()


async def docker(image: str) -> None:
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        async with AutogenDocker(image, work_dir=there) as theirs:
            async with DockerCommandLineCodeExecutor(image, work_dir=here) as ours:
                await compare_blocks("docker", 5, ours, theirs)
                stopped = await time_of(ours.stop())
            report("docker-stop", stopped, await time_of(theirs.stop()))


async def time_of(done: Awaitable[None]) -> int:
    begun = time.perf_counter_ns()
    await done
    return time.perf_counter_ns() - begun


async def main() -> None:
    warnings.simplefilter("ignore")
    await local()
    if image := os.environ.get("STOCKADE_TEST_IMAGE"):
        os.environ.setdefault("DOCKER_HOST", os.environ["STOCKADE_TEST_DOCKER"])
        await docker(image)


asyncio.run(main())
