"""Where AutoGen hurts its users, and ours does not: each test says what AutoGen 0.7.5 did, or shows it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from autogen_core import CancellationToken

from .conftest import AUTOGEN, NAMES, STOCKADE, Executors, appearance_of, execute, require, states_of

# Writes its process id to a file, and touches another as long as it lives.
LIVES_ON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid()
with open('alive.new', 'w') as file: file.write('x')
os.rename('alive.new', 'alive')
while True:
    time.sleep(0.05)
    open('beat', 'w').close()
"""
LEAVES_A_CHILD = f"import os, time\nif os.fork() == 0:{LIVES_ON.replace(chr(10), chr(10) + '    ')}\n"


async def assert_no_beat(work_dir: Path) -> None:
    """Nothing touches the file any more: it is removed until it stays away."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (work_dir / "beat").unlink(missing_ok=True)
        await asyncio.sleep(0.5)
        if not (work_dir / "beat").exists():
            return
    pytest.fail("a process of the block lives on")


async def test_a_timeout_keeps_the_output_and_ends_children_that_ignore_it(ours: Executors, tmp_path: Path) -> None:
    # AutoGen's local one loses the output, and neither ends the child; a block that itself ignores TERM hangs
    # both (0.7.5).
    code = f"print('partial', flush=True)\n{LEAVES_A_CHILD}\nos.wait()"
    async with ours.running(work_dir=tmp_path, timeout=2) as executor:
        result = await execute(executor, ("python", code))
        assert result.exit_code == 124
        assert result.output.startswith("partial\n")
        await assert_no_beat(tmp_path)


async def test_a_block_that_ignores_the_deadline_is_ended(ours: Executors) -> None:
    # AutoGen's call does not return (0.7.5).
    async with ours.running(timeout=1) as executor:
        result = await execute(executor, ("sh", "trap '' TERM; echo partial; while :; do sleep 1; done"))
    assert result.exit_code == 124
    assert result.output.startswith("partial\n")


async def test_a_cancel_ends_no_identical_run(ours: Executors, tmp_path: Path) -> None:
    # AutoGen's local one ignores a cancel once the block runs. In Docker it is `pkill -f` with the command,
    # which ends whoever runs the same, and nobody where the image has no pkill, as python:3-slim (0.7.5).
    code = "echo x >> runs; while ! [ -e go ]; do sleep 0.05; done; echo finished"
    token = CancellationToken()
    async with ours.running(work_dir=tmp_path) as executor:
        cancelled, other = (
            asyncio.create_task(execute(executor, ("sh", code), token=token)) for token in (token, CancellationToken())
        )
        while not (tmp_path / "runs").exists() or (tmp_path / "runs").read_text() != "x\nx\n":
            await asyncio.sleep(0.01)
        token.cancel()
        assert (await cancelled).exit_code in (1, 125)
        (tmp_path / "go").touch()
        result = await other
    assert (result.exit_code, result.output) == (0, "finished\n")


HOST = """
import asyncio, sys, warnings
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from stockade.autogen import DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor

async def main():
    warnings.simplefilter("ignore")
    kind, work_dir, name, image, end = sys.argv[1:]
    if kind == "local":
        executor = LocalCommandLineCodeExecutor(work_dir=work_dir)
    else:
        executor = DockerCommandLineCodeExecutor(image, name, work_dir=work_dir)
    await executor.start()
    code = CODE
    call = executor.execute_code_blocks([CodeBlock(code, "python")], CancellationToken())
    if end == "return":
        await call
    elif end == "exception":
        await call
        raise RuntimeError("an accident")
    else:
        await call
        await asyncio.sleep(300)

