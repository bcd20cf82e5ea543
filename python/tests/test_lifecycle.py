"""From start to stop: sessions, loops, threads, forks, and ends that nobody planned."""

import asyncio
import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from support import Mark, eventually, python, sh

import stockade
from stockade import LocalCommandLineCodeExecutor, sync


async def test_blocks_run_from_start_to_stop_and_not_before_or_after() -> None:
    executor = LocalCommandLineCodeExecutor()

    async def refused() -> None:
        with pytest.raises(stockade.NotStartedError, match="not started\nhint: call `start` first"):
            await executor.execute_code_blocks(sh("true"))
        with pytest.raises(stockade.NotStartedError):
            await anext(executor.execute_stream(sh("true")))
        with pytest.raises(stockade.NotStartedError):
            await executor.get_file("x")
        for attribute in ["work_dir", "workspace", "info"]:
            with pytest.raises(stockade.NotStartedError):
                getattr(executor, attribute)

    await refused()
    await executor.start()
    assert (await executor.execute_code_blocks(sh("echo on"))).output == "on\n"
    await executor.stop()
    await refused()
    await executor.start()
    assert (await executor.execute_code_blocks(sh("echo again"))).output == "again\n"
    await executor.stop()


async def test_a_second_start_or_stop_does_nothing() -> None:
    executor = LocalCommandLineCodeExecutor()
    await executor.stop()
    await executor.start()
    work_dir = executor.work_dir
    await executor.start()
    assert executor.work_dir == work_dir
    async with executor:
        assert executor.work_dir == work_dir
    await executor.stop()


async def test_a_restart_is_a_new_session(mark: Mark) -> None:
    async with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        work_dir = executor.work_dir
        await executor.execute_code_blocks(sh("sleep 600 >/dev/null 2>&1 &"))
        eventually("the process", mark.processes)
        await executor.restart()
        assert not mark.processes()
        assert executor.work_dir != work_dir
        assert (await executor.execute_code_blocks(sh("echo on"))).output == "on\n"


async def test_stop_ends_calls_as_cancelled(mark: Mark) -> None:
    executor = LocalCommandLineCodeExecutor(env=mark.env)
    await executor.start()
    call = asyncio.create_task(executor.execute_code_blocks(sh("sleep 600")))
    await asyncio.to_thread(eventually, "the run", mark.processes)
    await executor.stop()
    assert (await call).blocks[0].status == "cancelled"


async def test_a_session_whose_runner_died_says_so_with_what_had_finished(mark: Mark) -> None:
    async with LocalCommandLineCodeExecutor(sandbox=None, env=mark.env) as executor:
        runner = "ppid() { awk '/^PPid/ {print $2}' /proc/$1/status; }; kill -9 $(ppid $(ppid $$)); sleep 600"
        with pytest.raises(stockade.SessionEndedError) as raised:
            await executor.execute_code_blocks([*sh("echo done"), *sh(runner)])
        assert [block.output for block in raised.value.blocks] == ["done\n"]
        assert raised.value.hint == "start a new session"
        await executor.restart()
        assert (await executor.execute_code_blocks(sh("echo on"))).output == "on\n"


