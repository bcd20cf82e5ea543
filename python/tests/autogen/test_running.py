"""What running blocks gives: languages, results, timeouts and cancels."""

from __future__ import annotations

import asyncio
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeResult

from .conftest import Executors, appearance_of, execute


@pytest.mark.parametrize("language", ["bash", "shell", "sh", "Sh"])
async def test_shells_are_known_by_their_names(executors: Executors, language: str) -> None:
    async with executors.running() as executor:
        result = await execute(executor, (language, "echo hello"))
    assert (result.exit_code, result.output) == (0, "hello\n")


async def test_python_is_known_by_its_names(executors: Executors) -> None:
    async with executors.running() as executor:
        for language in ("python", "Python", "py"):
            result = await execute(executor, (language, "print('hello')"))
            assert (result.exit_code, result.output) == (0, "hello\n"), language


async def test_powershell_is_known_by_its_names(executors: Executors) -> None:
    async with executors.running() as executor:
        for language in ("pwsh", "powershell", "ps1"):
            if executors.is_reference:
                # Where it is not installed on this host, AutoGen loses the call, in Docker too (0.7.5).
                with pytest.raises(ValueError, match="Powershell or pwsh is not installed"):
                    await execute(executor, (language, "Write-Output hello"))
            else:
                result = await execute(executor, (language, "Write-Output hello"))
                assert result.exit_code == 127, result
                assert "pwsh" in result.output


async def test_an_unknown_language_ends_the_call_and_keeps_what_was_printed(executors: Executors) -> None:
    blocks = [("sh", "echo one"), ("Klingon", "x"), ("sh", "echo three")]
    async with executors.running() as executor:
        if executors.is_reference and executors.kind == "docker":
            with pytest.raises(ValueError, match="Unsupported language: klingon"):
                await execute(executor, *blocks)
            return
        result = await execute(executor, *blocks)
    assert result.exit_code == 1
    assert result.output.startswith("one\n")
    assert "unknown language klingon" in result.output.lower()
    assert "three" not in result.output


async def test_a_result_has_exit_code_output_and_code_file(executors: Executors) -> None:
    async with executors.running() as executor:
        result = await execute(executor, ("sh", "echo out; echo err >&2; exit 3"))
    assert isinstance(result, CodeResult)
    assert type(result).__name__ == "CommandLineCodeResult"
    assert result.exit_code == 3
    # AutoGen gives all of stderr ahead of all of stdout; ours both in the order in which they were printed.
    assert sorted(result.output.split()) == ["err", "out"]


async def test_a_result_is_one_of_autogens_and_equal_to_it(our_local: Executors) -> None:
    from autogen_ext.code_executors._common import CommandLineCodeResult

    from stockade.autogen import CommandLineCodeResult as OurResult

    async with our_local.running() as executor:
        result = await execute(executor, ("sh", "echo hello"))
    assert isinstance(result, CommandLineCodeResult)
    assert isinstance(result, OurResult)
    assert result == CommandLineCodeResult(exit_code=0, output="hello\n", code_file=result.code_file)
    assert result != CommandLineCodeResult(exit_code=1, output="hello\n", code_file=result.code_file)
    assert repr(result) == f"CommandLineCodeResult(exit_code=0, output='hello\\n', code_file={result.code_file!r})"
    assert [block.status for block in result.blocks] == ["exited"]


async def test_the_code_file_is_the_first_blocks_on_this_host(executors: Executors, tmp_path: Path) -> None:
    blocks = [("sh", "# filename: one.sh\necho one"), ("python", "# filename: two.py\nprint('two')")]
    async with executors.running(work_dir=tmp_path) as executor:
        result = await execute(executor, *blocks)
    assert result.output == "one\ntwo\n"
    assert result.code_file == str(tmp_path / "one.sh")


async def test_a_file_without_a_name_is_named_after_its_code(executors: Executors, tmp_path: Path) -> None:
    async with executors.running(work_dir=tmp_path) as executor:
        result = await execute(executor, ("sh", "echo hello"))
    file = Path(result.code_file)
    assert file.parent == tmp_path
    assert file.name == f"tmp_code_{sha256(b'echo hello').hexdigest()}.sh"


