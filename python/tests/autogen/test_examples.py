"""The examples of AutoGen's documentation, moved over by the import. They run with AutoGen's import too."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from .conftest import AUTOGEN, MODULES, STOCKADE, docker, require

EXAMPLES = Path(__file__).parents[2] / "examples" / "autogen"
HELLO = r"CommandLineCodeResult\(exit_code=0, output='Hello, World!\\n', code_file='%s'\)\n"
FILE = r"tmp_code_[0-9a-f]+\."


def run(name: str, package: str, directory: Path, image: str = "") -> str:
    """Runs an example in a directory, with the import of a package, and gives what it prints."""
    source = (EXAMPLES / name).read_text()
    if package == AUTOGEN:
        kind = "docker" if "Docker" in source else "local"
        source = source.replace("from stockade.autogen import", f"from {MODULES[AUTOGEN, kind]} import")
        assert "stockade" not in source, "nothing else is moved over"
    if image:
        # For where the default can't be pulled. Position and name of the option are not the example's matter.
        class_name = "DockerCommandLineCodeExecutor"
        source = source.replace(f"{class_name}(", f"{class_name}({image!r}, ")
    program = directory / name
    program.write_text(source)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", name],
        cwd=directory,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", [AUTOGEN, STOCKADE])
def test_the_local_example_runs(package: str, tmp_path: Path) -> None:
    assert re.fullmatch(HELLO % f"{tmp_path}/coding/{FILE}py", run("run_locally.py", package, tmp_path))
    assert list((tmp_path / "coding").iterdir()) == []


@pytest.mark.parametrize("package", [AUTOGEN, STOCKADE])
def test_the_docker_example_runs(package: str, image: str, tmp_path: Path) -> None:
    printed = run("run_in_docker.py", package, tmp_path, image)
    # AutoGen names a file after what the block calls its language.
    assert re.fullmatch(HELLO % f"coding/{FILE}{'python' if package == AUTOGEN else 'py'}", printed)


@pytest.mark.parametrize("package", [AUTOGEN, STOCKADE])
def test_the_example_with_a_virtual_env_runs(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An index with a package of that name, so that no network is needed.
    index = tmp_path / "index" / "matplotlib"
    index.mkdir(parents=True)
    wheel = "matplotlib-1.0-py3-none-any.whl"
    (index / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    with zipfile.ZipFile(index / wheel, "w") as archive:
        archive.writestr("matplotlib.py", "")
        archive.writestr("matplotlib-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: matplotlib\nVersion: 1.0\n")
        archive.writestr(
            "matplotlib-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("matplotlib-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_INDEX_URL", index.parent.as_uri())
    run("run_in_a_virtual_env.py", package, tmp_path)
    (installed,) = (tmp_path / "coding" / ".venv" / "lib").glob("python*/site-packages/matplotlib.py")
    assert installed.is_file()


def test_the_example_in_a_container_starts_a_sibling(image: str, tmp_path: Path) -> None:
    # The socket is where the documentation has it, and this interpreter's packages fit the image's.
    socket = Path("/var/run/docker.sock")
    require("docker-socket", socket.exists() and stat.S_ISSOCK(socket.stat().st_mode))
    version = docker("run", "--rm", image, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    require(f"python{version}", version == sysconfig.get_python_version())
    app, packages = tmp_path / "app", sysconfig.get_path("purelib")
    app.mkdir()
    source = (EXAMPLES / "run_in_docker.py").read_text()
    (app / "run_in_docker.py").write_text(source.replace("Executor(", f"Executor({image!r}, "))
    script = app / "run_from_a_container.sh"
    script.write_text((EXAMPLES / script.name).read_text())
    done = subprocess.run(
        ["sh", script, image, packages],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DOCKER_HOST": f"unix://{socket}"},
    )
    assert re.fullmatch(HELLO % f"coding/{FILE}py", done.stdout), done.stderr
    assert [file.suffix for file in (tmp_path / "coding").iterdir()] == [".py"]


@pytest.mark.parametrize("module", ["_local", "_docker", "_shared"])
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"stockade.autogen.{module}"))
    assert failed == 0
