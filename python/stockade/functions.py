"""Functions for the code to import: their source as one Python module, and stubs that tell a model of them.

A function is a plain function, whose source is read; source, as text; or anything with the attributes of AutoGen's
`FunctionWithRequirements`: `func`, `python_packages`, `global_imports`.
"""

from __future__ import annotations

from stockade.errors import FunctionsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol

    class FunctionWithRequirements(Protocol):
        """A function, the packages that it needs and the imports that its module begins with."""

        @property
        def func(self) -> Any:  # noqa: D102
            ...

        @property
        def python_packages(self) -> Sequence[str]:  # noqa: D102
            ...

        @property
        def global_imports(self) -> Sequence[Any]:  # noqa: D102
            ...

    Function = str | Callable[..., Any] | FunctionWithRequirements


PROMPT = """The Python module `$module_name` has these functions. Import what you need, as in \
`from $module_name import NAME`.

$functions"""
"""What `format_functions_for_prompt` says by default."""


def module(functions: Iterable[Function]) -> tuple[str, list[str]]:
    """The source of a module of these functions, and the packages that it needs."""
    imports: list[str] = []
    packages: list[str] = []
    sources: list[str] = []
    for function in functions:
        packages += getattr(function, "python_packages", ())
        imports += (_import_line(needed) for needed in getattr(function, "global_imports", ()))
        sources.append(_source(function))
    # Each once, in their order.
    head = "\n".join(dict.fromkeys(imports))
    return "\n\n\n".join([*([head] if head else []), *sources]) + "\n", list(dict.fromkeys(packages))


def format_for_prompt(functions: Iterable[Function], module_name: str, template: str = PROMPT) -> str:
    r"""Tells a model of the functions, by their signatures and docstrings.

    >>> def double(x: int) -> int:
    ...     return 2 * x
    >>> print(format_for_prompt([double], "functions", "In $module_name:\n$functions"))
    In functions:
    def double(x: int) -> int:
        ...
    """
    from string import Template

    stubs = "\n\n".join(stub for function in functions for stub in _stubs(_source(function)))
    return Template(template).safe_substitute(module_name=module_name, functions=stubs)


def _import_line(needed: Any) -> str:
    """`pandas`, something with `module` and `imports`, or something with `name` and `alias`."""
    if isinstance(needed, str):
        return f"import {needed}"
    if hasattr(needed, "module"):
        return f"from {needed.module} import {', '.join(map(_name, needed.imports))}"
    return f"import {_name(needed)}"


def _name(imported: Any) -> str:
    return imported if isinstance(imported, str) else f"{imported.name} as {imported.alias}"


def _source(function: Any) -> str:
    """The source, without what makes no sense in a module of its own: indentation, AutoGen's decorator."""
    if hasattr(function, "python_packages"):
        function = function.func
    if isinstance(function, str):
        from textwrap import dedent

        return _checked(dedent(function).strip())
    if not callable(function):
        raise TypeError(f"functions: must be functions or their source, not {type(function).__name__}")
    return _source_of(function)


def _checked(source: str) -> str:
    """Source that defines a function. What can't be parsed is told at the start, as what can't be loaded is."""
    import ast

    try:
        nodes = ast.walk(ast.parse(source))
    except SyntaxError:
        return source
    if not any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in nodes):
        name = repr(source if len(source) < 60 else f"{source[:60]}…")
        raise FunctionsError(f"failed to use {name}: it defines no function", "functions_failed_to_load")
    return source


def _source_of(function: Callable[..., Any]) -> str:
    import ast
    import inspect
    from textwrap import dedent

    name = getattr(function, "__qualname__", repr(function))
    if hasattr(function, "__self__") and not inspect.isbuiltin(function):
        why = "it is a method, whose object the code does not have"
        raise FunctionsError(f"failed to use {name}: {why}", "functions_failed_to_load", "give a plain function")
    around = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if around:
        why = f"it uses what is around it: {', '.join(around)}"
        hint = "make these arguments, or define them in it"
        raise FunctionsError(f"failed to use {name}: {why}", "functions_failed_to_load", hint)
    try:
        source = dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise FunctionsError(
            f"failed to read the source of {name}: {error}",
            "functions_failed_to_load",
            "give its source, as a str",
        ) from error
    (statement,) = _parse(source, name)[:1] or (None,)
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        raise FunctionsError(f"failed to use {name}: it is no function with a name", "functions_failed_to_load")
    lines = source.splitlines()
    decorators = [
        "\n".join(lines[decorator.lineno - 1 : decorator.end_lineno])
        for decorator in statement.decorator_list
        if "with_requirements" not in ast.unparse(decorator)
    ]
    return "\n".join([*decorators, *lines[statement.lineno - 1 : statement.end_lineno]])


def _parse(source: str, name: str) -> list[ast.stmt]:
    import ast

    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise FunctionsError(f"failed to parse {name}: {error}", "functions_failed_to_load") from error


def _stubs(source: str) -> Iterable[str]:
    import ast

    for statement in _parse(source, "the source of a function"):
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        end = ast.Expr(ast.Constant(...))
        docstring = [statement.body[0]] if ast.get_docstring(statement) is not None else []
        statement.body = [*docstring, end]
        statement.decorator_list = []
        yield ast.unparse(statement)
