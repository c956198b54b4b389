"""What the testbed answers about a detector: speed and mAP of the policies on real nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dapdee_ros.experiment.answers import Answer, Results, grouped, machine_words, span_bars

_OURS = "exact"


def detector_on_the_testbed(results: Results) -> Answer | None:
    """Latency, throughput and mAP of every policy in every cell."""
    found = {name: of for name, of in results.items() if name.startswith("detector-")}
    if not found:
        return None
    first = next(iter(found.values()))
    policies = list(dict.fromkeys(cell["policy"] for cell in first["cells"]))
    rows: list[list[str]] = []
    ratios: dict[str, list[float]] = {}
    quality: list[float] = []
    for result in found.values():
        for (load, link), of in grouped(result["cells"], "load", "link").items():
            cells = {cell["policy"]: cell for cell in of}
            rows.append(
                [f"{load}, {link}, {result['car']}", *(_words(cells[p], load) for p in policies)]
            )
            for rival in (p for p in policies if p != _OURS):
                ratio = cells[_OURS]["speed"] / cells[rival]["speed"]
                ratios.setdefault(f"over {rival}", []).append(ratio)
                if None not in (cells[_OURS]["quality"], cells[rival]["quality"]):
                    quality.append(cells[rival]["quality"] - cells[_OURS]["quality"])
    least, most = (end(map(end, ratios.values())) for end in (min, max))
    return Answer(
        name="detector",
        question="What is gained with a detector, on real nodes over a shaped link?",
        answer=f"`exact` is {least:.2f} to {most:.1f} times as fast as the others with "
        f"`{first['model']}`, at an mAP that is at most {max(quality, default=0.0):.3f} lower.",
        caption="Speed of exact over that of the others: range over links and loads, and median",
        bars=lambda palette: span_bars(ratios, palette, "times as fast", log=True),
        head=["load, link, car", *(f"{policy}" for policy in policies)],
        rows=rows,
        method=f"{machine_words(first)}. Real nodes and DDS over a kernel-shaped link, "
        f"{first['seconds']:g} s per cell, rendered road scenes with known objects. Light load: "
        f"median latency at {first['light_rate_hz']:g} frames/s; heavy load: results per second. "
        "mAP (0.5 to 0.95) is that of the answers of the cell. Every policy may use every codec. "
        "`pi4` is a CPU quota of a tenth of a core.",
        sources=list(found),
    )


def _words(cell: Mapping[str, Any], load: str) -> str:
    speed = (
        f"{1e3 * cell['median_latency_s']:.0f} ms"
        if load == "light"
        else f"{cell['throughput_hz']:.1f}/s"
    )
    return speed if cell["quality"] is None else f"{speed}, mAP {cell['quality']:.2f}"
