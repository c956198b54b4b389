"""The figures of a run."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from dapdee_ros.report.run_log import FrameRecord, RunLog
from dapdee_ros.tasks.evaluation import Evaluator

_PARTS = ("head_s", "transfer_s", "tail_s")
_Z_95 = 1.959964


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that are numbers."""
    return [v for v in values if v is not None and math.isfinite(v)]


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile of some values (nearest rank, so that it is one of them)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def wilson_interval(right: int, judged: int) -> tuple[float, float]:
    """95 % interval of a share, of which ``right`` out of ``judged`` were observed.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    1927. Unlike the normal approximation it stays within 0 and 1 and is valid for few frames.
    """
    share, z2 = right / judged, _Z_95**2
    middle = (share + z2 / (2 * judged)) / (1 + z2 / judged)
    half = (
        _Z_95 * math.sqrt(share * (1 - share) / judged + z2 / (4 * judged**2)) / (1 + z2 / judged)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def deadlines_s(log: RunLog) -> list[float | None]:
    """The deadline of every frame in s: its own, its plan's, the run's; None where unknown."""
    of_plan = {plan.epoch: plan.deadline_s for plan in log.plans}
    of_run = log.settings.get("deadline_s")
    of_run = float(of_run) if isinstance(of_run, int | float) else None
    found = []
    for frame in log.frames:
        deadline_s = frame.deadline_s
        if deadline_s is None:
            deadline_s = of_plan.get(frame.plan_epoch)
        found.append(of_run if deadline_s is None else deadline_s)
    return found


def deadline_in_view(deadline: float, longest: float) -> bool:
    """Whether a deadline is close enough to the longest latency to be drawn with it.

    One far above would compress all latencies onto the axis. Both in the same unit.
    """
    return deadline <= 2.5 * longest


def drop_reasons(log: RunLog) -> dict[str, int]:
    """Dropped frames by reason, most first: from the ledger, else from the recorded drops."""
    names, counts = log.ledger.get("drop_reasons"), log.ledger.get("drop_counts")
    reasons: Counter[str] = Counter()
    if isinstance(names, list) and isinstance(counts, list):
        for name, count in zip(names, counts, strict=False):
            reasons[str(name)] += count if isinstance(count, int) else 0
    else:
        for drop in log.drops:
            reasons[drop.reason] += drop.count
    return dict(reasons.most_common())


def summarise(log: RunLog) -> dict[str, Any]:
    """The figures of a run, as JSON values; None if a figure is unknown.

    Counts are the ledger's if the run has one (``ledger`` says so), else those of the recorded
    frames. ``answered_ratio`` is results over accepted frames that have ended; ``late_ratio`` and
    ``drop_ratio`` are over the same. ``throughput_hz`` is results per second between the first and
    the last; ``sent_bytes_per_frame`` is over results; ``plan_changes`` does not count the first
    plan.
    """
    frames = log.frames
    reasons = drop_reasons(log)
    accepted = _count(log, "accepted", len(frames) + sum(reasons.values()))
    results = _count(log, "results", len(frames))
    drops = _count(log, "drops", sum(reasons.values()))
    in_flight = _count(log, "in_flight", 0)
    ended = accepted - in_flight
    late = _late(log)
    latencies = finite(f.latency_s for f in frames)
    sent_bytes = sum(f.sent_bytes for f in frames)
    return {
        "ledger": bool(log.ledger),
        "accepted": accepted,
        "results": results,
        "drops": drops,
        "in_flight": in_flight,
        "balanced": bool(log.ledger) and accepted == results + drops + in_flight,
        "answered_ratio": results / ended if ended else 0.0,
        "deadline_misses": late or 0,
        "deadline_known": late is not None,
        "late_ratio": late / ended if ended and late is not None else None,
        "drop_ratio": drops / ended if ended else None,
        "drop_reasons": reasons,
        "first_result_s": log.first_result_s,
        "recorded": len(frames),
        "plan_changes": max(0, len(log.plans) - 1),
        **_quality(log),
        **_objects(frames),
        "mean_latency_s": statistics.fmean(latencies) if latencies else None,
        **{
            f"{name}_latency_s": quantile(latencies, q) if latencies else None
            for name, q in (("p5", 0.05), ("p25", 0.25), ("p75", 0.75), ("p95", 0.95))
        },
        "median_latency_s": statistics.median(latencies) if latencies else None,
        "most_latency_s": max(latencies, default=None),
        "throughput_hz": _throughput_hz(frames),
        "sent_bytes": sent_bytes,
        "sent_bytes_per_frame": sent_bytes / len(frames) if frames else None,
        "parts": {part: _spread([getattr(f, part) for f in frames]) for part in _PARTS},
        "places": _grouped(frames, "place"),
        "servers": _grouped([f for f in frames if f.place == "edge" and f.server], "server"),
        "exits": {
            str(exit_): count
            for exit_, count in sorted(Counter(f.exit_number for f in frames).items())
        },
    }


def _count(log: RunLog, name: str, otherwise: int) -> int:
    value = log.ledger.get(name)
    return value if isinstance(value, int) else otherwise


def _late(log: RunLog) -> int | None:
    counted = log.ledger.get("deadline_misses")
    if isinstance(counted, int):
        return counted
    deadlines = deadlines_s(log)
    if log.frames and all(d is None for d in deadlines):
        return None
    return sum(
        d is not None and f.latency_s > d for f, d in zip(log.frames, deadlines, strict=True)
    )


def judged(log: RunLog) -> Evaluator:
    """What has judged all answers whose truth is known.

    Raises:
        ValueError: if the log's task is unknown, or does not fit its frames.
    """
    return log.records.judge([(f.answer, f.truth) for f in log.frames if f.truth is not None])


def _figures(
    evaluator: Evaluator, labels: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """The evaluator's figures of all frames by name, and those of each class that are known."""
    overall: dict[str, float | None] = {}
    of_class: dict[str, dict[str, float | None]] = {}
    for name, value in evaluator.figures().items():
        what, _, label = name.partition(" ")
        if label not in labels:
            overall[name] = value if math.isfinite(value) else None
        elif math.isfinite(value):
            of_class.setdefault(label, {})[what] = value
    return overall, of_class


def _classes(log: RunLog, figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is known of each class that occurs: its figures, and how many objects of it there were
    in the truths and in the answers (of a detector, in frames whose truth is known).
    """
    there: Counter[int] = Counter()
    found: Counter[int] = Counter()
    for frame in log.frames:
        if isinstance(frame.truth, list) and isinstance(frame.answer, list):
            there.update(int(row[0]) for row in frame.truth)
            found.update(int(row[0]) for row in frame.answer)
    classes = {}
    for number, label in enumerate(log.labels):
        counts = {"there": there[number], "found": found[number]}
        known = {**figures.get(label, {}), **(counts if any(counts.values()) else {})}
        if known:
            classes[label] = known
    return classes


def _objects(frames: Sequence[FrameRecord]) -> dict[str, Any]:
    """Objects per frame, in the answers and in the truths; None for other tasks."""
    found = [len(f.answer) for f in frames if isinstance(f.answer, list)]
    true = [len(f.truth) for f in frames if isinstance(f.truth, list)]
    return {
        "objects_per_frame": statistics.fmean(found) if found else None,
        "true_objects_per_frame": statistics.fmean(true) if true else None,
    }


def _quality(log: RunLog) -> dict[str, Any]:
    evaluator = judged(log)
    overall, of_class = _figures(evaluator, log.labels)
    quality = evaluator.quality()
    right = [f.right for f in log.frames if f.right is not None]
    predicted_of = {p.epoch: p.predicted_quality for p in log.plans}
    energy_of = {p.epoch: p.predicted_energy_j for p in log.plans}
    energy_j = [j for f in log.frames if (j := energy_of.get(f.plan_epoch))]
    predicted = finite(predicted_of.get(f.plan_epoch) for f in log.frames)
    # The simulator runs no network, but knows each frame's exit and its expected quality.
    expected = log.settings.get("expected_quality")
    if isinstance(expected, float):
        predicted = finite([expected])
    return {
        "quality_name": log.quality_name,
        "judged": evaluator.frames,
        "quality": quality if math.isfinite(quality) else None,
        # Frames that are right or wrong as a whole have an interval; a mean precision has none.
        "quality_interval": list(wilson_interval(sum(right), len(right))) if right else None,
        "quality_figures": overall,
        "classes": {} if right else _classes(log, of_class),
        "predicted_quality": statistics.fmean(predicted) if predicted else None,
        "predicted_energy_j": statistics.fmean(energy_j) if energy_j else None,
    }


def _throughput_hz(frames: Sequence[FrameRecord]) -> float | None:
    times = finite(f.at_s for f in frames)
    if len(times) < 2 or max(times) <= min(times):
        return None
    return (len(times) - 1) / (max(times) - min(times))


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    known = finite(values)
    if not known:
        return {"median": None, "p95": None}
    return {"median": statistics.median(known), "p95": quantile(known, 0.95)}


def _grouped(frames: Sequence[FrameRecord], by: str) -> dict[str, dict[str, Any]]:
    """How many frames have each value of a field, the most frequent first, and their latency."""
    groups: dict[str, dict[str, Any]] = {}
    for value, count in Counter(getattr(f, by) for f in frames).most_common():
        spread = _spread([f.latency_s for f in frames if getattr(f, by) == value])
        groups[value] = {
            "frames": count,
            "median_latency_s": spread["median"],
            "p95_latency_s": spread["p95"],
        }
    return groups


def summary_text(summary: dict[str, Any]) -> str:
    """The figures in a few lines of text."""
    lines = [
        f"frames   {summary['accepted']} accepted = {summary['results']} results + "
        f"{summary['drops']} drops + {summary['in_flight']} in flight "
        f"({summary['answered_ratio']:.1%} answered, {summary['deadline_misses']} after the "
        "deadline)"
    ]
    for reason, count in summary["drop_reasons"].items():
        lines.append(f"         dropped {count}: {reason}")
    for place, of in (*summary["places"].items(), *summary["servers"].items()):
        if of["median_latency_s"] is not None:
            lines.append(
                f"{place:<8} {of['frames']} frames, latency median "
                f"{1e3 * of['median_latency_s']:.0f} ms, 95 % {1e3 * of['p95_latency_s']:.0f} ms"
            )
    exits = ", ".join(f"{count} at exit {exit_}" for exit_, count in summary["exits"].items())
    lines.append(f"exits    {exits or 'none'}")
    lines.append(
        f"plans    {summary['plan_changes']} changes; {summary['sent_bytes'] / 1e3:.0f} kB of "
        "tensors sent"
    )
    if summary["quality"] is not None:
        name = f"{summary['quality_name']:<8}"
        others = [
            f", {other} {value:.1%}"
            for other, value in summary["quality_figures"].items()
            if other != summary["quality_name"] and value is not None
        ]
        word = "over" if summary["quality_interval"] is None else "of"
        lines.append(
            f"{name} {summary['quality']:.1%}{''.join(others)} {word} the frames with ground truth"
        )
    if summary["objects_per_frame"] is not None:
        true = summary["true_objects_per_frame"]
        there = "" if true is None else f", {true:.1f} there"
        lines.append(f"objects  {summary['objects_per_frame']:.1f} found per frame{there}")
    if summary["first_result_s"] is not None:
        lines.append(f"start    first result after {summary['first_result_s']:.1f} s")
    return "\n".join(lines)