def test_an_executor_works_in_one_event_loop_after_another_and_in_several() -> None:
    executor = LocalCommandLineCodeExecutor()
    asyncio.run(executor.start())
    assert asyncio.run(executor.execute_code_blocks(sh("echo next loop"))).output == "next loop\n"
    outputs: dict[int, str] = {}

    async def many(number: int) -> None:
        results = await asyncio.gather(*[executor.execute_code_blocks(sh(f"echo {number}")) for _ in range(20)])
        outputs[number] = "".join(result.output for result in results)

    threads = [threading.Thread(target=lambda number=number: asyncio.run(many(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: f"{number}\n" * 20 for number in range(4)}
    asyncio.run(executor.stop())


def test_no_descriptor_is_left_of_event_loops_that_have_ended() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def wait_and_leave_some_that_wait() -> None:
        await executor.execute_code_blocks(sh("true"))
        waits.append(asyncio.ensure_future(executor.execute_code_blocks(sh("sleep 600"))))
        await asyncio.sleep(0)

    executor = LocalCommandLineCodeExecutor()
    waits: list[asyncio.Future[object]] = []
    asyncio.run(executor.start())
    before = descriptors()
    for _ in range(200):
        asyncio.run(wait_and_leave_some_that_wait())
        assert descriptors() <= before
    assert all(wait.cancelled() for wait in waits)
    asyncio.run(executor.stop())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_task_that_is_destroyed_while_it_waits_ends_its_run(mark: Mark, caplog: pytest.LogCaptureFixture) -> None:
    executor = LocalCommandLineCodeExecutor(env=mark.env)
    asyncio.run(executor.start())
    loop = asyncio.new_event_loop()
    task = loop.create_task(executor.execute_code_blocks(sh("sleep 600")))
    loop.run_until_complete(asyncio.sleep(0.01))
    eventually("the run", mark.processes)
    loop.close()
    del task, loop
    gc.collect()
    assert "Task was destroyed but it is pending" in caplog.text
    mark.gone()
    assert asyncio.run(executor.execute_code_blocks(sh("echo on"))).output == "on\n"
    asyncio.run(executor.stop())


def test_an_event_loop_that_watches_no_descriptors_is_an_error_that_says_what_to_do() -> None:
    class Blind(asyncio.SelectorEventLoop):
        def add_reader(self, *_: object) -> None:
            raise NotImplementedError

    loop = Blind()
    # It watches one of its own.
    executor = LocalCommandLineCodeExecutor()
    with pytest.raises(RuntimeError, match=r"Blind'> has no add_reader, which awaiting needs: use `stockade.sync`"):
        loop.run_until_complete(executor.start())
    loop.close()


async def test_the_interpreter_goes_on_while_a_thread_waits() -> None:
    with sync.LocalCommandLineCodeExecutor() as executor:
        code = "while [ ! -e go ]; do sleep 0.01; done; echo went"
        call = asyncio.create_task(asyncio.to_thread(executor.execute_code_blocks, sh(code)))
        await asyncio.sleep(0)
        # By another thread, while the first waits for what this makes.
        await asyncio.to_thread(executor.put_file, "go", b"")
        assert (await call).output == "went\n"


def test_an_executor_that_nobody_holds_ends_its_session_with_a_warning(mark: Mark) -> None:
    executor = sync.LocalCommandLineCodeExecutor(env=mark.env)
    executor.start()
    executor.execute_code_blocks(sh("sleep 600 >/dev/null 2>&1 &"))
    eventually("the process", mark.processes)
    with pytest.warns(ResourceWarning, match="was not stopped"):
        del executor
    mark.gone()
    stopped = sync.LocalCommandLineCodeExecutor()
    stopped.start()
    stopped.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del stopped


@pytest.mark.parametrize("executor", [LocalCommandLineCodeExecutor(), sync.LocalCommandLineCodeExecutor()])
def test_an_executor_can_not_be_pickled_or_copied(executor: object) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="LocalCommandLineCodeExecutor can't be pickled or copied: make a new one"):
            attempt(executor)


EXIT = """
import asyncio, sys
from stockade import LocalCommandLineCodeExecutor, CodeBlock
executor = LocalCommandLineCodeExecutor(env={"STOCKADE_TEST_MARK": sys.argv[1]})
async def main():
    await executor.start()
    await executor.execute_code_blocks([CodeBlock("sleep 600 >/dev/null 2>&1 &", "sh")])
    running = asyncio.create_task(executor.execute_code_blocks([CodeBlock("echo; sleep 600", "sh")]))
    async for _ in executor.execute_stream([CodeBlock("echo; sleep 600", "sh")]):
        break
    print(executor.work_dir)
    END
asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["return", "raise LookupError", "sys.exit()", "import os; os._exit(0)"])
def test_whatever_way_the_interpreter_exits_nothing_is_left(end: str, mark: Mark) -> None:
    done = python(EXIT.replace("END", end), mark.env["STOCKADE_TEST_MARK"])
    work_dir = Path(done.stdout.strip())
    mark.gone()
    # The directory itself is a mount in the sandbox: the next program that starts a session removes it.
    eventually("the end of what is in the work_dir", lambda: not work_dir.exists() or not os.listdir(work_dir))
    assert "panicked" not in done.stderr
    assert "Fatal" not in done.stderr


WAITING = """
import threading, time
from stockade import CodeBlock
from stockade.sync import LocalCommandLineCodeExecutor
executor = LocalCommandLineCodeExecutor()
executor.start()
def again_and_again():
    while True:
        executor.execute_code_blocks([CodeBlock("true", "sh")])
for wait in (again_and_again, lambda: executor.execute_code_blocks([CodeBlock("sleep 600", "sh")])):
    threading.Thread(target=wait, daemon=True).start()
executor.execute_code_blocks([CodeBlock("true", "sh")])
"""


def test_a_program_can_end_while_its_threads_wait() -> None:
    done = python(WAITING)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "panicked" not in done.stderr


INTERRUPTED = """
import asyncio, sys
import stockade, stockade.sync
from stockade import CodeBlock
env = {"STOCKADE_TEST_MARK": sys.argv[2]}
block = [CodeBlock("sleep 600", "sh")]
def blocking():
    with stockade.sync.LocalCommandLineCodeExecutor(env=env) as executor:
        try:
            executor.execute_code_blocks(block)
        finally:
            print(executor.execute_code_blocks([CodeBlock("echo on", "sh")]).output)
async def awaiting():
    async with stockade.LocalCommandLineCodeExecutor(env=env) as executor:
        try:
            await executor.execute_code_blocks(block)
        finally:
            print((await executor.execute_code_blocks([CodeBlock("echo on", "sh")])).output)
try:
    blocking() if sys.argv[1] == "sync" else asyncio.run(awaiting())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("way", ["sync", "async"])
def test_ctrl_c_ends_the_run_and_not_the_session(way: str, mark: Mark) -> None:
    command = [sys.executable, "-c", INTERRUPTED, way, mark.env["STOCKADE_TEST_MARK"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") as program:
        eventually("the run", lambda: any(_is_sleep(pid) for pid in mark.processes()))
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=60)
    assert "interrupted" in output
    # Python 3.10 has no way to go on awaiting after a Ctrl-C.
    assert "on\n" in output or (way == "async" and sys.version_info < (3, 11))


def _is_sleep(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    except OSError:
        return False


FORKED = """
import asyncio, gc, os, sys, threading, warnings
import stockade, stockade.sync
from stockade import CodeBlock

warnings.simplefilter("ignore", DeprecationWarning)
block = [CodeBlock("echo on", "sh")]
executor, not_started = stockade.sync.LocalCommandLineCodeExecutor(), stockade.sync.LocalCommandLineCodeExecutor()
executor.start()
assert executor.execute_code_blocks(block).output == "on\\n"
stream = executor.execute_stream([CodeBlock("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two", "sh")])
assert not isinstance(next(stream), stockade.Finished)
waiting = threading.Thread(target=lambda: print(executor.execute_code_blocks(
    [CodeBlock("while [ ! -e go ]; do sleep 0.01; done; echo waited", "sh")]).output.strip(), flush=True), daemon=True)
waiting.start()

child = os.fork()
if child == 0:
    for refused in (lambda: executor.execute_code_blocks(block), executor.start, executor.restart,
                    lambda: executor.work_dir, lambda: list(stream)):
        try:
            refused()
        except stockade.SessionEndedError as error:
            assert "fork" in str(error) and "make a new executor" in error.hint
        else:
            raise AssertionError("the parent's session was used")
    executor.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del executor, stream
        gc.collect()
    with not_started:
        assert not_started.execute_code_blocks(block).output == "on\\n"
    async def main():
        async with stockade.LocalCommandLineCodeExecutor() as new:
            assert (await new.execute_code_blocks(block)).output == "on\\n"
    asyncio.run(main())
    sys.exit(7)

assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
executor.put_file("go", b"")
told = [event.text for event in stream if isinstance(event, stockade.BlockOutput)]
assert "".join(told).endswith("two\\n")
waiting.join()
assert executor.execute_code_blocks(block).output == "on\\n"
executor.stop()
print("done")
"""


def test_a_fork_leaves_the_parents_session_alone_and_can_have_its_own() -> None:
    done = python(FORKED)
    assert (done.stdout, done.returncode) == ("waited\ndone\n", 0), done.stderr


def test_a_pool_of_forked_processes_works() -> None:
    program = """
import multiprocessing
from stockade import CodeBlock
from stockade.sync import LocalCommandLineCodeExecutor
def run(number):
    with LocalCommandLineCodeExecutor() as executor:
        return executor.execute_code_blocks([CodeBlock(f"echo {number}", "sh")]).output
run(0)
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(pool.map(run, range(6)))
"""
    done = python(program)
    assert done.stdout == f"{[f'{number}{chr(10)}' for number in range(6)]}\n", done.stderr


def test_no_descriptor_is_left_when_sessions_have_ended() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def session() -> None:
        with sync.LocalCommandLineCodeExecutor() as executor:
            executor.execute_code_blocks(sh("true"))

    session()
    before = descriptors()
    for _ in range(10):
        session()
    eventually("the end of the descriptors", lambda: descriptors() <= before)
