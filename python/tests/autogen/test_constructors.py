"""The constructors: names, order, defaults, and what is refused or warned about before anything runs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from autogen_core.code_executor import CodeExecutor

from .conftest import AUTOGEN, NAMES, STOCKADE, Executors


@pytest.fixture(params=[f"{package}-{kind}" for package in (AUTOGEN, STOCKADE) for kind in NAMES])
def executors(request: pytest.FixtureRequest) -> Executors:
    """Both kinds of both packages: making one needs no daemon."""
    return Executors(*request.param.rsplit("-", 1))


@pytest.mark.parametrize("kind", NAMES)
def test_the_parameters_are_autogens_in_order_and_default_and_ours_are_keywords_after_them(kind: str) -> None:
    def parameters(package: str) -> list[tuple[str, Any, Any]]:
        of = inspect.signature(Executors(package, kind).type.__init__).parameters.values()
        return [(one.name, one.kind, one.default if one.default not in ([], ()) else None) for one in of]

    reference, ours = parameters(AUTOGEN), parameters(STOCKADE)
    assert ours[: len(reference)] == reference
    assert {kind for _, kind, _ in ours[len(reference) :]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("kind", NAMES)
def test_all_that_autogens_classes_offer_is_offered(kind: str) -> None:
    # Its `functions` is but a NotImplementedError.
    offered = [name for name in dir(Executors(AUTOGEN, kind).type) if name != "functions" and name[0] != "_"]
    assert [name for name in offered if not hasattr(Executors(STOCKADE, kind).type, name)] == []


def test_an_executor_is_one_of_autogens(executors: Executors) -> None:
    assert isinstance(executors.make(), CodeExecutor)


def test_local_options_can_be_given_by_position(local: Executors, tmp_path: Path) -> None:
    context = SimpleNamespace(bin_path="/usr/bin", env_exe="/usr/bin/python3")
    executor = local.make(7, str(tmp_path), [], "tools", False, context)
    assert executor.timeout == 7
    assert executor.work_dir == tmp_path
    assert executor.functions_module == "tools"
    assert executor.cleanup_temp_files is False


@pytest.mark.parametrize("timeout", [0, -1, 0.5])
def test_a_timeout_below_a_second_is_refused(executors: Executors, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"Timeout must be greater than or equal to 1\."):
        executors.make(timeout=timeout)


def test_a_timeout_of_a_second_is_the_shortest(executors: Executors) -> None:
    assert executors.make(timeout=1).timeout == 1
    assert executors.make().timeout == 60


@pytest.mark.parametrize("name", ["my-module", "1st", "", "a.b"])
def test_a_functions_module_is_an_identifier(executors: Executors, name: str) -> None:
    with pytest.raises(ValueError, match="Module name must be a valid Python identifier"):
        executors.make(functions_module=name)


def test_local_warns_that_it_runs_on_this_machine(local: Executors) -> None:
    with pytest.warns(UserWarning, match="may execute code on the local machine which can be unsafe") as given:
        local.type()
    assert [warning.filename for warning in given] == [__file__], "it points at whoever made the executor"


def test_docker_and_a_sandboxed_local_one_warn_of_nothing() -> None:
    from stockade import Sandbox

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Executors(AUTOGEN, "docker").type()
        Executors(STOCKADE, "docker").type()
        Executors(STOCKADE, "local").type(sandbox=Sandbox())


def test_the_current_directory_as_work_dir_is_deprecated(
    executors: Executors, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for spelling in (".", Path("."), str(tmp_path)):
        with pytest.warns(
            DeprecationWarning, match=re.escape("Using the current directory as work_dir is deprecated.")
        ):
            executors.make(work_dir=spelling)


def test_the_work_dir_is_made_at_once_and_given_back_as_it_was_named(
    executors: Executors, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    executor = executors.make(work_dir="coding")
    assert (tmp_path / "coding").is_dir()
    assert executor.work_dir == Path("coding")


def test_a_work_dirs_parents_are_made_too(executors: Executors, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    if executors.is_reference and executors.kind == "local":
        with pytest.raises(FileNotFoundError):
            executors.make(work_dir=deep)
    else:
        executors.make(work_dir=deep)
        assert deep.is_dir()


def test_dockers_defaults_are_autogens() -> None:
    for package in (AUTOGEN, STOCKADE):
        executor = Executors(package, "docker").make()
        config = executor.dump_component().config
        assert config["image"] == "python:3-slim"
        assert (config["auto_remove"], config["stop_container"], config["delete_tmp_files"]) == (
            True,
            True,
            False,
        )
        assert executor.container_name.startswith("autogen-code-exec-")


def test_the_bind_dir_is_the_work_dir_unless_it_is_named(tmp_path: Path) -> None:
    for package in (AUTOGEN, STOCKADE):
        executors = Executors(package, "docker")
        assert executors.make(work_dir=tmp_path).bind_dir == tmp_path
        assert executors.make(work_dir=tmp_path, bind_dir="/host/coding").bind_dir == Path("/host/coding")


def test_a_context_without_its_fields_is_refused(our_local: Executors) -> None:
    # AutoGen raises an AttributeError from the first block (0.7.5).
    with pytest.raises(TypeError, match="virtual_env_context must have bin_path and env_exe"):
        our_local.make(virtual_env_context=SimpleNamespace(bin_path="/usr/bin"))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"timeout": "1"}, "timeout"), ({"work_dir": 1}, "work_dir"), ({"functions": [1]}, "functions")],
)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(options: dict[str, Any], named: str) -> None:
    for kind in NAMES:
        with pytest.raises(TypeError, match=named):
            Executors(STOCKADE, kind).make(**options)


def test_without_autogen_the_package_works_and_the_drop_in_says_what_to_install(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["autogen_core"] = None
import stockade
try:
    import stockade.autogen
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "stockade.autogen needs autogen-core: pip install 'stockade[autogen]'\n", done.stderr