asyncio.run(main())
""".replace("CODE", repr(LEAVES_A_CHILD + "while not os.path.exists('alive'): time.sleep(0.01)"))


@pytest.mark.parametrize("end", ["return", "exception", "SIGKILL"])
@pytest.mark.parametrize("kind", NAMES)
async def test_nothing_outlives_the_program(
    kind: str, end: str, request: pytest.FixtureRequest, tmp_path: Path, container_name: str
) -> None:
    # AutoGen's container runs on after a SIGKILL, an exception, and a return without `stop`; so do processes
    # that its local blocks left (0.7.5).
    image = request.getfixturevalue("image") if kind == "docker" else "-"
    arguments = [sys.executable, "-c", HOST, kind, str(tmp_path), container_name, image, end]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": tmp_path}
    with subprocess.Popen(arguments, text=True, **options) as program:
        await appearance_of(tmp_path / "alive")
        if end == "SIGKILL":
            program.kill()
        _, errors = await asyncio.to_thread(program.communicate, timeout=60)
        assert ("an accident" in errors) == (end == "exception"), errors
    await assert_no_beat(tmp_path)
    deadline = time.monotonic() + 30
    while states_of(container_name) if kind == "docker" else False:
        assert time.monotonic() < deadline, "the container is still there"
        await asyncio.sleep(0.1)


async def test_a_byte_that_is_no_text_is_shown(executors: Executors) -> None:
    async with executors.running() as executor:
        block = ("python", "import sys; sys.stdout.buffer.write(b'caf\\xe9\\n')")
        if executors.is_reference:
            with pytest.raises(UnicodeDecodeError):
                await execute(executor, block)
        else:
            assert (await execute(executor, block)).output == "caf\ufffd\n"


async def test_of_much_output_the_beginning_and_the_end_are_kept(executors: Executors) -> None:
    async with executors.running() as executor:
        result = await execute(executor, ("python", "print('first'); print('x' * 9_999_999); print('last')"))
    assert result.exit_code == 0
    assert result.output.startswith("first\n")
    assert result.output.endswith("last\n")
    if executors.is_reference:
        assert len(result.output) > 9_999_999, "at 200 MB too, and the program grows to more than twice that"
    else:
        assert len(result.output) < 2_000_000
        assert "bytes dropped" in result.output


async def test_files_belong_to_the_work_dirs_owner(docker_executors: Executors, tmp_path: Path) -> None:
    require("root", os.geteuid() == 0)
    os.chown(tmp_path, 12345, 12345)
    async with docker_executors.running(work_dir=tmp_path) as executor:
        await execute(executor, ("sh", "echo x > made"))
    assert (tmp_path / "made").stat().st_uid == (0 if docker_executors.is_reference else 12345)


async def test_a_secret_of_this_program_is_hidden_unless_it_is_passed_on(local: Executors, monkeypatch: Any) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    blocks = [("sh", "echo $SOME_API_KEY.$GIVEN")]
    async with local.running() as executor:
        result = await execute(executor, *blocks)
        assert result.output == ("secret.\n" if local.is_reference else ".\n")
    if not local.is_reference:
        async with local.running(inherit_env=["SOME_API_*"], env={"GIVEN": "given"}) as executor:
            assert (await execute(executor, *blocks)).output == "secret.given\n"


async def test_a_container_has_limits(docker_executors: Executors) -> None:
    status = r"""import re
