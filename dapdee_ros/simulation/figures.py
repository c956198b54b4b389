"""The figures of a simulated run."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from dapdee_ros.report.summary import quantile
from dapdee_ros.simulation.outcomes import SimulatedRun


@dataclass(frozen=True)
class Figures:
    """A run's figures, over the results within a time span.

    Attributes:
        results: how many.
        mean_latency_s: from accepting a frame to its result.
        median_latency_s: likewise.
        p95_latency_s: likewise.
        throughput_hz: results per second.
        miss_ratio: share of the results after the deadline.
        drop_ratio: share of all the run's frames that got no result.
        quality: expected share of right answers, NaN where it is not known.
        sent_bytes: mean a result.
        places: share of results by ``car``, ``edge``, ``fallback``.
        exits: share of results by exit number.
        plan: the plan that most results started under, as text.
    """

    results: int
    mean_latency_s: float
    median_latency_s: float
    p95_latency_s: float
    throughput_hz: float
    miss_ratio: float
    drop_ratio: float
    quality: float
    sent_bytes: float
    places: dict[str, float]
    exits: dict[int, float]
    plan: str

    @property
    def period_s(self) -> float:
        """Mean seconds between two results."""
        return 1 / self.throughput_hz if self.throughput_hz else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is None."""
        values = asdict(self) | {"period_s": self.period_s}
        values["exits"] = {str(number): share for number, share in self.exits.items()}
        return {
            name: (None if not math.isfinite(value) else float(f"{value:.6g}"))
            if isinstance(value, float)
            else value
            for name, value in values.items()
        }


def figures_of(run: SimulatedRun, from_s: float = 0.0, until_s: float = math.inf) -> Figures:
    """The figures of a run.

    Args:
        run: the run.
        from_s: results before this are left out (the link has to be learnt first).
        until_s: those after it too; infinity: the end of the frames.
    """
    deadline_s = run.log.settings["deadline_s"]
    until_s = min(until_s, run.log.settings["seconds"])
    light = run.log.settings["load"] == "light"
    # Under light load a frame accepted within the span counts even if its result is later.
    outcomes = [o for o in run.outcomes if from_s <= (o.accepted_s if light else o.at_s) < until_s]
    ledger = run.log.ledger
    ended = ledger["accepted"] - ledger["in_flight"]
    count = len(outcomes)
    if not count:
        nothing = math.nan
        return Figures(
            0, nothing, nothing, nothing, 0.0, nothing, 1.0 if ended else 0.0, nothing, 0.0, {}, {},
            "",
        )  # fmt: skip
    latencies = [o.result.latency_s for o in outcomes]
    places = Counter(o.result.place.word for o in outcomes)
    exits = Counter(o.result.exit_number for o in outcomes)
    plans = Counter(o.result.plan for o in outcomes)
    plan, _ = plans.most_common(1)[0]
    where = f"{'+'.join(plan.boundary)} as {plan.codec}" if plan.boundary else "car alone"
    gate = f", gate {plan.gate} at {plan.gate_threshold:g}" if plan.gate is not None else ""
    known = "expected_quality" in run.log.settings
    return Figures(
        results=count,
        mean_latency_s=math.fsum(latencies) / count,
        median_latency_s=statistics.median(latencies),
        p95_latency_s=quantile(latencies, 0.95),
        throughput_hz=count / (until_s - from_s),
        miss_ratio=sum(latency > deadline_s for latency in latencies) / count,
        drop_ratio=ledger["drops"] / ended if ended else 0.0,
        quality=math.fsum(o.quality for o in outcomes) / count if known else math.nan,
        sent_bytes=math.fsum(o.result.sent_bytes for o in outcomes) / count,
        places={place: places[place] / count for place in sorted(places)},
        exits={number: exits[number] / count for number in sorted(exits)},
        plan=f"exit {plan.exit_number}, {where}{gate}",
    )
