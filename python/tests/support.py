"""What several tests say or wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from stockade import CodeBlock

_T = TypeVar("_T")


class Mark:
    """A variable that processes inherit, by which they are found whatever becomes of their parents."""

    def __init__(self) -> None:
        self.env = {"STOCKADE_TEST_MARK": f"{os.getpid()}-{time.monotonic_ns()}"}

    def processes(self) -> list[int]:
        """Those that have it and live."""
        (wanted,) = (f"{name}={value}".encode() for name, value in self.env.items())
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as environ:
                    if wanted in environ.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                continue
        return found

    def gone(self) -> None:
        """Waits until there are none."""
        eventually("the end of all processes", lambda: not self.processes())


def eventually(what: str, happened: Callable[[], _T]) -> _T:
    """Waits for what is to happen, with a generous limit."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def sh(code: str) -> list[CodeBlock]:
    """One block."""
    return [CodeBlock(code, "sh")]


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own."""
    command = [sys.executable, "-X", "dev", "-c", code, *arguments]
    # In the directory of the sources `stockade` would be those, which have no native part.
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", **options)
