"""What the testbed answers about a detector: how soon, how many, and how well, per policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapdee_ros.experiment.answers import Answer, Results, grouped, machine_words, span_bars

_OURS = "exact"


def of_a_detector(results: Results) -> Answer | None:
    """Latency, throughput and mAP of every policy with a detector on real nodes."""
    found = {name: of for name, of in results.items() if name.startswith("detector-")}
    if not found:
        return None
    rows, spans = [], {}
    policies = list(dict.fromkeys(c["policy"] for of in found.values() for c in of["cells"]))
    for result in found.values():
        for (link, load), cells in grouped(result["cells"], "link", "load").items():
            by_policy = {cell["policy"]: cell for cell in cells}
            label = f"{link}, {load}, {result['car']}"
            rows.append([label, *(_figures(by_policy.get(policy)) for policy in policies)])
            ours = by_policy[_OURS]["speed"]
            spans[label] = [
                ours / cell["speed"] for policy, cell in by_policy.items() if policy != _OURS
            ]
    first = next(iter(found.values()))
    best = {label: min(ratios) for label, ratios in spans.items()}
    worst = min(best, key=lambda label: best[label])
    return Answer(
        name="detector",
        question="What does a detector gain on real nodes?",
        answer=f"`exact` is {min(best.values()):.2f} to {max(best.values()):.2f} times as fast as "
        f"the fastest other policy, whatever that one answers (least at {worst}), and up to "
        f"{max(map(max, spans.values())):.1f} times as fast as the slowest. It may give up 0.005 "
        f"of the full network's mAP of {first['exit_quality'][-1]:.3f}; the others give up "
        "what their codec costs.",
        caption="Speed of exact over that of the other policies: range over them, and median",
        bars=lambda palette: span_bars(spans, palette, "times as fast as the others", log=True),
        head=["link, load, car", *(f"`{policy}`" for policy in policies)],
        rows=rows,
        method=f"{machine_words(first)}. {first['model']}, real nodes and DDS over a "
        f"kernel-shaped link, rendered road scenes, {first['seconds']:g} s per cell. Light load: "
        f"median latency in ms at {first['light_rate_hz']:g} frames/s; heavy load: results per "
        "second; in brackets the mAP of the answers in that run, which over so few frames "
        "scatters by some hundredths.",
        sources=list(found),
    )


def _figures(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    value = (
        f"{1e3 * cell['median_latency_s']:.0f} ms"
        if cell["load"] == "light"
        else f"{cell['throughput_hz']:.1f}/s"
    )
    return f"{value} ({cell['quality']:.3f})" if cell["quality"] is not None else value
