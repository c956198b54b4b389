"""The matrix: every model over every link, lightly and heavily loaded, by every policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.experiment.framed import FRAMED_WIRE, framed
from dapdee_ros.experiment.subjects import Subject
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.simulation.figures import Figures, figures_of
from dapdee_ros.simulation.link_trace import FIXED_RATES_BPS, fixed_link
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Scenario

LINKS = tuple(FIXED_RATES_BPS)
LOADS = ("light", "heavy")
CODEC_SETS = ("f32", "all")
RTT_S = 0.02

PLAIN_POLICIES = (
    "device-only", "edge-only", "neurosurgeon", "dads", "branchynet", "edgent", "eddi", "dapdee",
)  # fmt: skip
CODED_POLICIES = (
    "device-only", "edge-only+any", "edge-only-jpeg", "neurosurgeon+any", "dads+any", "branchynet",
    "edgent+any", "eddi+any", "dapdee+any",
)  # fmt: skip
POLICIES = {"f32": PLAIN_POLICIES, "all": CODED_POLICIES}

OURS = {"exact": 0.005, "exact (0.1 pt)": 0.001}
"""Rows of ours with the quality that they may give up for speed: the default, and next to none.

None at all would let differences decide that no one could measure.
"""

MOST_RATIO = 1.02
"""What ours may take over the best rival at no lower quality."""

# The car alone is always in time, so every deadline-aware policy may use the deepest exit.
_DEADLINE_OVER_ALONE = 4.0
_LIGHT_FRAMES = 200
_HEAVY_ALONE_FRAMES = 120
_WARM_UP = 0.1
# About one standard error of a quality measured on 10,000 frames. It admits more rivals.
_SAME_QUALITY = 1e-3
_RIVALS_CODEC = {"raw": "", "f32": "", "all": "+any", "u8": "+u8"}


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix.

    Attributes:
        model: name of the network.
        link: name of the link.
        load: ``light`` or ``heavy``.
        codecs: ``f32`` or ``all``.
        deadline_s: the deadline.
        figures: by policy; None where a policy does not fit the model, such as JPEG that was not
            calibrated.
    """

    model: str
    link: str
    load: str
    codecs: str
    deadline_s: float
    figures: dict[str, Figures]

    def metric_s(self, policy: str) -> float:
        """What counts: mean latency under light load, period under heavy, in s."""
        figures = self.figures[policy]
        return figures.mean_latency_s if self.load == "light" else figures.period_s

    @property
    def ours(self) -> list[str]:
        """Our rows here; with one exit there is no quality to give up, and only one."""
        return [name for name in OURS if name in self.figures]

    def rivals(self, ours: str = "exact") -> list[str]:
        """Rivals whose results are at least as accurate as those of ours."""
        floor = _standing(self.figures[ours]) - _SAME_QUALITY
        return [n for n, f in self.figures.items() if n not in OURS and _standing(f) >= floor]

    def best_rival(self, ours: str = "exact") -> str | None:
        """The best of them, None if there is none."""
        return min(self.rivals(ours), key=self.metric_s, default=None)

    def ratio(self, ours: str = "exact") -> float:
        """What ours takes over the best rival; NaN if none is as accurate."""
        rival = self.best_rival(ours)
        return math.nan if rival is None else self.metric_s(ours) / self.metric_s(rival)

    def gain(self, rival: str, ours: str = "exact") -> float:
        """How many times faster ours is than a rival, whatever that one's quality."""
        return self.metric_s(rival) / self.metric_s(ours)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "link": self.link,
            "load": self.load,
            "codecs": self.codecs,
            "deadline_s": round(self.deadline_s, 6),
            "against_best_rival": {
                ours: {
                    "rival": self.best_rival(ours),
                    "ratio": round(self.ratio(ours), 4) if self.rivals(ours) else None,
                    "met": not self.ratio(ours) > MOST_RATIO,
                }
                for ours in self.ours
            },
            "policies": {name: figures.to_dict() for name, figures in self.figures.items()},
        }


