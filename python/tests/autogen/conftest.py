"""What the tests of the drop-in run on: AutoGen's two executors and ours, side by side.

A test that takes `local`, `docker` or `executors` is run once against autogen-ext itself and once against
stockade.autogen, so that what it says was seen at the reference in the same run. All of it was first seen
with autogen-ext 0.7.5 on CPython 3.11, Linux and Docker 20.10. Where ours is better on purpose, the test says
what AutoGen does: with an assertion where that is quick, in words where it hangs, takes long or leaves
something behind.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import subprocess
import time
import uuid
import venv
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock

AUTOGEN, STOCKADE = "autogen-ext", "stockade"
MODULES = {
    (AUTOGEN, "local"): "autogen_ext.code_executors.local",
    (AUTOGEN, "docker"): "autogen_ext.code_executors.docker",
    (STOCKADE, "local"): "stockade.autogen",
    (STOCKADE, "docker"): "stockade.autogen",
}
NAMES = {"local": "LocalCommandLineCodeExecutor", "docker": "DockerCommandLineCodeExecutor"}


def pytest_report_header() -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("autogen-core", "autogen-ext")]
    return "the reference: " + ", ".join(versions)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What warns here is AutoGen, or as AutoGen does; tests of a warning catch it themselves."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for ignored in (
                "ignore:Using LocalCommandLineCodeExecutor:UserWarning",
                "ignore:No approval function set",
            ):
                item.add_marker(pytest.mark.filterwarnings(ignored))
            if AUTOGEN in item.name:
                item.add_marker(pytest.mark.filterwarnings("ignore"))


def require(what: str, present: bool) -> None:
    """Skips the test where something is missing, unless it may not be."""
    if present:
        return
    required = os.environ.get("STOCKADE_TEST_REQUIRE", "").split(",")
    if "all" in required or what in required:
        pytest.fail(f"{what} is missing, and STOCKADE_TEST_REQUIRE asks for it")
    pytest.skip(f"{what} is missing")


@dataclass(frozen=True)
class Executors:
    """One kind of executor of one package: makes them, and sees to it that they leave nothing."""

    package: str
    kind: str
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def is_reference(self) -> bool:
        return self.package == AUTOGEN

    @property
    def type(self) -> Any:
        return getattr(importlib.import_module(MODULES[self.package, self.kind]), NAMES[self.kind])

    def make(self, *args: Any, **options: Any) -> Any:
        """An executor, made without the warning that local ones give."""
        if not args:
            options = {**self.defaults, **options}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using LocalCommandLineCodeExecutor", UserWarning)
            return self.type(*args, **options)

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Any]:
        """An executor that is started, and ended. AutoGen's container by force: its `stop` takes ten seconds."""
        executor = self.make(**options)
        await executor.start()
        try:
            yield executor
        finally:
            if self.is_reference and self.kind == "docker":
                remove_container(executor.container_name)
            await executor.stop()


def docker(*arguments: str) -> str:
    """What Docker's command prints."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()


def remove_container(name: str) -> None:
    docker("rm", "--force", "--volumes", name)


def states_of(name: str) -> list[str]:
    """The states of the containers of this name: none or one."""
    return docker("ps", "--all", "--filter", f"name=^{name}$", "--format", "{{.State}}").split()


async def execute(executor: Any, *blocks: tuple[str, str], token: CancellationToken | None = None) -> Any:
    """Runs blocks of language and code."""
    code_blocks = [CodeBlock(code=code, language=language) for language, code in blocks]
    return await executor.execute_code_blocks(code_blocks, token or CancellationToken())


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """An image with sh and python, on a daemon that both packages find."""
    address, image = os.environ.get("STOCKADE_TEST_DOCKER"), os.environ.get("STOCKADE_TEST_IMAGE")
    require("docker", bool(address and image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", str(address))
        yield str(image)


@pytest.fixture(params=[AUTOGEN, STOCKADE])
def local(request: pytest.FixtureRequest) -> Executors:
    return Executors(request.param, "local")


@pytest.fixture(params=[AUTOGEN, STOCKADE])
def docker_executors(request: pytest.FixtureRequest, image: str) -> Executors:
    return Executors(request.param, "docker", {"image": image})


@pytest.fixture(params=[f"{package}-{kind}" for package in (AUTOGEN, STOCKADE) for kind in NAMES])
def executors(request: pytest.FixtureRequest) -> Executors:
    """Both kinds of both packages."""
    package, kind = request.param.rsplit("-", 1)
    defaults = {"image": request.getfixturevalue("image")} if kind == "docker" else {}
    return Executors(package, kind, defaults)


@pytest.fixture
def our_local() -> Executors:
    return Executors(STOCKADE, "local")


@pytest.fixture
def our_docker(image: str) -> Executors:
    return Executors(STOCKADE, "docker", {"image": image})


@pytest.fixture(params=NAMES)
def ours(request: pytest.FixtureRequest) -> Executors:
    """Both kinds of ours."""
    defaults = {"image": request.getfixturevalue("image")} if request.param == "docker" else {}
    return Executors(STOCKADE, request.param, defaults)


@pytest.fixture
def container_name() -> Iterator[str]:
    """A name that no container has, nor will have after the test."""
    name = f"stockade-test-{uuid.uuid4()}"
    yield name
    if states_of(name):
        remove_container(name)


@pytest.fixture(scope="session")
def virtual_env(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The context of a virtual environment with pip, as `venv` gives it."""
    directory = tmp_path_factory.mktemp("virtual_env")
    builder = venv.EnvBuilder(with_pip=True)
    builder.create(directory)
    return builder.ensure_directories(directory)


async def appearance_of(file: Path) -> None:
    """Waits until a block has made a file."""
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear"
        await asyncio.sleep(0.01)
