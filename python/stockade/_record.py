"""Values: what results, events and options are made of.

Owns what `dataclass(frozen=True)` would give. That would take longer to import than all the rest of this package.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """A value: it can't be changed, and is equal to another of its class with the same in it.

    A subclass says what is in it as a dataclass does.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Takes the fields from the annotations."""
        cls._fields = tuple(cls.__annotations__)
        # Type checkers have it of their own.
        type.__setattr__(cls, "__match_args__", cls._fields)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        fields = self._fields
        if len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} arguments, not {len(args)}")
        values = dict(zip(fields, args, strict=False))
        for name, value in kwargs.items():
            if name not in fields:
                raise TypeError(f"{type(self).__name__} has no field {name!r}")
            if name in values:
                raise TypeError(f"{type(self).__name__} is given {name!r} twice")
            values[name] = value
        for name in fields:
            if name not in values and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name!r}")
        self.__dict__.update(values)

    def _asdict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    def as_dict(self) -> dict[str, Any]:
        """All that is in it, as dictionaries, lists and what `json` takes; bytes stay bytes."""
        return {name: _plain(value) for name, value in self._asdict().items()}

    def __repr__(self) -> str:
        # What was left at its default says nothing.
        told = (name for name in self._fields if name in self.__dict__)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in told)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._asdict() == other._asdict()

    def __hash__(self) -> int:
        return hash((type(self), *self._asdict().values()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed: {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed: {name!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.as_dict()
    if type(value) in (list, tuple):
        return [_plain(one) for one in value]
    # A path: no other value has this.
    return value.__fspath__() if hasattr(value, "__fspath__") else value