def cell_scenario(subject: Subject, link: str, load: str, codecs: str) -> Scenario:
    """The input of a cell.

    Light: frames arrive one at a time, each finished before the next. Heavy: the next frame arrives
        as soon as one is taken. The link is fixed and known, plans have no margin to overcome, and
        frames
    may be dropped (``frame_utilisation`` 0): what is compared is the choice, not the estimator and
    not the keeper's reluctance.
    """
    alone_s = subject.car_alone_s
    deadline_s = _DEADLINE_OVER_ALONE * alone_s
    interval_s = 1.5 * deadline_s
    light = load == "light"
    return Scenario(
        problem=framed(subject.problems[codecs]),
        link=fixed_link(FIXED_RATES_BPS[link], link),
        curves=subject.curves,
        rtt_s=RTT_S,
        seconds=_LIGHT_FRAMES * interval_s if light else _HEAVY_ALONE_FRAMES * alone_s,
        rate_hz=1 / interval_s if light else None,
        planning=PlanningSettings(
            deadline_s=deadline_s,
            mode="latency" if light else "throughput",
            plan_margin=0.0,
            min_dwell_s=0.0,
            frame_utilisation=0.0,
        ),
        known_link=True,
        wire=FRAMED_WIRE,
        labels=subject.labels,
        quality_known=bool(subject.quality_data),
        notes={"model": subject.name},
    )


def run_cell(
    subject: Subject, link: str, load: str, codecs: str, rivals: Sequence[str] = ()
) -> Cell:
    """Ours and the rivals (by default those of ``POLICIES``) on one cell's input."""
    scenario = cell_scenario(subject, link, load, codecs)
    found = {}
    ours = [*OURS] if len(scenario.problem.dag.exits) > 1 else ["exact"]
    for name in (*(rivals or POLICIES[codecs]), *ours):
        planning = replace(scenario.planning, quality_tolerance=OURS.get(name, 0.0))
        try:
            run = simulate(replace(scenario, planning=planning), name.partition(" ")[0])
        except PlanningError:
            # A codec that this model was never calibrated for.
            continue
        found[name] = figures_of(run, _WARM_UP * scenario.seconds if load == "heavy" else 0.0)
    return Cell(subject.name, link, load, codecs, scenario.planning.deadline_s, found)


def run_matrix(
    subject: Subject,
    links: Sequence[str] = LINKS,
    told: Callable[[Cell], None] = lambda cell: None,
) -> list[Cell]:
    """All cells of one network; ``told`` is called with each when it is done."""
    cells = []
    for link in links:
        for load in LOADS:
            for codecs in CODEC_SETS:
                cells.append(run_cell(subject, link, load, codecs))
                told(cells[-1])
    return cells


def former_gains(
    cells: Sequence[Cell], former: Mapping[str, Any], rival: str = "dads"
) -> list[dict[str, Any]]:
    """Gain of ours over a rival now and in a former run on the same profiles, cell by cell.

    Args:
        cells: of this run.
        former: the JSON that the former run wrote.
        rival: as it is where only float32 may be sent, else with the cell's codecs.

    Returns:
        JSON values: the cell, the rival, and how many times as long as ours it took then and now.
    """
    before = {
        (c["model"], c["link"], c["load"], c["codecs"]): c["policies"] for c in former["cells"]
    }
    found = []
    for cell in cells:
        name = rival + _RIVALS_CODEC[cell.codecs]
        policies = before.get((cell.model, cell.link, cell.load, cell.codecs), {})
        if name not in cell.figures or not {name, "exact"} <= set(policies):
            continue
        metric = "mean_latency_s" if cell.load == "light" else "period_s"
        found.append(
            {
                "model": cell.model,
                "link": cell.link,
                "load": cell.load,
                "codecs": cell.codecs,
                "rival": name,
                "gain_before": round(policies[name][metric] / policies["exact"][metric], 4),
                "gain": round(cell.gain(name), 4),
            }
        )
    return found


def not_met(cells: Sequence[Cell]) -> list[str]:
    """Cells in which ours takes over ``MOST_RATIO`` of the best rival, a sentence each."""
    return [
        f"{cell.model}, {cell.link}, {cell.load}, {cell.codecs}: {ours} takes "
        f"{cell.ratio(ours):.3f} of {cell.best_rival(ours)}"
        for cell in cells
        for ours in cell.ours
        if cell.ratio(ours) > MOST_RATIO
    ]


def _standing(figures: Figures) -> float:
    """How good the answers are: expected quality, or the mean depth of untrained exits."""
    if math.isfinite(figures.quality):
        return figures.quality
    return math.fsum(number * share for number, share in figures.exits.items())
