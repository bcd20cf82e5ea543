"""Pools: sessions that are started ahead, each for one holder."""

import asyncio
import copy
import gc
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from support import Mark, eventually, python, sh

import stockade
from stockade import DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor, Pool, PooledSession, Sandbox, sync

FRESH = "[ -e left ] || echo fresh; echo left > left"


async def test_each_acquired_session_is_fresh_and_thrown_away(mark: Mark) -> None:
    async with Pool(LocalCommandLineCodeExecutor(env=mark.env), min_idle=1, max_total=2) as pool:
        assert pool.metrics.idle == 1
        seen = set()
        for _ in range(4):
            async with pool.acquire() as session:
                assert isinstance(session, stockade.CodeExecutor)
                assert (await session.execute_code_blocks(sh(f"{FRESH}; sleep 600 &"))).output == "fresh\n"
                assert (session.info["executor"], session.workspace) == ("local", session.work_dir)
                seen.add(session.work_dir)
            with pytest.raises(stockade.NotStartedError):
                await session.execute_code_blocks(sh("true"))
        assert len(seen) == 4
    assert not any(work_dir.exists() for work_dir in seen)
    assert (pool.metrics.in_use, pool.metrics.acquired) == (0, 4)
    assert 0 < pool.metrics.start_time.longest <= pool.metrics.start_time.total


async def test_a_session_has_all_that_an_executor_has() -> None:
    def double(x: int) -> int:
        return 2 * x

    executor = LocalCommandLineCodeExecutor(functions=[double])
    async with Pool(executor) as pool:
        session = await pool.acquire()
        await session.put_file("in.txt", "text")
        assert await session.get_file("in.txt") == b"text"
        assert "python" in [language.name for language in await session.languages()]
        events = [event async for event in session.execute_stream(sh("echo on"))]
        assert isinstance(events[-1], stockade.Finished)
        code = [stockade.CodeBlock("from functions import double\nprint(double(21))", "python")]
        assert (await session.execute_code_blocks(code)).output == "42\n"
        assert session.format_functions_for_prompt() == executor.format_functions_for_prompt() != ""
        work_dir = session.work_dir
        await session.restart()
        assert session.work_dir != work_dir
        await session.stop()


async def test_an_exhausted_pool_says_so_in_time_and_serves_in_order() -> None:
    async with Pool(LocalCommandLineCodeExecutor(), max_total=1, acquire_timeout=60) as pool:
        held = await pool.acquire()
        with pytest.raises(TimeoutError, match=r"of at most 1 .*1 are in use") as raised:
            await pool.acquire(timeout=0.01)
        assert isinstance(raised.value, stockade.PoolExhaustedError)
        assert raised.value.kind == "pool_exhausted"
        assert "max_total" in (raised.value.hint or "")
        served = []

        async def wait(number: int) -> None:
            async with pool.acquire():
                served.append(number)

        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(wait(number)))
            while pool.metrics.waiting <= number:
                await asyncio.sleep(0.005)
        # Whoever leaves the queue loses nothing.
        tasks.pop(1).cancel()
        await held.stop()
        await asyncio.gather(*tasks)
        assert served == [0, 2, 3]


async def test_a_pool_whose_sessions_cannot_be_started_says_why(tmp_path: Path) -> None:
    daemon = f"unix://{tmp_path}/none.sock"
    executor = stockade.DockerCommandLineCodeExecutor("none", daemon=daemon)
    with pytest.raises(stockade.StartError) as raised:
        async with Pool(executor):
            pass
    assert raised.value.kind == "daemon_unreachable"
    pool = Pool(executor)
    with pytest.raises(stockade.StartError):
        await pool.acquire()
    await pool.close()


async def test_a_closed_pool_ends_what_is_in_use_after_the_grace(mark: Mark) -> None:
    pool = Pool(LocalCommandLineCodeExecutor(env=mark.env))
    session = await pool.acquire()
    call = asyncio.create_task(session.execute_code_blocks(sh("sleep 600")))
    await asyncio.to_thread(eventually, "the run", mark.processes)
    await pool.close(0.01)
    assert (await call).blocks[0].status == "cancelled"
    with pytest.raises(stockade.PoolClosedError, match="closed") as raised:
        await pool.acquire()
    assert isinstance(raised.value, RuntimeError)
    with pytest.raises(stockade.PoolClosedError):
        await pool.fill()
    # It was stopped in order, and so there is nothing to tell.
    await session.stop()


