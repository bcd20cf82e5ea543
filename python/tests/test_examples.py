"""Everything that the documentation shows is run: docstrings, READMEs, examples."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import stockade

ROOT = Path(__file__).parent.parent
MODULES = [
    module.name for module in pkgutil.iter_modules(stockade.__path__) if module.name not in ("_native", "autogen")
]


def run(program: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **env})


@pytest.mark.parametrize("name", ["stockade", *(f"stockade.{module}" for module in MODULES)])
def test_the_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_each_public_name_has_a_docstring() -> None:
    for name in stockade.__all__:
        thing = getattr(stockade, name)
        if isinstance(thing, type):
            assert (thing.__doc__ or "").strip(), name
            for attribute, value in vars(thing).items():
                if callable(value) and not attribute.startswith("_"):
                    assert (value.__doc__ or "").strip(), f"{name}.{attribute}"


@pytest.mark.parametrize("readme", [ROOT / "README.md", ROOT.parent / "README.md"], ids=["package", "project"])
def test_the_python_of_a_readme_runs(readme: Path, tmp_path: Path) -> None:
    blocks = [block for block in stockade.code_blocks(readme.read_text()) if block.language == "python"]
    assert blocks
    for number, block in enumerate(blocks):
        program = tmp_path / f"{number}.py"
        program.write_text(block.code)
        done = run(program)
        assert done.returncode == 0, done.stderr
        assert "0 42" in done.stdout


def test_an_analysis_makes_a_plot(matplotlib: None, tmp_path: Path) -> None:
    done = run(ROOT / "examples/data_analysis.py", str(tmp_path), PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The warmest is Jul" in done.stdout
    assert f"created: {tmp_path}/temperatures.png (image/png" in done.stdout
    assert (tmp_path / "temperatures.png").read_bytes().startswith(b"\x89PNG")


def test_twenty_agents_run_at_once() -> None:
    done = run(ROOT / "examples/twenty_agents.py")
    lines = done.stdout.splitlines()
    assert len(lines) == 20, done.stderr
    assert "agent 19: exited, 190" in lines
    # The one that is stuck is the last.
    assert lines[-1] == "agent 13: timed_out, nothing"


def test_twenty_agents_share_a_pool() -> None:
    done = run(ROOT / "examples/agents_on_a_pool.py")
    lines = done.stdout.splitlines()
    assert len(lines) == 21, done.stdout + done.stderr
    assert "agent 19: 190" in lines
    assert lines[-1].startswith("20 sessions, the longest wait ")


def test_output_is_streamed_to_the_terminal() -> None:
    done = run(ROOT / "examples/stream_to_terminal.py")
    assert done.returncode == 3, done.stderr
    assert "── block 0: python\nstep 0\nstep 1\nstep 2\n── exited with 0" in done.stdout
    assert "\x1b[31msomething is odd\n\x1b[0m── exited with 3" in done.stdout
