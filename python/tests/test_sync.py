"""The executors of code that does not await."""

import pytest
from support import Mark, sh

from stockade import BlockFinished, BlockOutput, BlockStarted, CancellationToken, Finished, NotStartedError
from stockade.sync import LocalCommandLineCodeExecutor


def test_it_runs_blocks_without_await() -> None:
    with LocalCommandLineCodeExecutor(timeout=30) as executor:
        assert executor.execute_code_blocks(sh("echo on")).output == "on\n"
        printed: list[str] = []
        executor.execute_code_blocks(sh("echo told"), on_output=lambda output: printed.append(output.text))
        assert printed == ["told\n"]
        executor.put_file("in.txt", "text")
        assert executor.get_file("in.txt") == b"text"
        assert "python" in [language.name for language in executor.languages()]
        work_dir = executor.work_dir
        executor.restart()
        assert executor.work_dir != work_dir
    with pytest.raises(NotStartedError):
        executor.execute_code_blocks(sh("true"))


def test_its_stream_is_an_iterator() -> None:
    with LocalCommandLineCodeExecutor() as executor:
        events = list(executor.execute_stream(sh("echo on")))
        assert [type(event) for event in events] == [BlockStarted, BlockOutput, BlockFinished, Finished]


def test_leaving_its_stream_early_ends_the_call(mark: Mark) -> None:
    with LocalCommandLineCodeExecutor(env=mark.env) as executor:
        for event in executor.execute_stream(sh("echo ready; sleep 600")):
            if isinstance(event, BlockOutput):
                break
        mark.gone()
        stream = executor.execute_stream(sh("echo ready; sleep 600"))
        next(stream)
        stream.close()
        mark.gone()
        assert list(stream) == []


def test_a_token_is_cancelled_where_output_is_taken() -> None:
    with LocalCommandLineCodeExecutor() as executor:
        token = CancellationToken()
        result = executor.execute_code_blocks(sh("echo x; sleep 600"), token, on_output=lambda _: token.cancel())
        assert result.exit_code == 125


async def test_it_works_in_a_running_event_loop() -> None:
    # As in a notebook, whose cells run in one.
    with LocalCommandLineCodeExecutor() as executor:
        assert executor.execute_code_blocks(sh("echo on")).output == "on\n"
