"""The executor of containers: what it does as the local one, and what its options do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support import sh

import stockade
from stockade import (
    BlockOutput,
    CancellationToken,
    CodeBlock,
    DockerCommandLineCodeExecutor,
    Finished,
    Ulimit,
    Volume,
    sync,
)

Options = dict[str, Any]


async def test_blocks_run_in_a_container_and_it_is_gone_afterwards(docker: Options, tmp_path: Path) -> None:
    async with DockerCommandLineCodeExecutor(**docker, work_dir=tmp_path) as executor:
        code = "import os\nprint(os.path.exists('/.dockerenv'), os.getcwd())\nopen('made.txt', 'w').write('x')"
        result = await executor.execute_code_blocks([CodeBlock(code, "python"), *sh("exit 3")])
        assert (result.exit_code, result.output) == (3, "True /workspace\n")
        assert [file.path for file in result.blocks[0].files] == [Path("made.txt")]
        assert (executor.work_dir, executor.workspace) == (tmp_path, Path("/workspace"))
        assert executor.info["container"]["image"] == docker["image"]
        name = executor.info["container"]["name"]
    assert (tmp_path / "made.txt").read_text() == "x"
    # Its name is free again.
    async with DockerCommandLineCodeExecutor(**docker, container_name=name) as executor:
        assert executor.info["container"]["name"] == name


async def test_events_timeouts_and_cancels_are_as_on_this_host(docker: Options) -> None:
    async with DockerCommandLineCodeExecutor(**docker) as executor:
        events = [event async for event in executor.execute_stream(sh("echo on"))]
        assert [event.text for event in events if isinstance(event, BlockOutput)] == ["on\n"]
        assert isinstance(events[-1], Finished)
        late = await executor.execute_code_blocks(sh("echo partial; sleep 600"), timeout=0.5)
        assert (late.exit_code, late.blocks[0].stdout) == (124, "partial\n")
        token = CancellationToken()
        cancelled = await executor.execute_code_blocks(
            sh("echo x; sleep 600"), token, on_output=lambda _: token.cancel()
        )
        assert cancelled.exit_code == 125
        many = await asyncio.gather(*[executor.execute_code_blocks(sh(f"echo {number}")) for number in range(50)])
        assert [result.output for result in many] == [f"{number}\n" for number in range(50)]
        await executor.put_file("in.txt", "text")
        assert await executor.get_file("in.txt") == b"text"


def test_it_blocks_where_nobody_awaits(docker: Options) -> None:
    with sync.DockerCommandLineCodeExecutor(**docker, lockdown=True) as executor:
        assert executor.execute_code_blocks(sh("id -u")).output != "0\n"
        assert executor.info["policy"]["network"] == "none"


async def test_options_reach_the_container(docker: Options, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given\n")
    tmp_path.chmod(0o755)

    def greet() -> str:
        return "hello"

    executor = DockerCommandLineCodeExecutor(
        **docker,
        env={"GIVEN": "variable"},
        extra_volumes=[Volume(tmp_path, "/data", read_only=True), f"{tmp_path}:/more:ro"],
        extra_hosts={"elsewhere": "192.0.2.1"},
        ulimits=["nofile=1000", Ulimit("core", 0)],
        init_command="echo prepared >prepared",
        labels={"team": "blue"},
        functions=[greet],
        memory=256 << 20,
        pids_limit=64,
        network="none",
        user="1000:1000",
        read_only=True,
        workspace="copy",
    )
    async with executor:
        seen = await executor.execute_code_blocks(
            sh("cat /data/given /more/given prepared; echo $GIVEN; grep -o '192.0.2.1' /etc/hosts; ulimit -n; id -u")
        )
        assert seen.output.split() == ["given", "given", "prepared", "variable", "192.0.2.1", "1000", "1000"]
        denied = await executor.execute_code_blocks(sh("touch /data/x || touch /usr/x"))
        assert denied.exit_code != 0
        hello = await executor.execute_code_blocks([CodeBlock("import functions; print(functions.greet())", "python")])
        assert hello.output == "hello\n"
        assert executor.info["container"]["workspace"] == "copy"


async def test_an_image_that_is_not_there_is_an_error_with_a_hint(docker: Options) -> None:
    options = docker | {"image": "stockade-test/none-such", "pull": "never"}
    with pytest.raises(stockade.StartError, match="failed to get the image stockade-test/none-such") as raised:
        await DockerCommandLineCodeExecutor(**options).start()
    assert (raised.value.kind, raised.value.hint is None) == ("image_unavailable", False)


async def test_no_daemon_is_an_error_that_says_so() -> None:
    executor = DockerCommandLineCodeExecutor(daemon="unix:///no/such/socket")
    with pytest.raises(stockade.StartError, match="/no/such/socket") as raised:
        await executor.start()
    assert raised.value.kind == "daemon_unreachable"


async def test_an_init_command_that_fails_is_an_error_with_what_it_printed(docker: Options) -> None:
    with pytest.raises(stockade.StartError, match="exit code 3:\nbroken"):
        await DockerCommandLineCodeExecutor(**docker, init_command="echo broken; exit 3").start()
