"""Both are components of autogen-core: what they dump is loaded again as an executor that is equal."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from autogen_core import ComponentModel, is_component_class, is_component_instance
from autogen_core.code_executor import CodeExecutor

from .conftest import AUTOGEN, NAMES, STOCKADE, Executors, execute


@pytest.fixture(params=[f"{package}-{kind}" for package in (AUTOGEN, STOCKADE) for kind in NAMES])
def executors(request: pytest.FixtureRequest) -> Executors:
    """Both kinds of both packages: components need no daemon."""
    return Executors(*request.param.rsplit("-", 1))


def reloaded(executor: Any) -> Any:
    """By way of JSON, as programs keep them."""
    model = ComponentModel.model_validate_json(executor.dump_component().model_dump_json())
    return CodeExecutor.load_component(model)


def options_of(kind: str, directory: Path) -> dict[str, Any]:
    """Every option of AutoGen's that it dumps, none as it is by default."""
    shared = {"timeout": 7, "work_dir": directory / "work", "functions_module": "tools"}
    if kind == "local":
        return {**shared, "cleanup_temp_files": False}
    return {
        **shared,
        "image": "busybox",
        "container_name": "one",
        "bind_dir": directory / "bind",
        "auto_remove": False,
        "stop_container": False,
        "extra_volumes": {
            "/data": {"bind": "/mnt/data", "mode": "ro"},
            "volume": {"bind": "/mnt/volume", "mode": "rw"},
        },
        "extra_hosts": {"docker.internal": "host-gateway"},
        "init_command": "true",
        "delete_tmp_files": True,
    }


def test_they_are_components(executors: Executors) -> None:
    assert is_component_class(executors.type)
    assert is_component_instance(executors.make())
    assert executors.type.component_type == "code_executor"


def test_the_provider_is_the_module_that_programs_import(executors: Executors) -> None:
    model = executors.make().dump_component()
    package = "stockade.autogen" if not executors.is_reference else f"autogen_ext.code_executors.{executors.kind}"
    assert model.provider == f"{package}.{NAMES[executors.kind]}"
    assert (model.component_type, model.version, model.label) == ("code_executor", 1, NAMES[executors.kind])
    assert model.description


def test_what_is_dumped_is_loaded_as_an_equal_executor(executors: Executors, tmp_path: Path) -> None:
    executor = executors.make(**options_of(executors.kind, tmp_path))
    again = reloaded(executor)
    assert type(again) is type(executor)
    assert again.dump_component() == executor.dump_component()
    assert (again.timeout, again.work_dir) == (7, tmp_path / "work")


def test_the_configuration_has_autogens_fields_and_values(tmp_path: Path) -> None:
    for kind in NAMES:
        options = options_of(kind, tmp_path)
        config = Executors(AUTOGEN, kind).make(**options).dump_component().config
        ours = Executors(STOCKADE, kind).make(**options).dump_component().config
        assert {name: ours[name] for name in config} == config


def test_what_autogen_dumped_is_loaded_with_the_provider_changed(tmp_path: Path) -> None:
    for kind in NAMES:
        dumped = Executors(AUTOGEN, kind).make(**options_of(kind, tmp_path)).dump_component()
        dumped.provider = f"stockade.autogen.{NAMES[kind]}"
        executor = CodeExecutor.load_component(dumped)
        assert isinstance(executor, Executors(STOCKADE, kind).type)
        assert executor.timeout == 7


def test_an_executor_with_the_defaults_is_dumped_and_loaded(executors: Executors) -> None:
    again = reloaded(executors.make())
    assert again.timeout == 60


def test_a_name_that_was_made_up_is_not_dumped() -> None:
    # AutoGen dumps it, and whoever loads it removes the first's container (0.7.5).
    first, second = (Executors(STOCKADE, "docker").make() for _ in range(2))
    assert first.dump_component() == second.dump_component()
    assert first.container_name != reloaded(first).container_name


def test_a_temporary_work_dir_is_not_dumped() -> None:
    # AutoGen's local one makes one for the dump, and the loaded executor keeps to it when it is gone (0.7.5).
    executor = Executors(STOCKADE, "local").make()
    assert "work_dir" not in executor.dump_component().config


@pytest.mark.parametrize("count", [-1, 2])
def test_device_requests_come_back(count: int) -> None:
    # AutoGen loses them (0.7.5).
    from docker.types import DeviceRequest  # type: ignore[import-untyped]

    request = DeviceRequest(
        driver="nvidia",
        count=count,
        device_ids=[],
        capabilities=[["gpu", "compute"]],
        options={"key": "value"},
    )
    assert "device_requests" not in Executors(AUTOGEN, "docker").make(device_requests=[request]).dump_component().config
    executor = Executors(STOCKADE, "docker").make(device_requests=[request])
    config = executor.dump_component().config
    assert config["device_requests"] == [dict(request)]
    assert reloaded(executor).dump_component().config == config


def test_a_virtual_env_comes_back(tmp_path: Path) -> None:
    # AutoGen leaves it out, and the loaded executor runs another Python (0.7.5).
    context = SimpleNamespace(bin_path=str(tmp_path / "bin"), env_exe=str(tmp_path / "bin" / "python"))
    reference = Executors(AUTOGEN, "local").make(virtual_env_context=context, work_dir=tmp_path)
    assert "virtual_env_context" not in reference.dump_component().config
    executor = Executors(STOCKADE, "local").make(virtual_env_context=context)
    config = executor.dump_component().config
    assert config["virtual_env_context"] == {"bin_path": context.bin_path, "env_exe": context.env_exe}
    assert reloaded(executor).dump_component().config == config


def an_unused_function() -> None:
    pass


def test_functions_are_not_dumped_and_that_is_logged(executors: Executors, caplog: Any, tmp_path: Path) -> None:
    with caplog.at_level(logging.INFO):
        config = executors.make(functions=[an_unused_function], work_dir=tmp_path).dump_component().config
    assert "functions" not in config
    assert "Functions will not be included in serialized configuration" in caplog.text


def test_a_configuration_is_json(executors: Executors, tmp_path: Path) -> None:
    config = executors.make(**options_of(executors.kind, tmp_path)).dump_component().config
    assert json.loads(json.dumps(config)) == config


async def test_a_loaded_executor_runs(ours: Executors, tmp_path: Path) -> None:
    again = reloaded(ours.make(work_dir=tmp_path))
    async with again:
        result = await execute(again, ("sh", "echo hello"))
    assert result.output == "hello\n"
