"""Stockade beside those who do the same, by turns in one run, for `cargo xtask bench peers`.

Each is used as its own documentation shows. Prints a line for each measurement: what was measured, where, whom, with
what parameter, in which unit, then the median, the 95th and the 99th percentile and how many samples there were. With
`--out` the same is written there as `peers.csv`, and the plots beside it. Whoever runs this says by
STOCKADE_TEST_IMAGE from which image the containers are, and by STOCKADE_TEST_DOCKER at which daemon; without them
they are left out.

usage: peers.py [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from statistics import quantiles
from typing import Any

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock as AutogenBlock
from autogen_ext.code_executors.docker import DockerCommandLineCodeExecutor as AutogenDocker
from autogen_ext.code_executors.local import LocalCommandLineCodeExecutor as AutogenLocal

from stockade import CodeBlock, DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor, Sandbox

BLOCKS = {
    "sh": ("sh", "true"),
    "python": ("python", "pass"),
    "pandas": ("python", "import pandas\nprint(pandas.DataFrame({'a': [1, 2]}).a.sum())"),
}
WIDTHS = (1, 2, 4, 8, 16, 32, 64)
# Blocks in one session after which the time of the next ones is looked at.
COUNTS = (1, 10, 100, 1000)
SESSIONS = (1, 2, 4, 8, 16)
# As short as no caller's who asks a model in between, in seconds.
PAUSE = 0.05
VOLUME = 16 << 20
PACKAGES = ("pandas==3.1.1",)
BENCH_IMAGE = "stockade-bench/python-pandas"

number = itertools.count()


def distinct(code: str) -> str:
    """The code as no other: what is the same has the same file at some, and gets in its own way there."""
    return f"{code} # {next(number)}"


# Whom.


class Peer:
    """Somebody who runs blocks, in a place; `enter` starts one session."""

    name: str
    place: str
    languages: tuple[str, ...] = ("sh", "python", "pandas")
    # Whether blocks can be run at once in one session.
    wide = True

    async def start(self) -> Any: ...

    async def run(self, session: Any, block: str, code: str) -> None: ...

    async def stop(self, session: Any) -> None: ...

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        session = await self.start()
        try:
            yield session
        finally:
            await self.stop(session)


async def ended_well(*command: str, cwd: str | None = None) -> None:
    devnull = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdin=devnull, stdout=devnull)
    if await process.wait() != 0:
        raise RuntimeError(f"{command} ended with {process.returncode}")


INTERPRETERS = {"sh": ("sh", "sh"), "python": (sys.executable, "py"), "pandas": (sys.executable, "py")}


class Bare(Peer):
    """The file is saved and its interpreter started, and nothing else."""

    name, place = "bare spawn", "local"

    async def start(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory()

    async def run(self, session: tempfile.TemporaryDirectory[str], block: str, code: str) -> None:
        program, extension = INTERPRETERS[block]
        path = Path(session.name) / f"{next(number)}.{extension}"
        path.write_text(code)
        await ended_well(program, str(path), cwd=session.name)

    async def stop(self, session: tempfile.TemporaryDirectory[str]) -> None:
        session.cleanup()


class Autogen(Peer):
    """autogen-ext's executors. The local one is given this interpreter by PATH, as the others are."""

    name = "autogen-ext 0.7.5"

    def __init__(self, place: str, make: Callable[[str], Any]) -> None:
        self.place, self.make = place, make

    async def start(self) -> Any:
        folder = tempfile.TemporaryDirectory()
        executor = self.make(folder.name)
        await executor.start()
        return executor, folder

    async def run(self, session: Any, block: str, code: str) -> None:
        language, _ = BLOCKS[block]
        result = await session[0].execute_code_blocks([AutogenBlock(code, language)], CancellationToken())
        assert result.exit_code == 0, result

    async def stop(self, session: Any) -> None:
        await session[0].stop()
        session[1].cleanup()


class Stockade(Peer):
    """Ours, with its defaults, and pandas preloaded for the blocks that use it where that is said."""

    def __init__(self, name: str, place: str, make: Callable[[], Any], languages: Iterable[str] = BLOCKS) -> None:
        self.name, self.place, self.make, self.languages = name, place, make, tuple(languages)

    async def start(self) -> Any:
        executor = self.make()
        await executor.start()
        return executor

    async def run(self, session: Any, block: str, code: str) -> None:
        language, _ = BLOCKS[block]
        result = await session.execute_code_blocks([CodeBlock(code, language)])
        assert result.exit_code == 0, result

    async def stop(self, session: Any) -> None:
        await session.stop()


