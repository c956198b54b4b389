"""The log of one run: every frame, plan and link estimate, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from dapdee_ros.files import write_whole
from dapdee_ros.former_names import FORMER_ORACLE, FORMER_QUALITY_NAME, rename
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.records import NO_ANSWER, Record, Records

VERSION = 1
FORESEES = "needs_future"
"""Setting that is true of a run whose policy was told the link's future; missing elsewhere."""

_MOST_CLASSES = 100_000

Kind = TypeVar("Kind")


class RunLogError(ValueError):
    """A file that is not the log of a run; the message says why."""


@dataclass
class FrameRecord:
    """One result.

    Attributes:
        at_s: its time, seconds since the run's start.
        number: the frame's number.
        answer: the answer as its task records it (a classifier: the class; see
            ``tasks.records``); -1 if there is none.
        truth: the true answer, recorded likewise, or None if unknown.
        score: confidence of the answer, 0 to 1.
        exit_number: exit that gave it.
        place: ``car``, ``edge`` or ``fallback``.
        plan_epoch: plan under which it started.
        head_s: T_d in s.
        transfer_s: T_t in s.
        tail_s: T_e in s.
        latency_s: from receiving the image to the result, in s.
        sent_bytes: encoded tensor bytes sent.
        codec: their codec, empty if nothing was sent, None if not recorded.
        deadline_s: the frame's deadline in s, None if only the run's settings have it.
        server: name of the edge server that answered, or that it was sent to last; empty: none, the
            only one, or not recorded.
    """

    at_s: float
    number: int
    answer: Record
    truth: Record | None
    score: float
    exit_number: int
    place: str
    plan_epoch: int
    head_s: float
    transfer_s: float
    tail_s: float
    latency_s: float
    sent_bytes: int
    codec: str | None = None
    deadline_s: float | None = None
    server: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the answer is the true class; None where that is not known, or no class is."""
        if not isinstance(self.truth, int) or self.answer == NO_ANSWER:
            return None
        return self.answer == self.truth


@dataclass
class DropRecord:
    """Dropped frames.

    Attributes:
        at_s: when that became known, seconds since the run's start.
        reason: why, as text.
        count: how many at once.
        number: the frame's number, None if unknown.
    """

    at_s: float
    reason: str
    count: int = 1
    number: int | None = None


@dataclass
class PlanRecord:
    """One plan, as published.

    Attributes:
        at_s: when, seconds since the run's start.
        epoch: its number.
        exit_number: its exit.
        boundary: tensors that are sent.
        codec: how.
        late: whether it was known to miss the deadline.
        predicted_latency_s: expected latency in s.
        reason: why, as text.
        policy: the policy, empty if not recorded.
        mode: what was minimised, ``latency``, ``throughput`` or a weighted sum; empty where it was
            not recorded.
        deadline_s: its deadline in s, None if not recorded.
        predicted_quality: expected quality by calibration, 0 to 1, None if unknown.
        predicted_energy_j: expected energy of the car for a frame in J, 0 if its watts are unknown.
    """

    at_s: float
    epoch: int
    exit_number: int
    boundary: list[str]
    codec: str
    late: bool
    predicted_latency_s: float
    reason: str
    policy: str = ""
    mode: str = ""
    deadline_s: float | None = None
    predicted_quality: float | None = None
    predicted_energy_j: float = 0.0


@dataclass
class LinkRecord:
    """The link at one time.

    Attributes:
        at_s: when, seconds since the run's start.
        uplink_bps: rate from car to edge, None if unknown.
        rtt_s: round-trip time in s, None if unknown.
        connected: whether the edge answers.
    """

    at_s: float
    uplink_bps: float | None
    rtt_s: float | None
    connected: bool


@dataclass
class RunLog:
    """Everything about one run.

    Attributes:
        settings: of the run: model, link, rate, deadline, seconds.
        labels: class names of the model.
        exit_count: number of exits of the model.
        task: name of the model's task.
        quality_name: the task's name for the quality of answers.
        first_result_s: seconds from the start of the run to the first result, None if there was
            none.
        frames: results in order of arrival.
        plans: plans in order.
        links: estimates of the link.
        link_truth: the emulated link's true state, if there is one.
        ledger: the last ledger of the head: its fields by name.
        forecasts: what the plan in force was expected to take, each time that this was told anew.
        drops: dropped frames whose time was recorded; the ledger counts them all.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    exit_count: int = 0
    task: str = Classifier.name
    quality_name: str = "quality"
    first_result_s: float | None = None
    frames: list[FrameRecord] = field(default_factory=list)
    plans: list[PlanRecord] = field(default_factory=list)
    links: list[LinkRecord] = field(default_factory=list)
    link_truth: list[LinkRecord] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)
    drops: list[DropRecord] = field(default_factory=list)
    forecasts: list[PlanRecord] = field(default_factory=list)

    @property
    def records(self) -> Records:
        """What reads and judges the frames' answers.

        Raises:
            ValueError: if there is no such task, or a class has an unlikely number.
        """
        # A classifier's log of earlier versions may lack the names of classes.
        numbers = [r for f in self.frames for r in (f.answer, f.truth) if isinstance(r, int)]
        highest = max(numbers, default=0)
        if highest > _MOST_CLASSES:
            raise ValueError(f"a class has the number {highest}, expected {_MOST_CLASSES} at most")
        more = [f"class {number}" for number in range(len(self.labels), highest + 1)]
        return Records(self.task, [*self.labels, *more])

    def save(self, path: Path) -> None:
        """Write the log atomically.

        Raises:
            FileError: if it cannot be written.
        """
        write_whole(path, json.dumps({"version": VERSION, **plain(asdict(self))}) + "\n")

    @classmethod
    def load(cls, path: Path) -> RunLog:
        """Read a log.

        Raises:
            RunLogError: if it cannot be read or is not a log of this version.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("version") != VERSION:
                raise RunLogError(f"{path} was written by another version; record the run again")
        except RunLogError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunLogError(f"{path} is not the log of a run: {error}") from error
        return run_log_of(data, path)


def run_log_of(data: dict[str, Any], path: Path) -> RunLog:
    """A log from its fields as JSON holds them, checked.

    Args:
        data: the fields of ``RunLog`` by name, records as objects.
        path: their file, for messages.

    Raises:
        RunLogError: if a field or record is missing or is of another type.
    """
    try:
        # Logs written before drops had times, or plans were foreseen anew, do not have the fields.
        data.setdefault("drops", [])
        data.setdefault("forecasts", [])
        _rename(data)
        for name, kind in (
            ("frames", FrameRecord),
            ("plans", PlanRecord),
            ("forecasts", PlanRecord),
            ("links", LinkRecord),
            ("link_truth", LinkRecord),
            ("drops", DropRecord),
        ):
            data[name] = [_record(kind, record) for record in data[name]]
        for name, expected in (
            ("settings", dict), ("ledger", dict), ("labels", list), ("exit_count", int),
            ("task", str), ("quality_name", str),
            ("first_result_s", (int, float, type(None))),
        ):  # fmt: skip
            if not isinstance(data[name], expected):
                raise TypeError(f"{name} is {data[name]!r}")
        log = RunLog(**{f.name: data[f.name] for f in fields(RunLog)})
        _check_records(log)
        return log
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunLogError(f"{path} is not the log of a run: {error}") from error


def _check_records(log: RunLog) -> None:
    """Raises ValueError where an answer or truth is not one of the log's task and classes."""
    records = log.records
    for frame in log.frames:
        records.read(frame.answer)
        records.read(NO_ANSWER if frame.truth is None else frame.truth)


