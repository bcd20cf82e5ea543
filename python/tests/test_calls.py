"""Calls: their events, their options, how they are cancelled, and many of them at once."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import Mark, eventually, sh

from stockade import (
    BlockFinished,
    BlockOutput,
    BlockStarted,
    CancellationToken,
    CodeBlock,
    Event,
    Finished,
    LocalCommandLineCodeExecutor,
    OutputLost,
    StockadeError,
    sync,
)


async def test_a_stream_tells_what_happens_in_order_and_ends_with_the_result() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        blocks = [CodeBlock("echo one", "sh"), CodeBlock("echo two >&2; exit 4", "sh")]
        events = [event async for event in executor.execute_stream(blocks)]
        assert [type(event) for event in events] == [
            BlockStarted, BlockOutput, BlockFinished, BlockStarted, BlockOutput, BlockFinished, Finished,
        ]  # fmt: skip
        outputs = [event for event in events if isinstance(event, BlockOutput)]
        assert [(output.index, output.stream, output.text) for output in outputs] == [
            (0, "stdout", "one\n"),
            (1, "stderr", "two\n"),
        ]
        last = events[-1]
        assert isinstance(last, Finished)
        assert (last.result.exit_code, last.result.output) == (4, "one\ntwo\n")


async def test_events_come_while_the_block_runs() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        seen: list[str] = []
        code = "echo ready; while [ ! -e go ]; do sleep 0.01; done; echo done"
        async for event in executor.execute_stream(sh(code)):
            if isinstance(event, BlockOutput):
                seen.append(event.text)
                await executor.put_file("go", b"")
        assert seen == ["ready\n", "done\n"]


async def test_on_output_is_called_with_what_blocks_print() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        printed: list[BlockOutput] = []
        result = await executor.execute_code_blocks(sh("echo out; echo err >&2"), on_output=printed.append)
        assert result.output == "out\nerr\n"
        assert {(output.stream, output.text) for output in printed} == {
            ("stdout", "out\n"),
            ("stderr", "err\n"),
        }


async def test_an_error_in_on_output_ends_the_call(mark: Mark) -> None:
    def fail(output: BlockOutput) -> None:
        raise LookupError(output.text)

    async with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        with pytest.raises(LookupError, match="ready"):
            await executor.execute_code_blocks(sh("echo ready; sleep 600"), on_output=fail)
        mark.gone()
        assert (await executor.execute_code_blocks(sh("echo on"))).output == "on\n"


async def test_leaving_a_stream_early_ends_the_call(mark: Mark) -> None:
    async with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        async for event in executor.execute_stream(sh("echo ready; sleep 600")):
            if isinstance(event, BlockOutput):
                break
        await asyncio.to_thread(mark.gone)
        stream = executor.execute_stream(sh("echo ready; sleep 600"))
        assert isinstance(await anext(stream), BlockStarted)
        await stream.aclose()
        await asyncio.to_thread(mark.gone)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_the_end_of_a_with_ends_the_call(mark: Mark) -> None:
    blocks = sh("echo ready; sleep 600")
    async with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        with pytest.raises(LookupError):
            async with executor.execute_stream(blocks) as events:
                assert isinstance(await anext(events), BlockStarted)
                raise LookupError
        # Although somebody still holds them.
        await asyncio.to_thread(mark.gone)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        async with executor.execute_stream(sh("echo all")) as events:
            assert isinstance([event async for event in events][-1], Finished)
    with sync.LocalCommandLineCodeExecutor(env=mark.env) as blocking:
        with blocking.execute_stream(blocks) as stream:
            assert isinstance(next(stream), BlockStarted)
        mark.gone()
        assert list(stream) == []


async def test_a_slow_listener_loses_output_or_makes_the_block_wait() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        blocks = sh("head -c 20000000 /dev/zero")

        async def listen(backpressure: bool) -> tuple[int, int]:
            told = lost = 0
            async for event in executor.execute_stream(blocks, backpressure=backpressure):
                if isinstance(event, BlockStarted):
                    # Longer than the block takes when it does not wait.
                    await asyncio.sleep(1)
                told += len(event.data) if isinstance(event, BlockOutput) else 0
                lost += event.bytes if isinstance(event, OutputLost) else 0
            return told, lost

        told, lost = await listen(backpressure=False)
        assert told + lost == 20_000_000
        assert lost > 0
        assert await listen(backpressure=True) == (20_000_000, 0)


async def test_a_token_ends_the_call_which_keeps_what_was_printed(mark: Mark) -> None:
    async with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        token = CancellationToken()

        def cancel(output: BlockOutput) -> None:
            token.cancel()

        blocks = [*sh("echo ready; sleep 600"), *sh("echo never")]
        result = await executor.execute_code_blocks(blocks, token, on_output=cancel)
        assert token.is_cancelled()
        assert (result.exit_code, [block.status for block in result.blocks]) == (125, ["cancelled"])
        assert result.blocks[0].stdout == "ready\n"
        mark.gone()
        result = await executor.execute_code_blocks(sh("echo never"), token)
        assert (result.exit_code, result.blocks[0].stdout) == (125, "")
        assert (await executor.execute_code_blocks(sh("echo on"), CancellationToken())).output == "on\n"


async def test_cancelling_the_task_that_awaits_ends_the_run_and_no_other(mark: Mark) -> None:
    other = Mark()
    async with LocalCommandLineCodeExecutor() as executor:
        stays = asyncio.create_task(executor.execute_code_blocks(sh("echo $$; sleep 600"), env=other.env))
        goes = asyncio.create_task(executor.execute_code_blocks(sh("sleep 600"), env=mark.env))
        await asyncio.to_thread(eventually, "both runs", lambda: mark.processes() and other.processes())
        goes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await goes
        await asyncio.to_thread(mark.gone)
        assert other.processes()
        stays.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(executor.execute_code_blocks(sh("sleep 600"), env=mark.env), 0.2)
        await asyncio.to_thread(mark.gone)
        await asyncio.to_thread(other.gone)


async def test_cancelling_the_task_that_takes_events_ends_the_run(mark: Mark) -> None:
    async with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        stream = executor.execute_stream(sh("sleep 600"))

        async def listen() -> list[Event]:
            return [event async for event in stream]

        task = asyncio.create_task(listen())
        await asyncio.to_thread(eventually, "the run", mark.processes)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Although somebody still holds the stream.
        await asyncio.to_thread(mark.gone)


async def test_a_call_has_options_of_its_own(tmp_path: Path) -> None:
    async with LocalCommandLineCodeExecutor(env={"A": "a", "B": "b"}, keep_going=True) as executor:
        two = [*sh("echo $A$B; exit 1"), *sh("echo two")]
        assert (await executor.execute_code_blocks(two)).output == "ab\ntwo\n"
        assert (await executor.execute_code_blocks(two, env={"B": "c"}, keep_going=False)).output == "ac\n"
        merged = await executor.execute_code_blocks(sh("echo out; echo err >&2"), merge_streams=True)
        assert (merged.blocks[0].stdout, merged.blocks[0].stderr) == ("out\nerr\n", "")
        late = await executor.execute_code_blocks(sh("sleep 600"), timeout=timedelta(milliseconds=200))
        assert late.blocks[0].status == "timed_out"


async def test_thousands_of_calls_can_be_under_way_at_once() -> None:
    async with LocalCommandLineCodeExecutor(timeout=300) as executor:
        calls = (executor.execute_code_blocks(sh(f"echo {number}")) for number in range(2000))
        results = await asyncio.gather(*calls)
        assert [result.output for result in results] == [f"{number}\n" for number in range(2000)]


async def test_on_output_is_told_everything_however_slow_it_is() -> None:
    told = 0

    def count(output: BlockOutput) -> None:
        nonlocal told
        told += len(output.data)
        time.sleep(0.001)

    async with LocalCommandLineCodeExecutor() as executor:
        code = "import sys\nfor _ in range(60): sys.stdout.write('x' * 100000)"
        await executor.execute_code_blocks([CodeBlock(code, "python")], on_output=count)
    assert told == 6_000_000


@pytest.mark.parametrize("listener", [5, "print"])
async def test_on_output_must_be_callable(listener: Any) -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        with pytest.raises(TypeError, match="on_output: must be callable, not "):
            await executor.execute_code_blocks(sh("true"), on_output=listener)


async def test_on_output_is_no_coroutine_function() -> None:
    async def listen(_: BlockOutput) -> None: ...

    async with LocalCommandLineCodeExecutor() as executor:
        with pytest.raises(TypeError, match="nobody would await it"):
            await executor.execute_code_blocks(sh("true"), on_output=listen)


async def test_half_a_character_in_the_code_is_an_outcome() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        result = await executor.execute_code_blocks([CodeBlock("print('\udc80')", "python")])
        assert result.exit_code == 1
        assert "SyntaxError" in result.output


async def test_a_file_that_is_not_there_is_not_said_to_be_the_work_dir() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        with pytest.raises(StockadeError, match="failed to read missing in the workspace") as raised:
            await executor.get_file("missing")
        assert raised.value.hint is None
