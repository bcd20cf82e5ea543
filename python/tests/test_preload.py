"""Modules that are imported once, for all Python blocks to begin with."""

import warnings
from pathlib import Path
from typing import Any

import pytest

import stockade
from stockade import CodeBlock, DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor
from stockade.sync import LocalCommandLineCodeExecutor as SyncExecutor

IS_THERE = [CodeBlock("import sys; print('decimal' in sys.modules)", "python")]


async def test_blocks_begin_with_them(docker: dict[str, Any]) -> None:
    for executor in (
        LocalCommandLineCodeExecutor(preload=["decimal"]),
        DockerCommandLineCodeExecutor(preload=["decimal"], **docker),
    ):
        async with executor:
            assert executor.info["preload"] == {"modules": ["decimal"], "ready": True}
            for _ in range(3):
                assert (await executor.execute_code_blocks(IS_THERE)).output == "True\n"


async def test_one_that_is_not_there_is_an_error_of_the_start() -> None:
    executor = LocalCommandLineCodeExecutor(preload=["no_such_module"])
    with pytest.raises(stockade.StartError, match="No module named 'no_such_module'") as caught:
        await executor.start()
    assert caught.value.kind == "preload_failed"
    with pytest.raises(stockade.NotStartedError):
        await executor.execute_code_blocks(IS_THERE)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(stockade.InvalidOptionError, match="preload must have names of Python modules"):
        LocalCommandLineCodeExecutor(preload=["numpy,pandas"])
    with pytest.raises(TypeError, match="preload: must be a list, not a single str"):
        LocalCommandLineCodeExecutor(preload="numpy")


def test_what_can_not_be_forked_is_warned_of_and_imported_by_each_block(tmp_path: Path) -> None:
    threads = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    (tmp_path / "threads.py").write_text(threads)
    executor = SyncExecutor(work_dir=tmp_path, preload=["threads"])
    with pytest.warns(RuntimeWarning, match="each block imports for itself: .* 1 thread running"):
        executor.start()
    assert executor.execute_code_blocks([CodeBlock("import threads; print('on')", "python")]).output == "on\n"
    executor.stop()
    with warnings.catch_warnings(), SyncExecutor(preload=["decimal"]) as executor:
        warnings.simplefilter("error")
        executor.restart()
