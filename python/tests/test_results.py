"""What comes back from blocks on this host."""

import json
import pickle
from pathlib import Path

import pytest
from support import sh

import stockade
from stockade import BlockOutcome, CodeBlock, LocalCommandLineCodeExecutor, Sandbox, code_blocks


async def test_a_result_tells_how_each_block_ended_what_it_printed_and_which_files_it_made() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        blocks = [
            CodeBlock("print('one')\nopen('made.txt', 'w').write('x' * 5)", "python"),
            CodeBlock("echo two >&2; exit 3", "sh"),
            CodeBlock("echo never", "sh"),
        ]
        result = await executor.execute_code_blocks(blocks)
        assert (result.exit_code, result.output) == (3, "one\ntwo\n")
        assert result.code_file is not None
        assert result.code_file.parent == executor.work_dir
        first, second = result.blocks
        assert (first.index, first.language, first.status, first.exit_code) == (0, "python", "exited", 0)
        assert (first.stdout, first.stderr, first.signal, first.hint) == ("one\n", "", None, None)
        (made,) = first.files
        assert (made.path, made.size, made.mime, made.change) == (
            Path("made.txt"),
            5,
            "text/plain",
            "created",
        )
        assert first.duration > 0
        assert first.max_rss_bytes > 0
        assert (second.stdout, second.stderr, second.exit_code) == ("", "two\n", 3)


async def test_a_result_can_be_had_as_what_json_takes() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        result = await executor.execute_code_blocks(sh("echo hello; touch made"))
    plain = result.as_dict()
    (block,) = plain["blocks"]
    assert (plain["exit_code"], plain["code_file"]) == (0, str(result.code_file))
    assert block["files"] == [{"path": "made", "size": 0, "mime": "application/octet-stream", "change": "created"}]
    assert (block["stdout_bytes"], block["files_notice"]) == (b"hello\n", None)
    assert list(block) == list(BlockOutcome.__match_args__)
    json.dumps(plain, default=bytes.decode)


async def test_files_that_are_not_copied_back_are_told_of() -> None:
    async with LocalCommandLineCodeExecutor(sandbox=Sandbox(workspace_size=1 << 20)) as executor:
        kept = (await executor.execute_code_blocks(sh("echo x >made"))).blocks[0]
        assert (kept.files_notice, kept.files_truncated) == (None, False)
        (executor.work_dir / "taken").mkdir()
        lost = (await executor.execute_code_blocks(sh("echo x >taken"))).blocks[0]
        assert lost.files_notice is not None
        assert lost.files_notice.startswith("1 changed files were not copied back to the work_dir\n  taken: ")
        assert lost.files_notice in lost.output
        assert lost.files_truncated


async def test_what_becomes_of_the_code_is_a_result_and_no_error() -> None:
    async with LocalCommandLineCodeExecutor() as executor:

        async def outcome(code: str, language: str = "sh", timeout: float = 60) -> BlockOutcome:
            result = await executor.execute_code_blocks([CodeBlock(code, language)], timeout=timeout)
            return result.blocks[0]

        unknown = await outcome("x", "klingon")
        assert (unknown.status, unknown.exit_code) == ("not_run", 1)
        assert "klingon" in unknown.output
        killed = await outcome("kill -9 $$")
        assert (killed.status, killed.signal, killed.exit_code) == ("signaled", 9, 137)
        late = await outcome("echo partial; sleep 600", timeout=0.3)
        assert (late.status, late.exit_code, late.stdout) == ("timed_out", 124, "partial\n")
        assert "timed out" in late.output.lower() or "timeout" in late.output.lower()


async def test_bytes_that_are_not_utf8_are_kept_and_shown_as_text() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        result = await executor.execute_code_blocks(sh(r"printf 'caf\351\n\0'"))
        assert result.blocks[0].stdout_bytes == b"caf\xe9\n\0"
        assert result.blocks[0].stdout == result.output == "caf\ufffd\n\0"


async def test_no_blocks_are_an_empty_result() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        result = await executor.execute_code_blocks([])
        assert (result.exit_code, result.output, result.code_file, result.blocks) == (0, "", None, [])


async def test_a_block_is_anything_with_code_and_language() -> None:
    class Block:
        code, language = "echo mine", "sh"

    async with LocalCommandLineCodeExecutor() as executor:
        result = await executor.execute_code_blocks(block for block in [Block(), CodeBlock("echo ours", "sh")])
        assert result.output == "mine\nours\n"


async def test_files_go_in_and_out_of_a_session() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        await executor.put_file("data/in.txt", "text")
        await executor.put_file(Path("data/in.bin"), b"\0\xff")
        result = await executor.execute_code_blocks(sh("cat data/in.txt; cp data/in.bin out.bin"))
        assert result.output == "text"
        assert await executor.get_file("out.bin") == b"\0\xff"
        with pytest.raises(stockade.StockadeError, match="no-such-file"):
            await executor.get_file("no-such-file")
        with pytest.raises(stockade.StockadeError):
            await executor.put_file("../outside", b"")


async def test_languages_tell_what_runs_them() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        languages = {language.name: language for language in await executor.languages()}
        assert "py" in languages["python"].aliases
        assert languages["sh"].interpreter is not None
        assert languages["sh"].interpreter.is_absolute()
        assert not languages["json"].runs


async def test_a_session_tells_what_it_is() -> None:
    async with LocalCommandLineCodeExecutor(sandbox=None) as executor:
        assert executor.info == {"executor": "local", "policy": {}}
        assert executor.work_dir == executor.workspace
        assert executor.work_dir.is_dir()
        work_dir = executor.work_dir
    assert not work_dir.exists()


def test_results_are_values() -> None:
    block = CodeBlock("x", "sh")
    assert block == CodeBlock(code="x", language="sh")
    assert block != CodeBlock("x", "bash")
    assert len({block, CodeBlock("x", "sh")}) == 1
    assert pickle.loads(pickle.dumps(block)) == block
    assert repr(block) == "CodeBlock(code='x', language='sh')"
    with pytest.raises(AttributeError, match="can't be changed"):
        block.code = "y"  # type: ignore[misc]
    match block:
        case CodeBlock(code, language):
            assert (code, language) == ("x", "sh")


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((), {}, "needs 'code'"),
        (("x",), {}, "needs 'language'"),
        (("x", "sh", "y"), {}, "takes 2 arguments, not 3"),
        (("x", "sh"), {"code": "y"}, "given 'code' twice"),
        (("x", "sh"), {"colour": "y"}, "has no field 'colour'"),
    ],
)
def test_a_value_says_what_it_takes(arguments: tuple[str, ...], options: dict[str, str], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        CodeBlock(*arguments, **options)


def test_an_error_can_be_pickled_with_all_that_it_tells() -> None:
    error = stockade.UnresponsiveError("it failed", "session_ended", "try again")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.kind, copy.hint, copy.blocks) == (type(error), "session_ended", "try again", [])
    assert str(copy) == "it failed\nhint: try again"
    assert isinstance(copy, RuntimeError)
    assert isinstance(copy, TimeoutError)


def test_fenced_blocks_are_cut_out_of_markdown() -> None:
    text = "Try:\n```python\nprint('é')\n```\nno:\n```\nprose\n```\n~~~sh\nls\n~~~\n```js\nopen("
    assert code_blocks(text) == [CodeBlock("print('é')\n", "python"), CodeBlock("ls\n", "sh")]