class Impatient(Pool):
    async def close(self, grace: float | timedelta = 0.01) -> None:
        await super().close(grace)


async def test_a_session_that_was_kept_is_told_when_its_pool_ends() -> None:
    with pytest.warns(RuntimeWarning, match="a session was still in use .*: stop each") as told:
        async with Impatient(LocalCommandLineCodeExecutor()) as pool:
            session = await pool.acquire()
    assert [warning.filename for warning in told] == [__file__]
    assert pool.metrics.closed_in_use == 1
    with pytest.raises(stockade.SessionEndedError, match="the pool of the session was closed"):
        await session.execute_code_blocks(sh("true"))
    await session.stop()


async def test_what_is_not_preloaded_is_told_where_a_session_is_acquired(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    )
    executor = LocalCommandLineCodeExecutor(sandbox=None, env={"PYTHONPATH": str(tmp_path)}, preload=["busy"])
    async with Pool(executor) as pool:
        with pytest.warns(RuntimeWarning, match="not preloaded.* keeps 1 thread running") as told:
            async with pool.acquire():
                pass
            await (await pool.acquire()).stop()
    assert [warning.filename for warning in told] == [__file__, __file__]


async def test_a_work_dir_of_ones_own_is_copied_or_refused(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("given\n")
    async with Pool(LocalCommandLineCodeExecutor()) as shares:
        with pytest.raises(stockade.StartError, match="share their work_dir") as raised:
            await shares.acquire(work_dir=tmp_path)
        with pytest.raises(stockade.InvalidOptionError, match="work_dir begins with a `~`"):
            shares.acquire(work_dir="~/x")
        assert "copied" in (raised.value.hint or "")
    copies = LocalCommandLineCodeExecutor(sandbox=Sandbox(workspace_size=16 << 20))
    async with Pool(copies) as pool, pool.acquire(work_dir=tmp_path) as session:
        result = await session.execute_code_blocks(sh("cat given.txt; echo made > made.txt"))
        assert (result.output, session.work_dir) == ("given\n", tmp_path.resolve())
    assert (tmp_path / "made.txt").read_text() == "made\n"


async def test_sessions_of_a_container_pool_are_warm(docker: dict[str, str], tmp_path: Path) -> None:
    executor = stockade.DockerCommandLineCodeExecutor(docker["image"], daemon=docker["daemon"], workspace="copy")
    (tmp_path / "given.txt").write_text("given\n")
    async with (
        Pool(executor, min_idle=2, max_total=3) as pool,
        pool.acquire(timeout=0, work_dir=tmp_path) as first,
        pool.acquire(timeout=0) as second,
    ):
        assert (await first.execute_code_blocks(sh("cat given.txt"))).output == "given\n"
        assert (await second.execute_code_blocks(sh(FRESH))).output == "fresh\n"
        assert first.info["container"]["id"] != second.info["container"]["id"]


def test_it_works_without_await_and_from_many_threads() -> None:
    outputs: dict[int, str] = {}
    with sync.Pool(LocalCommandLineCodeExecutor(), min_idle=2, max_total=4, acquire_timeout=60) as pool:

        def work(number: int) -> None:
            with pool.acquire() as session:
                outputs[number] = session.execute_code_blocks(sh(f"{FRESH}; echo {number}")).output

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held = pool.acquire()
        assert held.execute_code_blocks(sh("echo on")).output == "on\n"
        held.stop()
    assert outputs == {number: f"fresh\n{number}\n" for number in range(12)}
    with pytest.raises(stockade.PoolClosedError):
        pool.acquire()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_total": 0, "min_idle": 0}, "max_total"),
        ({"min_idle": 11}, "min_idle"),
        ({"min_idle": -1}, "min_idle"),
        ({"max_idle_time": 0}, "max_idle_time"),
        ({"max_lifetime": -1}, "max_lifetime"),
    ],
)
def test_options_that_no_pool_can_have_are_refused(options: dict[str, int], name: str) -> None:
    with pytest.raises(stockade.InvalidOptionError, match=name):
        Pool(LocalCommandLineCodeExecutor(), **options)