async def test_a_relative_work_dir_gives_local_an_absolute_code_file(
    local: Executors, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    async with local.running(work_dir="coding") as executor:
        result = await execute(executor, ("sh", "# filename: one.sh\ntrue"))
    assert result.code_file == str(tmp_path / "coding" / "one.sh")


async def test_blocks_stop_at_the_first_that_fails(executors: Executors) -> None:
    async with executors.running() as executor:
        result = await execute(executor, ("sh", "echo one"), ("sh", "echo two; exit 7"), ("sh", "echo three"))
    assert (result.exit_code, result.output) == (7, "one\ntwo\n")


async def test_the_blocks_of_a_call_share_the_work_dir(executors: Executors, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given\n")
    async with executors.running(work_dir=tmp_path) as executor:
        result = await execute(
            executor, ("sh", "cat given; echo made > made"), ("python", "print(open('made').read())")
        )
    assert result.output == "given\nmade\n\n"
    assert (tmp_path / "made").read_text() == "made\n"


async def test_no_blocks_are_an_error_in_docker_and_nothing_locally(executors: Executors) -> None:
    async with executors.running() as executor:
        if executors.kind == "docker":
            with pytest.raises(ValueError, match=r"No code blocks to execute\."):
                await execute(executor)
        else:
            result = await execute(executor)
            assert (result.exit_code, result.output, result.code_file) == (0, "", None)


async def test_a_timeout_is_said_and_has_exit_code_124(executors: Executors) -> None:
    async with executors.running(timeout=1) as executor:
        result = await execute(executor, ("sh", "echo before; exec sleep 300"), ("sh", "echo after"))
    assert result.exit_code == 124
    assert "Timeout" in result.output
    assert "after" not in result.output.replace("after 1", "")
    if executors.is_reference and executors.kind == "local":
        assert result.output == "\nTimeout"
    else:
        assert result.output.startswith("before\n")


async def test_a_token_that_is_cancelled_beforehand_lets_nothing_run(executors: Executors, tmp_path: Path) -> None:
    token = CancellationToken()
    token.cancel()
    async with executors.running(work_dir=tmp_path) as executor:
        result = await execute(executor, ("sh", "touch ran"), token=token)
    check_cancelled(executors, result)
    if not executors.is_reference:
        # AutoGen starts the command in Docker all the same, and does not wait for it (0.7.5).
        assert not (tmp_path / "ran").exists()


async def test_a_cancel_ends_the_block_that_runs(executors: Executors, tmp_path: Path) -> None:
    code = "echo partial; touch runs; while ! [ -e go ]; do sleep 0.05; done"
    token = CancellationToken()
    async with executors.running(work_dir=tmp_path) as executor:
        call = asyncio.create_task(execute(executor, ("sh", code), token=token))
        await appearance_of(tmp_path / "runs")
        token.cancel()
        if executors.is_reference:
            # It goes on: AutoGen's local one waits for it, and the one in Docker does not.
            (tmp_path / "go").touch()
        result = await asyncio.wait_for(call, 30)
    if executors.is_reference and executors.kind == "local":
        assert (result.exit_code, result.output) == (0, "partial\n")
        return
    check_cancelled(executors, result)
    if not executors.is_reference:
        assert result.output.startswith("partial\n"), "what was printed until then is lost at AutoGen (0.7.5)"


def check_cancelled(executors: Executors, result: Any) -> None:
    if executors.kind == "local":
        assert result.exit_code == 125
        assert "Cancelled" in result.output
    else:
        assert result.exit_code == 1
        assert "Code execution was cancelled." in result.output


async def test_cancelling_the_task_that_waits_ends_the_block(ours: Executors, tmp_path: Path) -> None:
    # AutoGen swallows the cancel, and the caller gets a result (0.7.5).
    async with ours.running(work_dir=tmp_path) as executor:
        call = asyncio.create_task(execute(executor, ("sh", "touch runs; sleep 300; touch finished")))
        await appearance_of(tmp_path / "runs")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        result = await execute(executor, ("sh", "ps -e -o args 2>/dev/null | grep -c '[s]leep 300'; ls"))
    assert "finished" not in result.output


@pytest.mark.parametrize("name", ["../outside.sh", "/tmp/outside.sh"])
async def test_a_file_outside_of_the_work_dir_is_refused(executors: Executors, name: str) -> None:
    async with executors.running() as executor:
        result = await execute(executor, ("sh", f"# filename: {name}\necho hello"))
    assert result.exit_code == 1
    assert result.output.startswith("Filename is not in the workspace")
    assert result.code_file is None


async def test_what_was_printed_before_a_refused_name_is_kept(executors: Executors) -> None:
    blocks = [("sh", "# filename: one.sh\necho one"), ("sh", "# filename: ../two.sh\necho two")]
    async with executors.running() as executor:
        result = await execute(executor, *blocks)
    assert result.exit_code == 1
    if executors.is_reference and executors.kind == "local":
        assert (result.output, result.code_file) == ("Filename is not in the workspace", None)
    else:
        assert result.output.startswith("one\nFilename is not in the workspace")
        assert result.code_file.endswith("/one.sh")


async def test_local_python_is_the_one_that_runs_the_program(local: Executors) -> None:
    code = "import autogen_core, sys; print(sys.executable)"
    async with local.running() as executor:
        result = await execute(executor, ("python", code))
    assert (result.exit_code, result.output) == (0, f"{sys.executable}\n")


async def test_local_python_and_pip_are_a_virtual_environments(local: Executors, virtual_env: SimpleNamespace) -> None:
    blocks = [("python", "import sys; print(sys.prefix)"), ("bash", "command -v pip python")]
    async with local.running(virtual_env_context=virtual_env) as executor:
        result = await execute(executor, *blocks)
    bin_path = virtual_env.bin_path
    assert result.output.split() == [str(virtual_env.env_dir), f"{bin_path}/pip", f"{bin_path}/python"], result


async def test_generated_files_are_cleaned_up_when_asked_for(executors: Executors, tmp_path: Path) -> None:
    option = "cleanup_temp_files" if executors.kind == "local" else "delete_tmp_files"
    for clean_up in (True, False):
        work_dir = tmp_path / str(clean_up)
        async with executors.running(work_dir=work_dir, **{option: clean_up}) as executor:
            result = await execute(executor, ("sh", "echo hello"))
            assert Path(result.code_file).exists() is not clean_up
        assert work_dir.is_dir()


async def test_what_a_finished_call_made_is_told(our_local: Executors) -> None:
    # Beyond AutoGen: each block's own outcome.
    async with our_local.running() as executor:
        result = await execute(executor, ("sh", "echo x > made; echo err >&2"))
    (block,) = result.blocks
    assert (block.stdout, block.stderr) == ("", "err\n")
    assert [str(file.path) for file in block.files] == ["made"]
