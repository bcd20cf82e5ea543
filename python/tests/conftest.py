"""What the tests need of the machine, and what each of them leaves behind: nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from support import Mark


def _require(word: str, found: bool, why: str) -> None:
    """Skips the test that lacks something, or fails it where `STOCKADE_TEST_REQUIRE` has the word, or `all`."""
    if found:
        return
    required = os.environ.get("STOCKADE_TEST_REQUIRE", "").split(",")
    if "all" in required or word in required:
        pytest.fail(f"STOCKADE_TEST_REQUIRE asks for {word}: {why}")
    pytest.skip(why)


@pytest.fixture
def docker() -> dict[str, str]:
    """Options for an executor on the daemon and with the image that `cargo xtask test` tells of."""
    daemon, image = os.environ.get("STOCKADE_TEST_DOCKER"), os.environ.get("STOCKADE_TEST_IMAGE")
    why = "STOCKADE_TEST_DOCKER and STOCKADE_TEST_IMAGE are not set: `cargo xtask test` sets them"
    _require("docker", bool(daemon and image), why)
    return {"daemon": daemon or "", "image": image or ""}


@pytest.fixture
def matplotlib() -> None:
    """The system's Python has matplotlib."""
    found = subprocess.run(["/usr/bin/python3", "-c", "import matplotlib"], capture_output=True).returncode == 0
    _require("matplotlib", found, "/usr/bin/python3 has no matplotlib")


@pytest.fixture
def mark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mark]:
    """A mark for processes that a test starts; none of them may be left in the end."""
    mark = Mark()
    yield mark
    mark.gone()
