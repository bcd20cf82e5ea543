"""The executor of containers: what it does as the local one, and what its options do."""

from __future__ import annotations

import asyncio
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
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
    PullProgress,
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


class SlowDaemon(BaseHTTPRequestHandler):
    """A daemon that has no image and pulls none, but tells for a while how it tries."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self.answer(200, b'{"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}')
        elif "/json?" in self.path or self.path.endswith("/json"):
            self.answer(404, b'{"message": "no such image"}')
        else:
            self.answer(200, b"{}")

    def do_POST(self) -> None:
        lines = [{"status": "Pulling fs layer", "id": layer} for layer in ("0123456789ab", "abcdef012345")]
        told: list[dict[str, Any]] = [*lines, {"status": "Pull complete", "id": "0123456789ab"}]
        told.append({"error": "it is broken", "errorDetail": {"message": "it is broken"}})
        self.answer(200, "".join(f"{json.dumps(line)}\r\n" for line in told).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def slow_daemon(tmp_path: Path) -> Iterator[str]:
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(tmp_path / "daemon"), SlowDaemon) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"unix://{tmp_path}/daemon"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_on_pull_is_told_by_the_thread_that_starts_and_not_after_the_start(slow_daemon: str, way: str) -> None:
    told: list[tuple[PullProgress, int]] = []

    def tell(progress: PullProgress) -> None:
        told.append((progress, threading.get_ident()))

    options: Options = {"image": "stockade-test/none:1", "daemon": slow_daemon, "on_pull": tell}
    with pytest.raises(stockade.StartError, match="it is broken"):
        if way == "sync":
            sync.DockerCommandLineCodeExecutor(**options).start()
        else:
            asyncio.run(DockerCommandLineCodeExecutor(**options).start())
    assert told[-1][0].layers_done == 1
    assert told[-1][0].layers == 2
    assert {thread for _, thread in told} == {threading.get_ident()}


def test_an_error_in_on_pull_is_told_and_ends_nothing(slow_daemon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: raised.append(hook.exc_value))

    def fail(progress: PullProgress) -> None:
        raise LookupError(progress.status)

    executor = sync.DockerCommandLineCodeExecutor("stockade-test/none:1", daemon=slow_daemon, on_pull=fail)
    with pytest.raises(stockade.StartError, match="it is broken"):
        executor.start()
    assert {type(error) for error in raised} == {LookupError}