def test_what_is_no_template_of_many_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(stockade.InvalidOptionError, match="work_dir would be shared"):
        Pool(LocalCommandLineCodeExecutor(work_dir=tmp_path))
    with pytest.raises(stockade.InvalidOptionError, match="container_name"):
        Pool(stockade.DockerCommandLineCodeExecutor(container_name="one"))
    with pytest.raises(stockade.InvalidOptionError, match="stop_container"):
        sync.Pool(stockade.DockerCommandLineCodeExecutor(stop_container=False))
    with pytest.raises(TypeError, match="executor: must be an executor, not str"):
        Pool("local")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_total"):
        Pool(LocalCommandLineCodeExecutor(), max_total="many")  # type: ignore[arg-type]


def test_a_pool_that_nobody_holds_ends_with_a_warning() -> None:
    pool = sync.Pool(LocalCommandLineCodeExecutor(), min_idle=2)
    pool.fill()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del pool
        gc.collect()
    closed = sync.Pool(LocalCommandLineCodeExecutor())
    session = closed.acquire()
    assert isinstance(session, sync.PooledSession)
    session.stop()
    closed.close()
    with pytest.raises(TypeError, match="can't be pickled"):
        copy.copy(closed)
    unused = sync.Pool(LocalCommandLineCodeExecutor())
    del closed, unused
    gc.collect()


def test_a_session_goes_on_when_nobody_holds_its_pool() -> None:
    pool = sync.Pool(LocalCommandLineCodeExecutor())
    session = pool.acquire()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del pool
        gc.collect()
    assert session.execute_code_blocks(sh("echo on")).output == "on\n"
    with pytest.raises(stockade.PoolClosedError):
        session.restart()


async def test_a_session_that_nobody_holds_ends_with_a_warning() -> None:
    async with Pool(LocalCommandLineCodeExecutor()) as pool:
        session = await pool.acquire()
        assert isinstance(session, PooledSession)
        with pytest.warns(ResourceWarning, match="was not stopped"):
            del session
            gc.collect()


FORKED = """
import gc, os, sys, warnings
import stockade
from stockade import CodeBlock
from stockade.sync import LocalCommandLineCodeExecutor, Pool

warnings.simplefilter("ignore", DeprecationWarning)
block = [CodeBlock("echo on", "sh")]
pool, unused = Pool(LocalCommandLineCodeExecutor(), min_idle=2), Pool(LocalCommandLineCodeExecutor())
pool.fill()
session = pool.acquire()
child = os.fork()
if child == 0:
    for refused in (pool.acquire, pool.fill, lambda: pool.metrics):
        try:
            refused()
        except stockade.PoolClosedError as error:
            assert "fork" in str(error) and "make a new pool" in error.hint
        else:
            raise AssertionError("the parent's pool was used")
    pool.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del pool, session
        gc.collect()
    with unused, unused.acquire() as session:
        assert session.execute_code_blocks(block).output == "on\\n"
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert session.execute_code_blocks(block).output == "on\\n"
session.stop()
with pool.acquire(timeout=0) as session:
    assert session.execute_code_blocks(block).output == "on\\n"
pool.close()
print("done")
"""


def test_a_fork_leaves_the_parents_pool_alone_and_can_have_its_own() -> None:
    done = python(FORKED)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_an_interpreter_ends_with_a_pool_that_is_starting_sessions(mark: Mark) -> None:
    program = f"""
from stockade.sync import LocalCommandLineCodeExecutor, Pool
pool = Pool(LocalCommandLineCodeExecutor(env={mark.env!r}), min_idle=8)
session = pool.acquire()
print("leaves")
"""
    done = python(program)
    assert (done.stdout, done.returncode) == ("leaves\n", 0), done.stderr


def test_who_is_told_of_pulls_is_no_pool_s() -> None:
    executor = DockerCommandLineCodeExecutor(on_pull=print)
    with pytest.raises(stockade.InvalidOptionError, match="on_pull can't be told by a pool"):
        stockade.Pool(executor)
