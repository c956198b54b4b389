"""What the testbed answers: the gain on real nodes, and how close the simulator comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from dapdee_ros.experiment.against_rivals import CLOSE
from dapdee_ros.experiment.answers import (
    Answer,
    Results,
    grouped,
    machine_words,
    span_bars,
)
from dapdee_ros.experiment.matrix import LINKS

_CLOSE = 0.15


def on_the_testbed(results: Results) -> Answer | None:
    """Gain over the car alone on real nodes."""
    found = _testbeds(results)
    if not found:
        return None
    rows, spans, lost = [], {}, []
    for result in found.values():
        for (model, load), of in grouped(result["gains"], "model", "load").items():
            gains = {row["link"]: row["gain"] for row in of}
            label = f"{model}, {load}, {result['car']}"
            rows.append([label, *(f"{gains[link]:.1f}" for link in LINKS)])
            spans[label] = list(gains.values())
            lost += [row["calibrated_loss"] for row in of]
    seconds = next(iter(found.values()))["seconds"]
    return Answer(
        name="testbed",
        question="What is gained on real nodes over a shaped link?",
        answer=f"`exact` is {min(map(min, spans.values())):.1f} to "
        f"{max(map(max, spans.values())):.0f} times as fast as the full network on the car alone "
        f"and loses at most {100 * max(lost):.1f} points of accuracy. The paper reports 9.9 times "
        "the throughput at 1.2 points.",
        caption="Speed of exact over that of the car alone on the testbed: range over the four "
        "links, and median",
        bars=lambda palette: span_bars(spans, palette, "times as fast as the car alone", log=True),
        head=["network, load, car", *LINKS],
        rows=rows,
        method=f"{machine_words(next(iter(found.values())))}. Real nodes and DDS over a "
        f"kernel-shaped link, {seconds:g} s per cell. Light load: median latency at 3 frames/s; "
        "heavy load: results per second. Accuracy is what the plan loses by calibration on "
        f"thousands of images. `pi4` is a CPU quota of a tenth of a core.{_rivals(found.values())}",
        sources=list(found),
    )


def _rivals(results: Iterable[Mapping[str, Any]]) -> str:
    """How `exact` compares with the best rival per cell, where that was measured."""
    rows = [row for result in results for row in result.get("rivals", ())]
    if not rows:
        return ""
    ratios = [row["ratio"] for row in rows]
    again = sum(row["runs"] > 1 for row in rows)
    return (
        f" Against the best rival of the same run `exact` is {min(ratios):.2f} to "
        f"{max(ratios):.2f} times as fast; where one run each was less than {CLOSE:g} times the "
        f"other's, either way ({again} of {len(rows)} cells), both ran twice more in turns and "
        "medians of three count."
    )


def simulator_against_testbed(results: Results) -> Answer | None:
    """How far the simulator's figures are from the testbed's."""
    found = _testbeds(results)
    if not found:
        return None
    rows, spans, cells = [], {}, []
    for result in found.values():
        compared = [cell for cell in result["cells"] if cell["apart"] is not None]
        for (load,), of in grouped(compared, "load").items():
            apart = [cell["apart"] for cell in of]
            label = f"{result['car']}, {load}"
            close = sum(abs(a) <= _CLOSE for a in apart)
            rows.append(
                [label, str(len(apart)), f"{100 * median(map(abs, apart)):.1f} %",
                 f"{100 * max(apart, key=abs):+.0f} %", f"{close} of {len(apart)}"]
            )  # fmt: skip
            spans[label] = [1 + a for a in apart]
        cells += compared
    all_apart = [abs(cell["apart"]) for cell in cells]
    worst = max(cells, key=lambda cell: abs(cell["apart"]))
    close = sum(a <= _CLOSE for a in all_apart)
    return Answer(
        name="fidelity",
        question="How close is the simulator to the testbed?",
        answer=f"Half of the cells are within {100 * median(all_apart):.0f} %, and {close} of "
        f"{len(all_apart)} within {100 * _CLOSE:.0f} %. Furthest off is {worst['model']} under "
        f"{worst['load']} load over {worst['link']} with `{worst['policy']}`.",
        caption="Simulated over measured figure: range over the cells, and median",
        bars=lambda palette: span_bars(spans, palette, "simulated over measured"),
        head=["car, load", "cells", "median apart", "worst", f"within {100 * _CLOSE:.0f} %"],
        rows=rows,
        method="The same runs. The simulator is given the profiles that each run measured, and "
        "what a frame takes beside network and link from one run of the car alone and one of the "
        "edge server alone per load; these two are not compared.",
        sources=list(found),
    )


def _testbeds(results: Results) -> dict[str, Mapping[str, Any]]:
    return {name: of for name, of in results.items() if name.startswith("testbed-")}
