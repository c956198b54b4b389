"""Regret: what not knowing the link's future costs, on measured drives, for every policy.

Oracle and policies obey the same rules, also where frames come faster than anything can answer
them: a plan that falls behind the frames counts as late, of late plans the one with the shortest
period is taken, and a frame that a newer one displaces is dropped. So a run has three figures, and
none of them says anything without the others: the latency of the frames that it and the oracle
both answered, the share of frames answered in time, and the quality of the answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.experiment.remembered import Remembered
from dapdee_ros.experiment.subjects import Subject
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.policy import make_policy, traits_of
from dapdee_ros.report.comparison import BothAnswered
from dapdee_ros.simulation.figures import Figures, figures_of
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.link_trace import LinkTrace
from dapdee_ros.simulation.run import Progress, simulate
from dapdee_ros.simulation.scenario import Scenario

TRACE_FILES = ("ATT-LTE-driving.up", "TMobile-UMTS-driving.up", "Verizon-LTE-short.up")
POLICIES = (
    "oracle", "exact", "device-only", "edge-only", "edge-only-jpeg", "neurosurgeon",
    "neurosurgeon+any", "dads", "dads+any", "branchynet", "edgent", "edgent+any", "eddi",
    "eddi+any", "dapdee", "dapdee+any",
)  # fmt: skip
RATE_HZ = 10.0
RTT_S = 0.02

MOST_REGRET = 1.10
"""Mean latency of ``exact`` over the oracle's, on the frames that both answered."""

MOST_MORE_MISSES = 0.03
"""Share of frames that ``exact`` may miss the deadline with, beyond the oracle's."""

_DEADLINES_OVER_ALONE = 2.0
_LEAST_DEADLINE_S = 0.1
# Without it frames and probes would keep in step, and all or none of them meet.
_JITTER = 0.2


@dataclass(frozen=True)
class Drive:
    """One model over one trace, by every policy.

    Attributes:
        model: name of the network.
        link: name of the trace.
        seconds: how long it was driven.
        deadline_s: the deadline.
        figures: by policy.
        both: by policy, the frames that it and the oracle answered.
    """

    model: str
    link: str
    seconds: float
    deadline_s: float
    figures: Mapping[str, Figures]
    both: Mapping[str, BothAnswered]

    def regret(self, policy: str) -> float:
        """Mean latency over the oracle's, on the frames that both answered."""
        return self.both[policy].ratio

    def more_misses(self, policy: str) -> float:
        """Share of all frames that were late or dropped, less the oracle's."""
        return _missed(self.figures[policy]) - _missed(self.figures["oracle"])

    def met(self, policy: str = "exact") -> bool:
        """Whether a policy stays within what ``exact`` is asked for."""
        return self.regret(policy) <= MOST_REGRET and self.more_misses(policy) <= MOST_MORE_MISSES

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "link": self.link,
            "seconds": self.seconds,
            "rate_hz": RATE_HZ,
            "deadline_s": round(self.deadline_s, 6),
            "met": self.met(),
            "policies": {
                name: figures.to_dict()
                | {
                    "regret": round(self.regret(name), 4),
                    "answered_by_both": len(self.both[name].first_s),
                    "missed_or_dropped": round(_missed(figures), 5),
                    "more_than_oracle": round(self.more_misses(name), 5),
                }
                for name, figures in self.figures.items()
            },
        }


def beside_former(found: Mapping[str, Any], former: Mapping[str, Any]) -> dict[str, Any]:
    """Results, and former ones of networks that were not run this time.

    Those stay if they are of the same processor and car, so that one network can be added.

    Args:
        found: what ``bench/experiment.py`` writes: machine, car_slowdown, subjects, drives, ...
        former: the same, of a run before.
    """

    def conditions(of: Mapping[str, Any]) -> tuple[Any, ...]:
        return of["machine"]["processor"], of["car_slowdown"], of["rtt_s"]

    if conditions(found) != conditions(former):
        return dict(found)
    new = {subject["name"] for subject in found["subjects"]}
    subjects = [s for s in former["subjects"] if s["name"] not in new]
    drives = [d for d in former["drives"] if d["model"] not in new]
    return {
        **found,
        "subjects": [*subjects, *found["subjects"]],
        "drives": [*drives, *found["drives"]],
    }


def find_traces(folder: Path) -> tuple[dict[str, LinkTrace], list[str]]:
    """The measured drives in a folder, and the names of those that are not there."""
    there = {
        name.partition(".")[0]: parse_link(str(folder / name))
        for name in TRACE_FILES
        if (folder / name).is_file()
    }
    return there, [name for name in TRACE_FILES if not (folder / name).is_file()]


def drive_scenario(subject: Subject, link: LinkTrace, seconds: float = math.inf) -> Scenario:
    """The input of a drive: frames at 10 Hz, a deadline of twice what the car alone takes.

    Everything else is as it runs live: the link has to be learnt, the keeper is reluctant. Only the
    mode is pinned to ``latency``, since the latency is what is compared.
    """
    return Scenario(
        problem=subject.problems["all"],
        link=link,
        curves=subject.curves,
        rtt_s=RTT_S,
        seconds=min(seconds, link.duration_s),
        rate_hz=RATE_HZ,
        jitter=_JITTER,
        planning=PlanningSettings(
            deadline_s=max(_DEADLINES_OVER_ALONE * subject.car_alone_s, _LEAST_DEADLINE_S),
            mode="latency",
        ),
        labels=subject.labels,
        quality_known=bool(subject.quality_data),
        notes={"model": subject.name},
    )


def run_drive(
    subject: Subject,
    link: LinkTrace,
    *,
    policies: Sequence[str] = POLICIES,
    seconds: float = math.inf,
    progress: Callable[[str], Progress] | None = None,
) -> Drive:
    """Every policy over one drive.

    Args:
        subject: the network.
        link: the trace.
        policies: names; the oracle has to be one of them.
        seconds: drive no longer than this.
        progress: returns, per policy, a callback for the simulated time.
    """
    scenario = drive_scenario(subject, link, seconds)
    found, logs = {}, {}
    for name in policies:
        try:
            policy = make_policy(name, scenario.problem)
        except PlanningError:
            continue
        if not any(traits_of(policy)):
            policy = Remembered(policy)
        run = simulate(
            scenario, name, made=policy, progress=progress(name) if progress is not None else None
        )
        found[name], logs[name] = figures_of(run), run.log
    both = {name: BothAnswered.of(log, logs["oracle"]) for name, log in logs.items()}
    deadline_s = scenario.planning.deadline_s
    return Drive(subject.name, link.name, scenario.seconds, deadline_s, found, both)


def _missed(figures: Figures) -> float:
    """Share of all frames that were late or got no result."""
    return figures.drop_ratio + (1 - figures.drop_ratio) * figures.miss_ratio
