"""Comparisons: grouping of runs, their names, and their regret against the oracle."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dapdee_ros.report.palette import EMPHASISED
from dapdee_ros.report.run_log import FORESEES, RunLog
from dapdee_ros.report.summary import quantile, summarise

UNNAMED_POLICY = "policy not named"
NOT_SET = "not set"
"""Display text of a setting of None."""
# In this order settings are tried to tell runs of one policy apart.
_TELLING = (
    "codecs", "load", "mode", "model", "link", "car", "emulated_slowdown", "rate_hz", "deadline_s",
    "pinned_plan", "seconds", "source", "seed",
)  # fmt: skip


@dataclass
class Run:
    """One run of a report.

    Attributes:
        path: the file it was read from.
        log: its content.
        name: its name in tables and figures; unique in its comparison.
    """

    path: Path
    log: RunLog
    name: str = ""

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The run's figures, see ``summarise``."""
        return summarise(self.log)

    @property
    def policy(self) -> str:
        """The policy, with ``+codec`` if it was given one."""
        named = self.log.settings.get("policy")
        if isinstance(named, str) and named:
            return named
        return next((p.policy for p in reversed(self.log.plans) if p.policy), UNNAMED_POLICY)

    @property
    def foresees(self) -> bool:
        """Whether its policy was told the link's future, so that others can be measured by it."""
        return self.log.settings.get(FORESEES) is True

    @property
    def base_policy(self) -> str:
        """The policy without its codec."""
        return self.policy.split("+", maxsplit=1)[0]


def quality_name(runs: Sequence[Run]) -> str:
    """The name of these runs' quality measure, whichever task they have."""
    names = {run.log.quality_name for run in runs}
    return names.pop() if len(names) == 1 else "quality"


def class_quality(run: Run, label: str) -> float | None:
    """Quality of one class of the run's model, 0 to 1; None if it is not known."""
    figures = run.summary["classes"].get(label, {})
    return next((value for value in figures.values() if isinstance(value, float)), None)


@dataclass(frozen=True)
class Regret:
    """A run's regret against the oracle on the frames that both answered.

    Attributes:
        oracle: name of the oracle's run.
        frames: how many both answered.
        unmatched: frames that only one of them answered.
        mean_s: mean of latency minus the oracle's for the same frame, in s.
        median_s: its median in s.
        p95_s: its 95th percentile in s.
        latency_ratio: mean latency over the oracle's mean latency, both over these frames.
        late_points: late frames per 100 more than the oracle's, None where a deadline is unknown.
    """

    oracle: str
    frames: int
    unmatched: int
    mean_s: float
    median_s: float
    p95_s: float
    latency_ratio: float
    late_points: float | None


@dataclass
class Comparison:
    """Runs shown together.

    Attributes:
        scenario: what they have in common; None for runs that name no scenario.
        runs: at least one.
    """

    scenario: str | None
    runs: list[Run]

    @property
    def title(self) -> str:
        """A heading."""
        if self.scenario is not None:
            return self.scenario
        if len(self.runs) > 1:
            return "Runs without a common scenario"
        policy = self.runs[0].policy
        return "One run" if policy == UNNAMED_POLICY else f"Policy {policy}"

    @cached_property
    def regrets(self) -> dict[str, Regret]:
        """Regret by run name, for the runs with which an oracle can be compared."""
        if self.scenario is None:
            return {}
        oracles = [run for run in self.runs if run.foresees and run.log.frames]
        found = {}
        for run in self.runs:
            if run.foresees:
                continue
            # An oracle that may use codecs is not a fair bound for a policy that may not.
            like = [o for o in oracles if _codecs(o) == _codecs(run)] or oracles
            regret = _regret(run, like[0]) if like else None
            if regret is not None:
                found[run.name] = regret
        return found


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """Group runs by scenario and name them: exact and oracle first, the others as they came."""
    groups: dict[str | None, list[Run]] = defaultdict(list)
    for run in runs:
        scenario = run.log.settings.get("scenario")
        groups[str(scenario) if scenario not in (None, "") else None].append(run)
    for group in groups.values():
        group.sort(key=lambda run: (run.base_policy != EMPHASISED, not run.foresees))
        _name(group)
    return [Comparison(scenario, group) for scenario, group in groups.items()]


def setting_text(value: Any) -> str:
    """A setting as display text."""
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _name(runs: list[Run]) -> None:
    parts: dict[int, list[str]] = {id(run): [run.policy] for run in runs}
    for key in _TELLING:
        for alike in _alike(runs, parts):
            values = {id(r): setting_text(r.log.settings.get(key)) for r in alike}
            if len(set(values.values())) > 1:
                for run in alike:
                    text = values[id(run)]
                    word = isinstance(run.log.settings.get(key), str)
                    parts[id(run)].append(text if word else f"{key} {text}")
    for alike in _alike(runs, parts):
        names = [run.path.parent.name if run.path.stem == "run" else run.path.stem for run in alike]
        for number, run in enumerate(alike):
            clear = names.count(names[number]) == 1 and names[number]
            parts[id(run)].append(names[number] if clear else str(number + 1))
    for run in runs:
        run.name = ", ".join(parts[id(run)])


def _alike(runs: list[Run], parts: dict[int, list[str]]) -> list[list[Run]]:
    """Runs that cannot be distinguished yet."""
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[tuple(parts[id(run)])].append(run)
    return [group for group in groups.values() if len(group) > 1]


def _codecs(run: Run) -> Any:
    return setting_text(run.log.settings.get("codecs"))


def _regret(run: Run, oracle: Run) -> Regret | None:
    both = BothAnswered.of(run.log, oracle.log)
    if not both.first_s:
        return None
    differences = [ours - best for ours, best in zip(both.first_s, both.second_s, strict=True)]
    late, least = run.summary["late_ratio"], oracle.summary["late_ratio"]
    return Regret(
        oracle=oracle.name,
        frames=len(differences),
        unmatched=both.unmatched,
        mean_s=statistics.fmean(differences),
        median_s=statistics.median(differences),
        p95_s=quantile(differences, 0.95),
        latency_ratio=both.ratio,
        late_points=None if late is None or least is None else 100 * (late - least),
    )


@dataclass(frozen=True)
class BothAnswered:
    """Latencies of the frames that two runs with identical input both answered.

    Only these say which run is faster: a run that drops frames has more time for the others.

    Attributes:
        first_s: the first run's, in s, by rising frame number.
        second_s: the second run's of the same frames.
        unmatched: frames that only one of them answered.
    """

    first_s: Sequence[float]
    second_s: Sequence[float]
    unmatched: int

    @classmethod
    def of(cls, first: RunLog, second: RunLog) -> BothAnswered:
        """The frames of two logs, matched by number."""
        ours, theirs = _latencies(first), _latencies(second)
        common = sorted(ours.keys() & theirs.keys())
        return cls(
            [ours[number] for number in common],
            [theirs[number] for number in common],
            len(ours.keys() ^ theirs.keys()),
        )

    @property
    def ratio(self) -> float:
        """Mean latency of the first over that of the second; NaN if no frame has both."""
        mean_s = statistics.fmean(self.second_s) if self.second_s else 0.0
        return statistics.fmean(self.first_s) / mean_s if mean_s > 0 else math.nan


def _latencies(log: RunLog) -> dict[int, float]:
    return {f.number: f.latency_s for f in log.frames if math.isfinite(f.latency_s)}