print(*re.findall(r"(?m)^(?:NoNewPrivs|CapBnd):\s*(\S+)", open("/proc/self/status").read()))"""
    async with docker_executors.running() as executor:
        no_new_privileges, capabilities = (await execute(executor, ("python", status))).output.split()[::-1]
        net_raw = 1 << 13
        if docker_executors.is_reference:
            assert (no_new_privileges, int(capabilities, 16) & net_raw) == ("0", net_raw)
        else:
            assert (no_new_privileges, int(capabilities, 16) & net_raw) == ("1", 0)


async def test_a_container_can_be_given_limits(our_docker: Executors) -> None:
    async with our_docker.running(memory=64 << 20, pids_limit=32, cpus=1.5, network="none", user="65534") as executor:
        result = await execute(
            executor,
            ("sh", "id -u; ls /sys/class/net"),
            ("python", "print(len(bytearray(512 << 20)))"),
        )
    assert result.output.split()[:2] == ["65534", "lo"]
    assert result.exit_code == 137
    assert "Out of memory" in result.output


async def test_under_lockdown_a_container_has_no_network_and_no_root(our_docker: Executors) -> None:
    async with our_docker.running(lockdown=True) as executor:
        result = await execute(executor, ("sh", "id -u; ls /sys/class/net; echo x > made; cat made; touch /usr/made"))
    assert result.output.split()[1:3] == ["lo", "x"]
    assert result.output.split()[0] != "0"
    assert result.exit_code == 1


async def test_a_named_files_folder_is_made(executors: Executors, tmp_path: Path) -> None:
    block = ("python", "# filename: src/app.py\nprint('hello')")
    async with executors.running(work_dir=tmp_path) as executor:
        if executors.is_reference:
            with pytest.raises(FileNotFoundError):
                await execute(executor, block)
        else:
            result = await execute(executor, block)
            assert result.output == "hello\n"
            assert result.code_file == str(tmp_path / "src" / "app.py")


async def test_a_name_after_the_shebang_is_taken(executors: Executors, tmp_path: Path) -> None:
    async with executors.running(work_dir=tmp_path) as executor:
        result = await execute(executor, ("sh", "#!/bin/sh\n# filename: run.sh\necho hello"))
    assert result.output == "hello\n"
    assert Path(result.code_file).name.startswith("tmp_code_" if executors.is_reference else "run.sh")


async def test_a_named_file_is_kept(executors: Executors, tmp_path: Path) -> None:
    option = "cleanup_temp_files" if executors.kind == "local" else "delete_tmp_files"
    async with executors.running(work_dir=tmp_path, **{option: True}) as executor:
        result = await execute(executor, ("python", "# filename: app.py\nprint('hello')"))
    assert result.output == "hello\n"
    assert (tmp_path / "app.py").exists() is not executors.is_reference


async def test_parallel_blocks_that_name_one_file_run_their_own(ours: Executors) -> None:
    # At AutoGen some run what another wrote, with exit code 0 (0.7.5).
    async with ours.running() as executor:
        calls = [execute(executor, ("python", f"# filename: app.py\nprint({number})")) for number in range(8)]
        results = await asyncio.gather(*calls)
    assert [result.output for result in results] == [f"{number}\n" for number in range(8)]


async def test_python3_is_known(executors: Executors) -> None:
    async with executors.running() as executor:
        if executors.kind == "docker" or not executors.is_reference:
            assert (await execute(executor, ("python3", "print('hello')"))).output == "hello\n"
        else:
            result = await execute(executor, ("python3", "print('hello')"))
            assert (result.exit_code, result.output) == (1, "\nunknown language python3")


async def test_javascript_is_known(executors: Executors) -> None:
    async with executors.running() as executor:
        block = ("javascript", "console.log('hello')")
        if executors.is_reference and executors.kind == "docker":
            with pytest.raises(ValueError, match="Unsupported language: javascript"):
                await execute(executor, block)
            return
        result = await execute(executor, block)
        if executors.is_reference:
            assert (result.exit_code, result.output) == (1, "\nunknown language javascript")
        else:
            # Where there is no node, the result says what was looked for.
            assert result.output == "hello\n" or (result.exit_code == 127 and "node" in result.output)


async def test_a_shell_line_in_python_runs_in_the_shell(executors: Executors) -> None:
    async with executors.running() as executor:
        result = await execute(executor, ("python", "!pip --version\nprint('hello')"))
    if executors.is_reference:
        assert result.exit_code == 1
        assert "SyntaxError" in result.output
    else:
        assert result.exit_code == 0
        assert result.output.startswith("pip ")
        assert result.output.endswith("hello\n")


async def test_a_background_process_does_not_hold_up_the_result(ours: Executors, tmp_path: Path) -> None:
    # AutoGen waits until it ends, or reports a timeout and loses the output (0.7.5).
    server = "while ! [ -e stop ]; do sleep 0.05; done; echo served > served"
    async with ours.running(work_dir=tmp_path, timeout=30) as executor:
        result = await execute(executor, ("sh", f"({server}) & echo started"))
        assert (result.exit_code, result.output) == (0, "started\n")
        (tmp_path / "stop").touch()
        await appearance_of(tmp_path / "served")


@pytest.mark.parametrize("package", [AUTOGEN, STOCKADE])
def test_local_code_does_not_read_this_programs_stdin(package: str, tmp_path: Path) -> None:
    module = "autogen_ext.code_executors.local" if package == AUTOGEN else "stockade.autogen"
    program = f"""
import asyncio, sys, warnings
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from {module} import LocalCommandLineCodeExecutor

warnings.simplefilter("ignore")
executor = LocalCommandLineCodeExecutor()
block = CodeBlock("import sys; print(repr(sys.stdin.read()))", "python")
print(asyncio.run(executor.execute_code_blocks([block], CancellationToken())).output)
"""
    done = subprocess.run([sys.executable, "-c", program], input="secret", capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == ("'secret'" if package == AUTOGEN else "''"), done.stderr
