"""The log of a run in progress: written line by line, readable whenever the run ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dapdee_ros.files import FileError
from dapdee_ros.report.run_log import (
    DropRecord,
    FrameRecord,
    LinkRecord,
    PlanRecord,
    RunLog,
    RunLogError,
    plain,
    run_log_of,
)

SUFFIX = ".journal"
"""Suffix of a journal, after the full name of the log."""

_FORMAT = 1
_LISTS = {"frames", "plans", "forecasts", "links", "link_truth", "drops"}


def journal_of(path: Path) -> Path:
    """Path of the journal of the log at ``path``."""
    return path.with_name(path.name + SUFFIX)


class Journal:
    """Appends events to a file, so that they survive a kill or a full disk.

    Memory does not grow. At the end it is converted to the log and removed.

    Attributes:
        path: where the log will be.
        lost: lines that could not be written.
    """

    def __init__(self, path: Path) -> None:
        """Begin.

        Args:
            path: where the log will be; the journal is next to it.

        Raises:
            FileError: if the journal cannot be written.
        """
        self.path = path
        self.lost = 0
        self._torn = False
        self._journal = journal_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._journal.open("wb", buffering=0)
        except OSError as error:
            raise FileError.about(self._journal, error) from error
        self.note(format=_FORMAT)
        if self.lost:
            self._file.close()
            self._journal.unlink(missing_ok=True)
            raise FileError.about(self._journal, self._error)

    def add(self, name: str, record: FrameRecord | PlanRecord | LinkRecord | DropRecord) -> bool:
        """Append a record to the list of the log that has this name; False if it was lost."""
        return self._write({name: asdict(record)})

    def note(self, **values: Any) -> bool:
        """Set fields of the log other than record lists; False if that was lost."""
        return self._write({"note": values})

    def _write(self, line: Mapping[str, Any]) -> bool:
        data = json.dumps(plain(line)).encode() + b"\n"
        try:
            # A line truncated by a full disk is terminated first; readers skip it.
            written = self._file.write(b"\n" + data if self._torn else data)
        except OSError as error:
            self.lost, self._error = self.lost + 1, error
            return False
        self._torn = written < len(data)
        if self._torn:
            self.lost, self._error = self.lost + 1, OSError(28, "No space left on device")
        return not self._torn

    def complete(self) -> None:
        """Convert the journal to the log, and remove the journal.

        Raises:
            FileError: if the log cannot be written, or lines are missing from it; the journal
                stays, and ``dapdee report`` reads it.
        """
        self._file.close()
        kept = f"what was written so far is in {self._journal}, which `dapdee report` can read"
        try:
            log = read_journal(self._journal)
            log.save(self.path)
        except (FileError, RunLogError) as error:
            raise FileError(f"{error}; {kept}") from error
        if self.lost:
            raise FileError(
                f"{self.path} lacks {self.lost} records that could not be written: "
                f"{FileError.about(self.path, self._error)}"
            )
        self._journal.unlink(missing_ok=True)


def read_log(path: Path) -> RunLog:
    """The log at a path, of a finished run or, if it is a journal, of an interrupted one.

    Raises:
        RunLogError: if it is neither.
    """
    return read_journal(path) if path.suffix == SUFFIX else RunLog.load(path)


def read_journal(path: Path) -> RunLog:
    """The log of a run as far as it is in its journal.

    Lines truncated by a kill or a full disk are skipped.

    Raises:
        RunLogError: if the file cannot be read, or is not a journal.
    """
    values: dict[str, Any] = {name: [] for name in _LISTS}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, text in enumerate(file):
                try:
                    line = json.loads(text)
                except ValueError:
                    if number == 0:
                        raise
                    continue
                if number == 0 and line != {"note": {"format": _FORMAT}}:
                    raise RunLogError(f"{path} is not the journal of a run, or of another version")
                for name, value in line.items():
                    if name == "note":
                        values.update(value)
                    else:
                        values[name].append(value)
    except RunLogError:
        raise
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise RunLogError(f"{path} is not the journal of a run: {error}") from error
    if "format" not in values:
        raise RunLogError(f"{path} is empty: the run ended before anything was recorded")
    del values["format"]
    return run_log_of(values, path)