class DockerCommand(Peer):
    """The `docker` command: a container with `docker run`, each block with `docker exec`, its code as an argument."""

    name, place = "docker exec", "docker"

    async def start(self) -> str:
        name = f"stockade-bench-{os.getpid()}-{next(number)}"
        await ended_well(*docker("run", "--detach", "--init", "--name", name, BENCH_IMAGE, "sleep", "infinity"))
        return name

    async def run(self, session: str, block: str, code: str) -> None:
        program = {"sh": "sh"}.get(block, "python3")
        await ended_well(*docker("exec", session, program, "-c", code))

    async def stop(self, session: str) -> None:
        await ended_well(*docker("rm", "--force", session))


class DockerRun(Peer):
    """`docker run --rm` for each block: what a fresh container each time costs."""

    name, place = "docker run", "docker"

    async def start(self) -> None: ...

    async def run(self, session: None, block: str, code: str) -> None:
        program = {"sh": "sh"}.get(block, "python3")
        await ended_well(*docker("run", "--rm", BENCH_IMAGE, program, "-c", code))

    async def stop(self, session: None) -> None: ...


class LlmSandbox(Peer):
    """llm-sandbox: `run` for Python, `execute_command` for the shell, which it has as no language."""

    name, place, wide = "llm-sandbox 0.3.46", "docker", False

    async def start(self) -> Any:
        from llm_sandbox import SandboxSession

        # What it makes for itself, an environment of Python's, would hide the packages of the image.
        session = SandboxSession(lang="python", image=BENCH_IMAGE, keep_template=True, skip_environment_setup=True)
        await asyncio.to_thread(session.open)
        return session

    async def run(self, session: Any, block: str, code: str) -> None:
        run = session.execute_command if block == "sh" else session.run
        result = await asyncio.to_thread(run, code)
        assert result.exit_code == 0, result

    async def stop(self, session: Any) -> None:
        await asyncio.to_thread(session.close)


def docker(*arguments: str) -> list[str]:
    return ["docker", "--host", os.environ["STOCKADE_TEST_DOCKER"], *arguments]


def local_peers() -> list[Peer]:
    environment = dict(env={"PATH": os.environ["PATH"]})
    return [
        Stockade("Stockade", "local", lambda: LocalCommandLineCodeExecutor(sandbox=None, **environment)),
        Stockade(
            "Stockade, preload",
            "local",
            lambda: LocalCommandLineCodeExecutor(sandbox=None, preload=["pandas"], **environment),
            ["pandas"],
        ),
        Stockade(
            "Stockade, sandbox",
            "local",
            lambda: LocalCommandLineCodeExecutor(sandbox=Sandbox(read_only=[sys.prefix]), **environment),
        ),
        Autogen("local", lambda folder: AutogenLocal(work_dir=folder)),
        Bare(),
    ]


def docker_peers() -> list[Peer]:
    where = dict(image=BENCH_IMAGE, daemon=os.environ["STOCKADE_TEST_DOCKER"])
    return [
        Stockade("Stockade", "docker", lambda: DockerCommandLineCodeExecutor(**where)),
        Stockade(
            "Stockade, preload",
            "docker",
            lambda: DockerCommandLineCodeExecutor(preload=["pandas"], **where),
            ["pandas"],
        ),
        Autogen("docker", lambda folder: AutogenDocker(image=BENCH_IMAGE, work_dir=folder)),
        LlmSandbox(),
        DockerCommand(),
        DockerRun(),
    ]


def make_image() -> None:
    """The tests' image with pandas in it, which every peer gets. Nothing of it is fetched from a registry."""
    base = os.environ["STOCKADE_TEST_IMAGE"]
    ask = "import site, sys; print(sys.version_info[0], sys.version_info[1], site.getsitepackages()[0])"
    answer = subprocess.run(
        docker("run", "--rm", base, "python3", "-c", ask), capture_output=True, text=True, check=True
    )
    major, minor, place = answer.stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        wheels = ["--only-binary=:all:", f"--python-version={major}.{minor}", f"--target={folder}/packages"]
        platform = [f"--platform=manylinux_2_{glibc}_{os.uname().machine}" for glibc in (28, 17)]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wheels, *platform, *PACKAGES], check=True)
        made = subprocess.run(docker("create", base), capture_output=True, text=True, check=True)
        container = made.stdout.strip()
        try:
            subprocess.run(docker("cp", "--quiet", f"{folder}/packages/.", f"{container}:{place}"), check=True)
            subprocess.run(docker("commit", container, BENCH_IMAGE), check=True, stdout=subprocess.DEVNULL)
        finally:
            subprocess.run(docker("rm", "--force", container), check=True, stdout=subprocess.DEVNULL)


# What.


