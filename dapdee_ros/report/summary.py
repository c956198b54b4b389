"""A run in numbers."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from dapdee_ros.report.run_log import RunLog


def quantile(values: list[float], q: float) -> float:
    """The q-quantile of some values (nearest rank, so that it is one of them)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def summarise(log: RunLog) -> dict[str, Any]:
    """The figures of a run, as JSON values.

    ``answered_ratio`` is results over accepted frames that have ended; ``plan_changes`` does not
    count the first plan.
    """
    frames, ledger = log.frames, log.ledger
    accepted = ledger.get("accepted", 0)
    ended = accepted - ledger.get("in_flight", 0)
    judged = [f for f in frames if f.truth is not None]
    latencies = [f.latency_s for f in frames]
    by_place: dict[str, dict[str, Any]] = {}
    for place, count in Counter(f.place for f in frames).most_common():
        times = [f.latency_s for f in frames if f.place == place]
        by_place[place] = {
            "frames": count,
            "median_latency_s": statistics.median(times),
            "p95_latency_s": quantile(times, 0.95),
        }
    balanced = bool(ledger) and accepted == (
        ledger["results"] + ledger["drops"] + ledger["in_flight"]
    )
    return {
        "accepted": accepted,
        "results": ledger.get("results", 0),
        "drops": ledger.get("drops", 0),
        "in_flight": ledger.get("in_flight", 0),
        "balanced": balanced,
        "answered_ratio": ledger.get("results", 0) / ended if ended else 0.0,
        "deadline_misses": ledger.get("deadline_misses", 0),
        "drop_reasons": dict(
            zip(ledger.get("drop_reasons", []), ledger.get("drop_counts", []), strict=True)
        ),
        "first_result_s": log.first_result_s,
        "recorded": len(frames),
        "plan_changes": max(0, len(log.plans) - 1),
        "accuracy": sum(f.truth == f.class_id for f in judged) / len(judged) if judged else None,
        "median_latency_s": statistics.median(latencies) if latencies else None,
        "p95_latency_s": quantile(latencies, 0.95) if latencies else None,
        "sent_bytes": sum(f.sent_bytes for f in frames),
        "places": by_place,
        "exits": {
            str(exit_): count
            for exit_, count in sorted(Counter(f.exit_number for f in frames).items())
        },
    }


def summary_text(summary: dict[str, Any]) -> str:
    """The figures in a few lines for a person."""
    lines = [
        f"frames   {summary['accepted']} accepted = {summary['results']} results + "
        f"{summary['drops']} drops + {summary['in_flight']} in flight "
        f"({summary['answered_ratio']:.1%} answered, {summary['deadline_misses']} after the "
        "deadline)"
    ]
    for reason, count in summary["drop_reasons"].items():
        lines.append(f"         dropped {count}: {reason}")
    for place, of in summary["places"].items():
        lines.append(
            f"{place:<8} {of['frames']} frames, latency median {1e3 * of['median_latency_s']:.0f} "
            f"ms, 95 % {1e3 * of['p95_latency_s']:.0f} ms"
        )
    exits = ", ".join(f"{count} at exit {exit_}" for exit_, count in summary["exits"].items())
    lines.append(f"exits    {exits or 'none'}")
    lines.append(
        f"plans    {summary['plan_changes']} changes; {summary['sent_bytes'] / 1e3:.0f} kB of "
        "tensors sent"
    )
    if summary["accuracy"] is not None:
        lines.append(f"accuracy {summary['accuracy']:.1%} of the frames whose truth is known")
    if summary["first_result_s"] is not None:
        lines.append(f"start    first result after {summary['first_result_s']:.1f} s")
    return "\n".join(lines)
