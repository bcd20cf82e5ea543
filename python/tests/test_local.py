"""What the options of the local executor do."""

import os
import sys
from pathlib import Path

import pytest
from support import sh

import stockade
from stockade import CodeBlock, Language, LocalCommandLineCodeExecutor, Sandbox


async def test_a_work_dir_is_made_and_stays(tmp_path: Path) -> None:
    place = tmp_path / "some" / "place"
    for work_dir in (place, str(place)):
        async with LocalCommandLineCodeExecutor(work_dir=work_dir) as executor:
            assert executor.work_dir == place
            await executor.execute_code_blocks([CodeBlock("# filename: src/app.sh\necho x >>made", "sh")])
    assert (place / "made").read_text() == "x\nx\n"
    # What was named stays, what was generated does not.
    assert sorted(path.name for path in place.rglob("*")) == ["app.sh", "made", "src"]


async def test_generated_files_stay_when_that_is_asked_for(tmp_path: Path) -> None:
    async with LocalCommandLineCodeExecutor(work_dir=tmp_path, cleanup_temp_files=False) as executor:
        result = await executor.execute_code_blocks(sh("echo on"))
    assert result.code_file is not None
    assert result.code_file.read_text() == "echo on"


async def test_the_code_sees_the_variables_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "secret")
    monkeypatch.setenv("APP_MODE", "test")
    blocks = sh("echo $SECRET_KEY-$APP_MODE-$GIVEN")
    async with LocalCommandLineCodeExecutor(env={"GIVEN": "given"}, inherit_env=["APP_*"]) as executor:
        assert (await executor.execute_code_blocks(blocks)).output == "-test-given\n"
    async with LocalCommandLineCodeExecutor(env=os.environ) as executor:
        assert (await executor.execute_code_blocks(blocks)).output == "secret-test-\n"


async def test_output_beyond_the_limit_is_counted() -> None:
    async with LocalCommandLineCodeExecutor(output_limit=1000) as executor:
        result = await executor.execute_code_blocks(sh("head -c 5000 /dev/zero"))
        assert result.blocks[0].dropped_bytes == 4000


async def test_streams_are_merged_where_that_is_asked_for() -> None:
    async with LocalCommandLineCodeExecutor(merge_streams=True) as executor:
        result = await executor.execute_code_blocks(sh("echo out; echo err >&2"))
        assert (result.blocks[0].stdout, result.blocks[0].stderr) == ("out\nerr\n", "")


async def test_a_language_can_be_added() -> None:
    shout = Language(
        "shout", "txt", aliases=["loud"], comments=["#"], commands=[["no-such", "{file}"], ["cat", "{file}"]]
    )
    async with LocalCommandLineCodeExecutor(languages=[shout]) as executor:
        result = await executor.execute_code_blocks([CodeBlock("# filename: a/b.txt\nHEY", "loud")])
        assert result.output == "# filename: a/b.txt\nHEY"
        assert result.code_file == executor.work_dir / "a" / "b.txt"


async def test_a_virtual_environment_is_made_and_used(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    block = [CodeBlock("import sys; print(sys.prefix)", "python")]
    async with LocalCommandLineCodeExecutor(virtual_env=environment) as executor:
        assert (await executor.execute_code_blocks(block)).output == f"{environment}\n"
    async with LocalCommandLineCodeExecutor() as executor:
        assert (await executor.execute_code_blocks(block)).output != f"{environment}\n"


async def test_the_sandbox_hides_files_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    blocks = sh(f"cat {secret}")
    async with LocalCommandLineCodeExecutor() as executor:
        result = await executor.execute_code_blocks(blocks)
        assert (result.exit_code == 0, "secret\n" in result.output) == (False, False)
        assert executor.info["policy"]["network"] == "none"
    for sandbox in (Sandbox(read_only=[tmp_path]), Sandbox.strict(read_write=[str(tmp_path)]), None):
        async with LocalCommandLineCodeExecutor(sandbox=sandbox) as executor:
            assert (await executor.execute_code_blocks(blocks)).output == "secret\n"


async def test_the_sandbox_keeps_limits() -> None:
    blocks = [CodeBlock("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])", "python")]
    async with LocalCommandLineCodeExecutor(sandbox=Sandbox(open_files=64, network="host")) as executor:
        assert (await executor.execute_code_blocks(blocks)).output == "64\n"
        assert executor.info["policy"]["limits"]["open_files"] == 64
        assert executor.info["policy"]["network"] == "host"


async def test_what_the_sandbox_can_not_have_is_refused() -> None:
    executor = LocalCommandLineCodeExecutor(sandbox=Sandbox(read_only=["/no/such/place"]))
    with pytest.raises(stockade.InvalidOptionError, match="/no/such/place"):
        await executor.start()


def test_the_package_does_not_import_what_is_slow() -> None:
    slow = ["asyncio", "dataclasses", "inspect", "json", "pathlib", "re", "typing", "autogen_core"]
    import subprocess

    program = f"import sys; bare = set(sys.modules); import stockade; print([m for m in {slow} if m in sys.modules and m not in bare])"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