def _rename(data: dict[str, Any]) -> None:
    """Give what logs of earlier versions hold its name of today.

    Those do not say what their task calls its quality. The oracle was known by its name.
    """
    data.setdefault("task", Classifier.name)
    if "quality_name" not in data:
        data["quality_name"] = FORMER_QUALITY_NAME
        if str(data["settings"].get("policy")).partition("+")[0] == FORMER_ORACLE:
            data["settings"][FORESEES] = True
        for values in (data["settings"], *data["plans"], *data["frames"]):
            rename(values)


# The JSON types of a field by its type. None stands for NaN, which JSON does not have.
_ALLOWED: dict[str, tuple[type, ...]] = {
    "float": (float, int, type(None)),
    "float | None": (float, int, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "Record": (int, list, str),
    "Record | None": (int, list, str, type(None)),
    "str": (str,),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "list[str]": (list,),
}


_FIELDS: Mapping[Any, Mapping[str, Field[Any]]] = {
    kind: {f.name: f for f in fields(kind)}
    for kind in (FrameRecord, PlanRecord, LinkRecord, DropRecord)
}


def _record(kind: type[Kind], values: dict[str, Any]) -> Kind:
    """One record, its fields checked; None becomes NaN where a number is expected."""
    checked = {}
    for name, known in _FIELDS[kind].items():
        if name not in values:
            if known.default is MISSING:
                raise KeyError(f"a {kind.__name__} without {name}")
            continue
        value, wanted = values[name], str(known.type)
        if not isinstance(value, _ALLOWED[wanted]) or (
            isinstance(value, list)
            and wanted == "list[str]"
            and not all(isinstance(item, str) for item in value)
        ):
            raise TypeError(f"{name} of a {kind.__name__} is {value!r}, expected {wanted}")
        checked[name] = math.nan if value is None and wanted == "float" else value
    unknown = values.keys() - _FIELDS[kind].keys()
    if unknown:
        raise TypeError(f"a {kind.__name__} has unknown fields {sorted(unknown)}")
    return kind(**checked)


def plain(value: Any) -> Any:
    """The same value without NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