class Measurements:
    """What was measured so far."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.rows: list[tuple[str, str, str, str, str, float, float, float, int]] = []

    def rounds(self, full: int) -> int:
        return max(full // 5, 2) if self.quick else full

    def add(self, what: str, peer: Peer, parameter: object, samples: list[float], unit: str = "ms") -> None:
        middle, high, highest = percentiles(samples)
        row = (what, peer.place, peer.name, str(parameter), unit, middle, high, highest, len(samples))
        self.rows.append(row)
        print(*row, sep="\t", flush=True)


def percentiles(samples: list[float]) -> tuple[float, float, float]:
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    cuts = quantiles(samples, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]


def progress(what: str) -> None:
    print(f"peers: {what} …", file=sys.stderr, flush=True)


async def timed(work: Awaitable[None]) -> float:
    begun = time.perf_counter()
    await work
    return (time.perf_counter() - begun) * 1e3


async def latency(measurements: Measurements, peers: list[Peer]) -> None:
    """One block after another, by turns: each peer's next comes after a pause, as that of a caller who thinks."""
    for block, full in (("sh", 100), ("python", 60), ("pandas", 25)):
        here = [peer for peer in peers if block in peer.languages]
        progress(f"{here[0].place}: {block} blocks by turns")
        async with contextlib.AsyncExitStack() as stack:
            sessions = [(peer, await stack.enter_async_context(peer.session())) for peer in here]
            samples: dict[Peer, list[float]] = {peer: [] for peer in here}
            for round in range(1 + measurements.rounds(full)):
                for peer, session in sessions:
                    # The second counts, after a pause: a daemon works on after it has answered the last peer.
                    await peer.run(session, block, distinct(BLOCKS[block][1]))
                    await asyncio.sleep(PAUSE)
                    taken = await timed(peer.run(session, block, distinct(BLOCKS[block][1])))
                    if round > 0:
                        samples[peer].append(taken)
            for peer in here:
                measurements.add(f"{block} block", peer, "", samples[peer])


async def throughput(measurements: Measurements, peers: list[Peer]) -> None:
    """Shell blocks a second, with so many under way at all times; each width in a new session, for files stay in it."""
    for peer in peers:
        if "sh" not in peer.languages or not peer.wide:
            continue
        progress(f"{peer.place}: blocks a second, {peer.name}")
        for width in WIDTHS:
            async with peer.session() as session:
                # About as long for each peer: the first block says how many there is time for.
                one = await timed(peer.run(session, "sh", distinct("true")))
                count = int(max(width, min(20 * width, measurements.rounds(1500) / max(one, 0.5))))
                left = iter(range(count))
                taken = await timed(gather(lane(peer, session, left) for _ in range(width)))
                measurements.add("sh blocks at once", peer, width, [count / taken * 1e3], "blocks/s")


async def lane(peer: Peer, session: Any, left: Iterable[int]) -> None:
    for _ in left:
        await peer.run(session, "sh", distinct("true"))


