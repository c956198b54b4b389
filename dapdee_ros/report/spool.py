"""Records of a run that goes on for hours: kept in a file until they are wanted."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class Spool(Generic[Record]):
    """A list that only grows, in a temporary file, so that memory does not.

    The file has no name and is gone with the process, however that ends.
    """

    def __init__(self, kind: type[Record]) -> None:
        """Begin empty.

        Args:
            kind: the records' dataclass, of numbers, texts, and lists and dicts of them.
        """
        self._kind = kind
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 as long as this
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, record: Record) -> None:
        """Keep one more."""
        self._file.write(json.dumps(asdict(record)) + "\n")
        self._count += 1

    def read(self) -> list[Record]:
        """All of them, in order."""
        self._file.seek(0)
        records = [self._kind(**json.loads(line)) for line in self._file]
        self._file.seek(0, 2)
        return records

    def close(self) -> None:
        """Forget them all."""
        self._file.close()
