"""What is refused, and how: a `TypeError` names the argument, an `InvalidOptionError` tells what it takes."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import sh

import stockade
from stockade import (
    CodeBlock,
    DeviceRequest,
    DockerCommandLineCodeExecutor,
    InvalidOptionError,
    Language,
    LocalCommandLineCodeExecutor,
    Sandbox,
    Ulimit,
    Volume,
    sync,
)

# A type checker would tell.
untyped: Any = Sandbox

WRONG_TYPES: list[tuple[type, dict[str, Any], str]] = [
    (LocalCommandLineCodeExecutor, {"timeout": "ten"}, "timeout: must be a number of seconds or a timedelta, not str"),
    (
        LocalCommandLineCodeExecutor,
        {"timeout": None},
        "timeout: must be seconds or a timedelta, not None: there is no endless one, the longest is ten years",
    ),
    (DockerCommandLineCodeExecutor, {"timeout": None}, "timeout: must be seconds or a timedelta, not None"),
    (LocalCommandLineCodeExecutor, {"work_dir": 3}, "work_dir: must be a str or a Path, not int"),
    (LocalCommandLineCodeExecutor, {"virtual_env": 3}, "virtual_env: must be a str or a Path, not int"),
    (LocalCommandLineCodeExecutor, {"sandbox": "strict"}, "sandbox: must be a Sandbox, not str"),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(memory="1g")}, "sandbox: memory: must be an int, not str"),  # type: ignore[arg-type]
    (
        LocalCommandLineCodeExecutor,
        {"sandbox": Sandbox(read_only="/etc")},
        "sandbox: read_only: must be a list",
    ),
    (LocalCommandLineCodeExecutor, {"env": ["A=1"]}, "env: must be a dict, not list"),
    (LocalCommandLineCodeExecutor, {"env": {"A": 1}}, "env: each name and value must be a str, not int"),
    (LocalCommandLineCodeExecutor, {"inherit_env": "PATH"}, "inherit_env: must be a list, not a single str"),
    (LocalCommandLineCodeExecutor, {"inherit_env": [3]}, "inherit_env: each must be a str, not int"),
    (
        LocalCommandLineCodeExecutor,
        {"keep_going": 1},
        "keep_going: must be a bool, not int",
    ),
    (LocalCommandLineCodeExecutor, {"output_limit": 1.5}, "output_limit: must be an int, not float"),
    (LocalCommandLineCodeExecutor, {"languages": ["elixir"]}, "languages: each must be a Language, not str"),
    (
        LocalCommandLineCodeExecutor,
        {"functions": "def f(): ..."},
        "functions: must be a list, not a single str",
    ),
    (
        LocalCommandLineCodeExecutor,
        {"functions": print},
        "functions: must be a list, not a single builtin_function_or_method",
    ),
    (LocalCommandLineCodeExecutor, {"functions": 3}, "functions: must be a list, not int"),
    (
        LocalCommandLineCodeExecutor,
        {"functions": [3]},
        "functions: must be functions or their source, not int",
    ),
    (LocalCommandLineCodeExecutor, {"functions_module": 3}, "functions_module: must be a str, not int"),
    (LocalCommandLineCodeExecutor, {"colour": 3}, "unexpected keyword argument 'colour'"),
    (DockerCommandLineCodeExecutor, {"image": 3}, "image: must be a str, not int"),
    (DockerCommandLineCodeExecutor, {"extra_volumes": [3]}, "extra_volumes: each must be a Volume, not int"),
    (
        DockerCommandLineCodeExecutor,
        {"device_requests": [3]},
        "device_requests: each must be a DeviceRequest, not int",
    ),
    (DockerCommandLineCodeExecutor, {"labels": {"a": 1}}, "labels: each name and value must be a str, not int"),
    (DockerCommandLineCodeExecutor, {"memory": "512m"}, "memory: must be an int, not str"),
    (DockerCommandLineCodeExecutor, {"on_pull": 3}, "on_pull: must be callable, not int"),
]

BAD_VALUES: list[tuple[type, dict[str, Any], str]] = [
    (LocalCommandLineCodeExecutor, {"timeout": 0}, "timeout must be at least a millisecond"),
    (LocalCommandLineCodeExecutor, {"timeout": -1}, "timeout must be a time, not -1 seconds"),
    (LocalCommandLineCodeExecutor, {"timeout": timedelta(0)}, "timeout must be at least a millisecond"),
    (LocalCommandLineCodeExecutor, {"timeout": float("nan")}, "timeout must be a time, not NaN seconds"),
    (LocalCommandLineCodeExecutor, {"timeout": float("inf")}, "timeout must be at most ten years"),
    (LocalCommandLineCodeExecutor, {"output_limit": 1 << 40}, "output_limit must be at most"),
    (
        LocalCommandLineCodeExecutor,
        {"output_limit": -1},
        "output_limit must be a whole number that is not negative",
    ),
    (LocalCommandLineCodeExecutor, {"env": {"": "x"}}, "env has a variable without a name"),
    (LocalCommandLineCodeExecutor, {"env": {"A": "x\0"}}, "env has a NUL byte"),
    (
        LocalCommandLineCodeExecutor,
        {"functions_module": "my-module"},
        "functions_module must be a Python identifier",
    ),
    (
        LocalCommandLineCodeExecutor,
        {"functions_module": "class"},
        "functions_module must be a Python identifier",
    ),
    (
        LocalCommandLineCodeExecutor,
        {"sandbox": untyped(level="high")},
        'sandbox level there is no level "high"',
    ),
    (
        LocalCommandLineCodeExecutor,
        {"sandbox": untyped(network="lan")},
        "sandbox network must be `none` or `host`",
    ),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(memory=-1)}, "sandbox memory must be a whole number"),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(memory=1)}, "memory must be at least 6 MiB"),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(cpu_time=0)}, "cpu_time must be more than nothing"),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(read_only=["x"])}, "sandbox takes absolute paths"),
    (LocalCommandLineCodeExecutor, {"languages": [Language("x", "x", commands=[[]])]}, "without a program"),
    (
        LocalCommandLineCodeExecutor,
        {"languages": [Language("x", "x", commands=[["x", "-v"]])]},
        "languages has the language x whose command `x` has no `{file}` among its arguments",
    ),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(cpus=1e9)}, "at least 0.01 and at most a million"),
    (DockerCommandLineCodeExecutor, {"cpus": 1e9}, "cpus must be at least 0.01 and at most 100000"),
    (LocalCommandLineCodeExecutor, {"work_dir": "~/x"}, "work_dir begins with a `~`, which stands for nothing here"),
    (LocalCommandLineCodeExecutor, {"virtual_env": Path("~x")}, 'write os.path.expanduser("~x"), or ./~x'),
    (LocalCommandLineCodeExecutor, {"work_dir": "x\0"}, "work_dir has a NUL byte"),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(read_only=["/x\0"])}, "sandbox read_only has a NUL byte"),
    (DockerCommandLineCodeExecutor, {"bind_dir": "~/x", "work_dir": "/x"}, "bind_dir begins with a `~`"),
    (DockerCommandLineCodeExecutor, {"image": " "}, "image can't be empty"),
    (
        DockerCommandLineCodeExecutor,
        {"container_name": "-x"},
        "container_name must begin with a letter or digit",
    ),
    (DockerCommandLineCodeExecutor, {"pull": "maybe"}, "pull"),
    (
        DockerCommandLineCodeExecutor,
        {"workspace": "share"},
        "workspace must be `bind` or `copy`, not `share`",
    ),
    (DockerCommandLineCodeExecutor, {"bind_dir": "/x"}, "bind_dir needs a work_dir"),
    (DockerCommandLineCodeExecutor, {"extra_volumes": ["/a"]}, "extra_volumes `/a` is not SOURCE:TARGET"),
    (DockerCommandLineCodeExecutor, {"device_requests": ["some"]}, "device_requests `some` is not `all`"),
    (DockerCommandLineCodeExecutor, {"ulimits": ["nofile"]}, "ulimits `nofile` is not NAME=SOFT"),
    (DockerCommandLineCodeExecutor, {"memory": -1}, "memory must be a whole number that is not negative"),
    (DockerCommandLineCodeExecutor, {"pids_limit": 1}, "pids_limit"),
    (DockerCommandLineCodeExecutor, {"lockdown": True, "network": "host"}, "lockdown"),
]

GOOD_VALUES: list[tuple[type, dict[str, Any]]] = [
    (LocalCommandLineCodeExecutor, {"timeout": 0.001, "output_limit": 0, "env": {"A": "x=y"}}),
    (LocalCommandLineCodeExecutor, {"timeout": timedelta(days=1), "functions_module": "my_module"}),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox(memory=6 << 20, cpu_time=timedelta(seconds=1))}),
    (LocalCommandLineCodeExecutor, {"sandbox": Sandbox.strict(read_only=["/opt"], cpus=0.5)}),
    (LocalCommandLineCodeExecutor, {"sandbox": None, "virtual_env": None}),
    (LocalCommandLineCodeExecutor, {"work_dir": "./~x", "virtual_env": Path("x~")}),
    (
        LocalCommandLineCodeExecutor,
        {"languages": [Language("x", "x"), Language("y", "y", commands=[["y", "-f={file}"]])]},
    ),
    (DockerCommandLineCodeExecutor, {"extra_volumes": ["/a:/b:ro", Volume("/c", "/d", read_only=True)]}),
    (
        DockerCommandLineCodeExecutor,
        {"device_requests": ["all", DeviceRequest(count=-1, capabilities=[["gpu"]])]},
    ),
    (DockerCommandLineCodeExecutor, {"ulimits": ["nofile=64", Ulimit("core", 0), Ulimit("core", 0, -1)]}),
    (DockerCommandLineCodeExecutor, {"lockdown": True, "memory": 64 << 20, "labels": {"team": "blue"}}),
    (
        DockerCommandLineCodeExecutor,
        {"extra_hosts": {"host": "host-gateway"}, "on_pull": print, "pull": "never"},
    ),
]


@pytest.mark.parametrize(("executor", "options", "why"), WRONG_TYPES)
def test_a_value_of_a_wrong_type_is_refused_by_the_name_of_its_option(
    executor: type, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(why)):
        executor(**options)


@pytest.mark.parametrize(("executor", "options", "why"), BAD_VALUES)
def test_a_value_that_can_not_be_used_is_refused_by_the_name_of_its_option(
    executor: type, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidOptionError, match=re.escape(why)) as raised:
        executor(**options)
    assert isinstance(raised.value, ValueError)
    assert raised.value.kind == "invalid_option"


@pytest.mark.parametrize(("executor", "options"), GOOD_VALUES)
def test_values_that_can_be_used_are_not_refused(executor: type, options: dict[str, Any]) -> None:
    executor(**options)
    getattr(sync, executor.__name__)(**options)


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((3,), {}, "code_blocks: must be a list, not int"),
        (("echo on",), {}, "code_blocks: must be a list, not a single str"),
        ((None,), {}, "code_blocks: must be a list of blocks, not None"),
        (([3],), {}, "code_blocks: each must have `code` and `language`, and int has no `code`"),
        ((["print(1)"],), {}, "code_blocks: each must have `code` and `language`, and str has no `code`"),
        (([CodeBlock(3, "sh")],), {}, "code_blocks: each must have a `code` that is a str, not int"),  # type: ignore[arg-type]
        (([CodeBlock("ls", b"sh")],), {}, "code_blocks: each must have a `language` that is a str, not bytes"),  # type: ignore[arg-type]
        (([], 3), {}, "cancellation_token: must be a stockade.CancellationToken, not int"),
        (([], asyncio.Event()), {}, "cancellation_token: must be a stockade.CancellationToken, not Event"),
        (([],), {"timeout": "ten"}, "timeout: must be a number of seconds or a timedelta, not str"),
        (([],), {"env": 3}, "env: must be a dict, not int"),
        (([],), {"env": {"A": 1}}, "env: each name and value must be a str, not int"),
        (([],), {"keep_going": "no"}, "keep_going"),
    ],
)
async def test_a_call_refuses_wrong_types_by_the_name_of_the_argument(
    arguments: tuple[Any, ...], options: dict[str, Any], why: str
) -> None:
    executor = LocalCommandLineCodeExecutor()
    with pytest.raises(TypeError, match=re.escape(why)):
        await executor.execute_code_blocks(*arguments, **options)
    with pytest.raises(TypeError, match=re.escape(why)):
        executor.execute_stream(*arguments, **options)


async def test_a_call_refuses_a_timeout_of_zero_and_contents_that_are_none() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        with pytest.raises(InvalidOptionError, match="timeout must be at least a millisecond"):
            await executor.execute_code_blocks(sh("true"), timeout=0)
        with pytest.raises(TypeError, match="contents"):
            await executor.put_file("x", 3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="path"):
            await executor.get_file(3)  # type: ignore[arg-type]
        assert (await executor.execute_code_blocks(sh("echo é"), timeout=30)).output == "é\n"


async def test_a_block_that_is_too_large_is_an_error_with_a_hint() -> None:
    async with LocalCommandLineCodeExecutor() as executor:
        with pytest.raises(stockade.StockadeError) as raised:
            await executor.execute_code_blocks([*sh("echo on"), *sh("#" * (200 << 20))])
        assert raised.value.kind == "block_too_large"
        assert raised.value.hint is not None
        assert [block.output for block in raised.value.blocks] == ["on\n"]


async def test_a_start_that_fails_says_why_and_what_to_do() -> None:
    executor = LocalCommandLineCodeExecutor(work_dir="/proc/none/such")
    with pytest.raises(stockade.StartError, match="failed to use /proc/none/such as the work_dir") as raised:
        await executor.start()
    assert (raised.value.kind, isinstance(raised.value, RuntimeError)) == ("work_dir_unavailable", True)
    assert raised.value.hint is not None
    with pytest.raises(stockade.NotStartedError):
        await executor.execute_code_blocks(sh("true"))
