"""Functions for the code: how they are saved, installed, checked and told of."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from autogen_core.code_executor import Alias, FunctionWithRequirements, ImportFromModule, with_requirements

from .conftest import AUTOGEN, NAMES, STOCKADE, Executors, execute


def add_two_numbers(a: int, b: int) -> int:
    """Add two numbers together."""
    return a + b


IMPORTS: list[str | ImportFromModule | Alias] = [
    "json",
    Alias("math", "m"),
    ImportFromModule("os", ("sep", Alias("path", "p"))),
]


# On one line, for AutoGen takes no more than one off (0.7.5).
@with_requirements(global_imports=IMPORTS)
def describe(radius: float) -> str:
    """What is imported here is there."""
    return json.dumps([m.floor(radius), sep, p.basename("/a/b")])  # type: ignore[name-defined,no-any-return] # noqa: F821


def greeting() -> Any:
    source = '''
def greet(name: str) -> str:
    """Say hello."""
    return f"hello {name}"
'''
    return FunctionWithRequirements.from_str(source)


async def test_blocks_can_import_them(executors: Executors, tmp_path: Path) -> None:
    functions = [add_two_numbers, describe, greeting()]
    code = "from functions import *\nprint(add_two_numbers(1, 2), describe(2.5), greet('you'))"
    async with executors.running(work_dir=tmp_path, functions=functions) as executor:
        result = await execute(executor, ("python", code))
    assert (result.exit_code, result.output) == (0, '3 [2, "/", "b"] hello you\n')
    assert (tmp_path / "functions.py").is_file()


async def test_their_module_can_have_another_name(executors: Executors, tmp_path: Path) -> None:
    options = {"functions": [add_two_numbers], "functions_module": "tools", "work_dir": tmp_path}
    async with executors.running(**options) as executor:
        result = await execute(executor, ("python", "import tools; print(tools.add_two_numbers(1, 2))"))
    assert result.output == "3\n"
    assert (tmp_path / "tools.py").is_file()


@pytest.mark.parametrize("package", [AUTOGEN, STOCKADE])
def test_stubs_tell_a_model_of_them(package: str) -> None:
    executor = Executors(package, "local").make(functions=[add_two_numbers, describe, greeting()])
    stubs = '''def add_two_numbers(a: int, b: int) -> int:
    """Add two numbers together."""
    ...

def describe(radius: float) -> str:
    """What is imported here is there."""
    ...

def greet(name: str) -> str:
    """Say hello."""
    ...'''
    # What is not defined in annotations stays text: `int` is written as that with or without the __future__
    # import.
    assert unquoted(executor.format_functions_for_prompt("$module_name\n$functions")) == f"functions\n{stubs}"
    told = executor.format_functions_for_prompt()
    assert told.startswith("You have access to the following user defined functions.")
    assert "from functions import foo" in told
    assert unquoted(told).endswith(stubs)


@pytest.mark.parametrize("kind", NAMES)
def test_without_functions_the_prompt_has_none(kind: str) -> None:
    # AutoGen's Docker executor has the template and not the method (0.7.5).
    executor = Executors(STOCKADE, kind).make()
    assert executor.format_functions_for_prompt("<$functions>") == "<>"


def unquoted(stubs: str) -> str:
    return "\n".join(line.replace("'", "") if line.startswith("def ") else line for line in stubs.split("\n"))


WHEEL = "stockade_test_package-1.0-py3-none-any.whl"


@with_requirements(python_packages=[f"./{WHEEL}"], global_imports=["stockade_test_package"])
def answer() -> int:
    return stockade_test_package.ANSWER  # type: ignore[name-defined,no-any-return] # noqa: F821


@with_requirements(python_packages=["./no-such-package.whl"])
def needs_what_is_not_there() -> None:
    pass


@with_requirements(global_imports=["no_such_module"])
def imports_what_is_not_there() -> None:
    pass


def fails() -> int:
    return UNDEFINED  # type: ignore[name-defined,no-any-return] # noqa: F821


@pytest.fixture
def options(executors: Executors, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """A work_dir, and a Python to install packages for that is not the one of the tests."""
    if executors.kind == "docker":
        return {"work_dir": tmp_path, "timeout": 300}
    return {
        "work_dir": tmp_path,
        "timeout": 300,
        "virtual_env_context": request.getfixturevalue("virtual_env"),
    }


async def test_their_packages_are_installed(executors: Executors, options: dict[str, Any], tmp_path: Path) -> None:
    # A package in the work_dir, to be installed without a network.
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        archive.writestr("stockade_test_package.py", "ANSWER = 42\n")
        info = "stockade_test_package-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: stockade-test-package\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    async with executors.running(functions=[answer], **options) as executor:
        result = await execute(executor, ("python", "from functions import answer\nprint(answer())"))
    assert (result.exit_code, result.output) == (0, "42\n")


async def test_packages_that_cannot_be_installed_fail_each_call(executors: Executors, options: dict[str, Any]) -> None:
    async with executors.running(functions=[needs_what_is_not_there], **options) as executor:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"(?s)Pip install failed\..*no-such-package"):
                await execute(executor, ("sh", "echo hello"))


async def test_a_module_that_does_not_load_fails_each_call(executors: Executors, tmp_path: Path) -> None:
    async with executors.running(work_dir=tmp_path, functions=[imports_what_is_not_there]) as executor:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"(?s)Functions failed to load: .*no_such_module"):
                await execute(executor, ("sh", "echo hello"))


@with_requirements(
    global_imports=["json"],
)
def decorated_on_several_lines() -> str:
    return json.dumps("hello")  # type: ignore[name-defined,no-any-return] # noqa: F821


async def test_a_decorator_can_have_several_lines(ours: Executors) -> None:
    # AutoGen leaves what follows the first in the module, which does not load (0.7.5).
    async with ours.running(functions=[decorated_on_several_lines]) as executor:
        code = "from functions import *\nprint(decorated_on_several_lines())"
        result = await execute(executor, ("python", code))
    assert (result.exit_code, result.output) == (0, '"hello"\n')


async def test_a_callable_with_requirements_need_not_be_decorated(ours: Executors) -> None:
    # AutoGen's constructor takes it, and the first call raises a TypeError (0.7.5).
    functions = [FunctionWithRequirements.from_callable(add_two_numbers, [], ["json"])]
    async with ours.running(functions=functions) as executor:
        result = await execute(executor, ("python", "from functions import *\nprint(add_two_numbers(1, 2), json)"))
    assert result.output.startswith("3 <module 'json'"), result


async def test_a_function_that_fails_when_it_is_called_is_the_blocks_matter(
    executors: Executors, tmp_path: Path
) -> None:
    async with executors.running(work_dir=tmp_path, functions=[fails]) as executor:
        result = await execute(executor, ("python", "from functions import fails\nfails()"))
    assert result.exit_code == 1
    assert "NameError" in result.output