async def gather(work: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


async def many_blocks(measurements: Measurements, peers: list[Peer]) -> None:
    """Whether a block costs more after many others in its session."""
    for peer in peers:
        if "sh" not in peer.languages or isinstance(peer, DockerRun):
            continue
        progress(f"{peer.place}: many blocks in one session, {peer.name}")
        async with peer.session() as session:
            done = 0
            for count in COUNTS[: 3 if measurements.quick or peer.place == "docker" else None]:
                while done < count:
                    await peer.run(session, "sh", distinct("true"))
                    done += 1
                samples = [await timed(peer.run(session, "sh", distinct("true"))) for _ in range(10)]
                done += len(samples)
                measurements.add("sh block after many", peer, count, samples)


async def start_and_stop(measurements: Measurements, peers: list[Peer]) -> None:
    for peer in peers:
        if isinstance(peer, (Bare, DockerRun)):
            continue
        progress(f"{peer.place}: start and stop, {peer.name}")
        started, stopped = [], []
        full = {"local": 20, "docker": 5}[peer.place]
        for _ in range(measurements.rounds(full) if "autogen" not in peer.name else 2):
            begun = time.perf_counter()
            session = await peer.start()
            started.append((time.perf_counter() - begun) * 1e3)
            await peer.run(session, peer.languages[0], distinct(BLOCKS[peer.languages[0]][1]))
            stopped.append(await timed(peer.stop(session)))
        measurements.add("start", peer, "", started)
        measurements.add("stop", peer, "", stopped)


async def many_sessions(measurements: Measurements, peers: list[Peer]) -> None:
    """What sessions cost that are there at the same time: their start, one after another, and the memory of each."""
    for peer in peers:
        if not isinstance(peer, Stockade) or peer.languages != tuple(BLOCKS):
            continue
        progress(f"{peer.place}: sessions at once, {peer.name}")
        async with contextlib.AsyncExitStack() as stack:
            count, before = 0, memory()
            for wanted in SESSIONS[: 3 if measurements.quick else None]:
                samples = []
                while count < wanted:
                    begun = time.perf_counter()
                    session = await stack.enter_async_context(peer.session())
                    samples.append((time.perf_counter() - begun) * 1e3)
                    await peer.run(session, "sh", "true")
                    count += 1
                measurements.add("start beside others", peer, wanted, samples)
            # A container's processes are the daemon's.
            if peer.place == "local":
                used = (memory() - before) / count / (1 << 20)
                measurements.add("memory of a session", peer, "", [used], "MiB")


def memory() -> int:
    """Bytes of this process and of all that descend from it; shared ones are counted by halves, thirds and so on."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    total = 0
    for pid in own:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


async def volume(measurements: Measurements, peers: list[Peer]) -> None:
    """How fast a block's output is taken."""
    code = f"head -c {VOLUME} /dev/zero | tr '\\0' x"
    for peer in peers:
        if "sh" not in peer.languages or isinstance(peer, (DockerRun, LlmSandbox)):
            continue
        progress(f"{peer.place}: output, {peer.name}")
        async with peer.session() as session:
            await peer.run(session, "sh", distinct("true"))
            samples = [
                VOLUME / 1e3 / await timed(peer.run(session, "sh", distinct(code)))
                for _ in range(measurements.rounds(5))
            ]
            measurements.add("output", peer, f"{VOLUME >> 20} MiB", samples, "MB/s")


# What of it is shown.


def draw(rows: list[tuple[Any, ...]], folder: Path) -> None:
    """The plots: latency by block and peer, throughput against width, the time of a block after many."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the file is the same for the same numbers.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "stockade"})
    from matplotlib import pyplot

    def plainly(axis: Any) -> None:
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")

    def lines(what: str, name: str, label: str, unit: str) -> None:
        figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
        for place, axis in zip(("local", "docker"), axes, strict=True):
            found = [row for row in rows if row[0] == what and row[1] == place]
            for peer in dict.fromkeys(row[2] for row in found):
                points = [(int(row[3]), row[5]) for row in found if row[2] == peer]
                axis.plot(*zip(*points, strict=True), marker="o", label=peer)
            axis.set(xscale="log", yscale="log", xlabel=label, ylabel=unit, title=place)
            plainly(axis.xaxis)
            plainly(axis.yaxis)
            if found:
                axis.legend(fontsize="small")
        save(figure, name)

    def points() -> None:
        blocks = [f"{block} block" for block in BLOCKS]
        # One scale for all: a length is the same ratio everywhere.
        figure, axes = pyplot.subplots(2, 3, figsize=(12, 6), sharex=True)
        for (place, block), axis in zip(itertools.product(("local", "docker"), blocks), axes.flat, strict=True):
            found = [row for row in rows if row[0] == block and row[1] == place][::-1]
            names, middle = [row[2] for row in found], [row[5] for row in found]
            high = [row[6] - row[5] for row in found]
            axis.errorbar(middle, names, xerr=[[0] * len(found), high], fmt="o", capsize=3)
            axis.set(xscale="log", xlim=(1, 1000), title=f"{place}: {block}")
            axis.set_xlabel("ms (point: median, line: to the 95th percentile)", fontsize="small")
            axis.grid(axis="x", alpha=0.3)
            axis.margins(y=0.15)
            plainly(axis.xaxis)
        save(figure, "latency")

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)

    points()
    lines("sh blocks at once", "throughput", "blocks under way at once", "blocks/s")
    lines("sh block after many", "blocks", "blocks that the session has run before", "ms")


def write(rows: list[tuple[Any, ...]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "peers.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["what", "place", "peer", "parameter", "unit", "p50", "p95", "p99", "samples"])
        table.writerows((*row[:5], *(f"{value:.4g}" for value in row[5:8]), row[8]) for row in rows)
    draw(rows, folder)


async def measure(quick: bool) -> list[tuple[Any, ...]]:
    measurements = Measurements(quick)
    places = [local_peers()]
    if os.environ.get("STOCKADE_TEST_IMAGE") and os.environ.get("STOCKADE_TEST_DOCKER"):
        progress("the image for all of them")
        await asyncio.to_thread(make_image)
        os.environ["DOCKER_HOST"] = os.environ["STOCKADE_TEST_DOCKER"]
        places.append(docker_peers())
    for peers in places:
        for part in (latency, throughput, many_blocks, start_and_stop, many_sessions, volume):
            await part(measurements, peers)
    return measurements.rows


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    # This interpreter is everybody's, and many descriptors are open at once.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if shutil.which("docker") is None:
        os.environ.pop("STOCKADE_TEST_DOCKER", None)
    rows = asyncio.run(measure(options.quick))
    if options.out is not None:
        write(rows, options.out)


main()
