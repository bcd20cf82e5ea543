"""AutoGen's two command line code executors, by the change of an import.

```python
from stockade.autogen import DockerCommandLineCodeExecutor, LocalCommandLineCodeExecutor
```

The constructors, results, messages, warnings and exceptions are those of autogen-ext 0.7.5, and both are
components of autogen-core; what runs the code is Stockade. Owns that likeness and nothing else. Where it
differs on purpose is told in `docs/autogen.md`.
"""

from __future__ import annotations

try:
    import autogen_core.code_executor as _  # noqa: F401
except ImportError as error:
    raise ImportError("stockade.autogen needs autogen-core: pip install 'stockade[autogen]'") from error

from stockade.autogen._docker import DockerCommandLineCodeExecutor, DockerCommandLineCodeExecutorConfig
from stockade.autogen._local import LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorConfig
from stockade.autogen._shared import CommandLineCodeResult

__all__ = [
    "CommandLineCodeResult",
    "DockerCommandLineCodeExecutor",
    "DockerCommandLineCodeExecutorConfig",
    "LocalCommandLineCodeExecutor",
    "LocalCommandLineCodeExecutorConfig",
]
