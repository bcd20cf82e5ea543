"""Local: it needs no start, and what start, stop and restart do."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest

from .conftest import Executors, execute


async def test_it_needs_no_start(local: Executors, tmp_path: Path) -> None:
    executor = local.make(work_dir=tmp_path)
    assert (await execute(executor, ("sh", "echo hello"))).output == "hello\n"
    await executor.stop()


async def test_a_temporary_work_dir_is_there_before_the_start_and_goes_with_the_stop(
    local: Executors,
) -> None:
    executor = local.make()
    work_dir = executor.work_dir
    assert work_dir.is_dir()
    (work_dir / "given").write_text("given\n")
    assert (await execute(executor, ("sh", "cat given"))).output == "given\n"
    assert executor.work_dir == work_dir
    await executor.stop()
    assert not work_dir.exists()


async def test_after_a_stop_it_can_be_used_again(local: Executors, tmp_path: Path) -> None:
    executor = local.make(work_dir=tmp_path)
    for _ in range(2):
        await executor.start()
        await executor.start()
        assert (await execute(executor, ("sh", "echo hello"))).output == "hello\n"
        await executor.stop()
        await executor.stop()
    assert (await execute(executor, ("sh", "echo hello"))).output == "hello\n"
    await executor.stop()


async def test_a_work_dir_that_was_named_stays(local: Executors, tmp_path: Path) -> None:
    async with local.running(work_dir=tmp_path) as executor:
        await execute(executor, ("sh", "echo x > made"))
    assert (tmp_path / "made").exists()


async def test_a_restart_does_nothing_and_says_so(local: Executors) -> None:
    async with local.running() as executor:
        await execute(executor, ("sh", "echo kept > file"))
        with pytest.warns(UserWarning, match="No action is taken") as given:
            await executor.restart()
        assert [warning.filename for warning in given] == [__file__]
        assert (await execute(executor, ("sh", "cat file"))).output == "kept\n"


async def test_one_that_is_dropped_without_a_stop_ends_in_silence(local: Executors, tmp_path: Path) -> None:
    # Programs that run blocks without a start don't stop either.
    executor = local.make(work_dir=tmp_path)
    await execute(executor, ("sh", "echo hello"))
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        del executor
        gc.collect()
    assert [str(warning.message) for warning in given] == []


async def test_in_a_sandbox_what_is_outside_is_hidden(our_local: Executors, tmp_path: Path) -> None:
    from stockade import Sandbox

    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    work_dir = tmp_path / "coding"
    code = f"print(open({str(secret)!r}).read())"
    async with our_local.running(work_dir=work_dir) as executor:
        assert "secret" in (await execute(executor, ("python", code))).output
    async with our_local.running(work_dir=work_dir, sandbox=Sandbox(best_effort=False)) as executor:
        denied = await execute(executor, ("python", code))
        allowed = await execute(executor, ("python", "open('made', 'w').write('x')"))
    assert denied.exit_code == 1, denied
    assert "secret\n" not in denied.output
    assert allowed.exit_code == 0, allowed
