"""Functions for the code to import."""

from __future__ import annotations

import functools
import re
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from stockade import CodeBlock, FunctionsError, InvalidOptionError, LocalCommandLineCodeExecutor


def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


async def fetch(name: str = "x", *, limit: int | None = None) -> list[str]:
    return [name][:limit]


def with_requirements(**_: Any) -> Any:
    return lambda function: function


@with_requirements(  # type: ignore[untyped-decorator]
    python_packages=["no-such-package"],
)
@functools.cache
def decorated() -> int:
    return 7


SOURCE = '''
def triple(number):
    """Three times as much.

    And no more."""
    return 3 * number
'''


def code(text: str) -> list[CodeBlock]:
    return [CodeBlock(text, "python")]


async def test_blocks_import_plain_functions_and_source() -> None:
    def nested(text: str) -> str:
        return f"<{text}>"

    async with LocalCommandLineCodeExecutor(functions=[double, SOURCE, nested]) as executor:
        result = await executor.execute_code_blocks(
            code("from functions import *\nprint(double(21), triple(2), nested('x'))")
        )
        assert result.output == "42 6 <x>\n"
        assert executor.functions_module == "functions"


async def test_the_module_has_the_name_that_it_is_given() -> None:
    async with LocalCommandLineCodeExecutor(functions=[double], functions_module="tools") as executor:
        assert (await executor.execute_code_blocks(code("import tools; print(tools.double(1))"))).output == "2\n"


async def test_a_function_has_requirements_as_autogens_does() -> None:
    def area(radius: float) -> float:
        return m.floor(pi * radius**2 + sqrt(0) + len(path.sep))  # type: ignore[name-defined, no-any-return] # noqa: F821

    imports = [
        "json",
        SimpleNamespace(name="math", alias="m"),
        SimpleNamespace(module="math", imports=["pi", SimpleNamespace(name="sqrt", alias="sqrt")]),
        SimpleNamespace(module="os", imports=["path"]),
    ]
    needs = SimpleNamespace(func=area, python_packages=[], global_imports=imports)
    as_text = SimpleNamespace(
        func="def first(text): return json.loads(text)[0]", python_packages=[], global_imports=["json"]
    )
    async with LocalCommandLineCodeExecutor(functions=[needs, as_text]) as executor:
        result = await executor.execute_code_blocks(code("from functions import *\nprint(area(1), first('[5]'))"))
        assert result.output == "4 5\n"


async def test_a_decorator_of_autogens_is_left_out_and_others_stay() -> None:
    needs = SimpleNamespace(func=decorated.__wrapped__, python_packages=[], global_imports=["functools"])
    async with LocalCommandLineCodeExecutor(functions=[needs]) as executor:
        result = await executor.execute_code_blocks(
            code("import functions\nprint(functions.decorated(), functions.decorated.cache_info().misses)")
        )
        assert result.output == "7 1\n"


async def test_packages_that_can_not_be_installed_are_an_error() -> None:
    needs = SimpleNamespace(func=double, python_packages=["no such package"], global_imports=[])
    executor = LocalCommandLineCodeExecutor(functions=[needs])
    with pytest.raises(FunctionsError, match=r"Pip install failed\.") as raised:
        await executor.start()
    assert (raised.value.kind, isinstance(raised.value, ValueError)) == ("pip_install_failed", True)


async def test_functions_that_do_not_load_are_an_error() -> None:
    executor = LocalCommandLineCodeExecutor(functions=["import no_such_module\ndef f(): ..."])
    with pytest.raises(FunctionsError, match=r"(?s)Functions failed to load: .*no_such_module") as raised:
        await executor.start()
    assert raised.value.kind == "functions_failed_to_load"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (len, "failed to read the source of len"),
        (lambda x: x, "is no function with a name"),
        (SimpleNamespace, "failed to read the source of SimpleNamespace"),
        (FunctionsError, "is no function with a name"),
    ],
)
def test_what_has_no_source_or_is_no_function_is_refused(function: Any, why: str) -> None:
    with pytest.raises(FunctionsError, match=why):
        LocalCommandLineCodeExecutor(functions=[function])


def test_a_model_is_told_of_functions_by_signature_and_docstring() -> None:
    executor = LocalCommandLineCodeExecutor(functions=[double, fetch, SOURCE, decorated.__wrapped__])
    assert (
        executor.format_functions_for_prompt()
        == '''\
The Python module `functions` has these functions. Import what you need, as in `from functions import NAME`.

def double(number: int) -> int:
    """Twice as much."""
    ...

async def fetch(name: str='x', *, limit: int | None=None) -> list[str]:
    ...

def triple(number):
    """Three times as much.

    And no more."""
    ...

def decorated() -> int:
    ...'''
    )
    assert executor.format_functions_for_prompt("$module_name costs $5") == "functions costs $5"
    assert LocalCommandLineCodeExecutor().format_functions_for_prompt() == ""


def test_source_that_is_no_python_has_no_stubs() -> None:
    with pytest.raises(FunctionsError, match="failed to parse"):
        LocalCommandLineCodeExecutor(functions=["def f(:"]).format_functions_for_prompt()


@pytest.mark.parametrize("source", ["x = 1", "", "# def f(): ..."])
def test_source_that_defines_no_function_is_refused(source: str) -> None:
    with pytest.raises(FunctionsError, match=re.escape(f"failed to use {source!r}: it defines no function")):
        LocalCommandLineCodeExecutor(functions=[double, source])
    LocalCommandLineCodeExecutor(functions=[f"{source}\nif True:\n    def f(): ..."])


@pytest.mark.parametrize("name", ["json", "sys", "__main__"])
def test_the_module_of_functions_hides_none_of_pythons(name: str) -> None:
    with pytest.raises(InvalidOptionError, match="must be a name that Python does not use itself"):
        LocalCommandLineCodeExecutor(functions=["def f(): ..."], functions_module=name)


def test_a_function_that_needs_what_is_around_it_is_refused() -> None:
    outer = 1

    def inner() -> int:
        return outer

    with pytest.raises(FunctionsError, match="it uses what is around it: outer"):
        LocalCommandLineCodeExecutor(functions=[inner])


def test_a_method_is_refused() -> None:
    with pytest.raises(FunctionsError, match="it is a method"):
        LocalCommandLineCodeExecutor(functions=[threading.Event().set])


def test_a_function_with_arguments_bound_is_refused() -> None:
    with pytest.raises(FunctionsError, match="failed to read the source of"):
        LocalCommandLineCodeExecutor(functions=[functools.partial(print, 1)])
