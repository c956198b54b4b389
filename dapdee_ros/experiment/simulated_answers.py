"""What the simulator answers: rivals, policies as published, measured drives, a Raspberry Pi 4."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from dapdee_ros.experiment.answers import (
    Answer,
    Results,
    grouped,
    machine_words,
    range_words,
    span_bars,
)
from dapdee_ros.experiment.matrix import LINKS, LOADS, MOST_RATIO
from dapdee_ros.experiment.regret import MOST_MORE_MISSES, MOST_REGRET
from dapdee_ros.report.bars import Bars, Row
from dapdee_ros.report.palette import Palette

_PUBLISHED = ("device-only", "neurosurgeon", "dads")
_FASTER = 0.98


def against_rivals(results: Results) -> Answer | None:
    """Whether any policy is faster at the same accuracy, over fixed links."""
    if "matrix" not in results:
        return None
    cells = results["matrix"]["cells"]
    rows, met, faster = [], 0, 0
    for ours in dict.fromkeys(name for cell in cells for name in cell["against_best_rival"]):
        for load in LOADS:
            found = [
                cell["against_best_rival"][ours]
                for cell in cells
                if cell["load"] == load and ours in cell["against_best_rival"]
            ]
            # None: no rival is as accurate.
            ratios = [one["ratio"] for one in found if one["ratio"] is not None]
            wins = sum(ratio < _FASTER for ratio in ratios) + len(found) - len(ratios)
            good = sum(one["met"] for one in found)
            rows.append(
                [f"`{ours}`, {load}", str(len(found)), str(good), str(wins),
                 f"{median(ratios):.2f}", f"{max(ratios):.2f}"]
            )  # fmt: skip
            if ours == "exact":
                met, faster = met + good, faster + wins
    by_load = grouped(cells, "model", "load")
    spans = {
        f"{model}, {load}": [
            cell["against_best_rival"]["exact"]["ratio"]
            for cell in of
            if cell["against_best_rival"]["exact"]["ratio"] is not None
        ]
        for (model, load), of in by_load.items()
    }
    count = sum(map(len, by_load.values()))
    return Answer(
        name="rivals",
        question="Is any other policy faster at the same accuracy?",
        answer=f"{'No' if met == count else 'Yes'}: in {met} of {count} cells `exact` takes at "
        f"most {MOST_RATIO} times as long as the best rival of at least its accuracy, and in "
        f"{faster} it is faster by more than 2 %.",
        caption="Time of exact over that of the best rival at least as accurate: range over links "
        "and codecs, and median",
        bars=lambda palette: span_bars(spans, palette, "time of exact over the best rival's"),
        head=["policy, load", "cells", f"at most {MOST_RATIO}", "faster by over 2 %",
              "median ratio", "worst ratio"],
        rows=rows,
        method=f"{machine_words(results['matrix'])}. "
        f"{_MATRIX.format(**results['matrix'])} `exact` may give up 0.5 points of "
        "accuracy for speed, `exact (0.1 pt)` next to none. A rival counts if it is at "
        "least as accurate, to 0.1 points.",
        sources=["matrix"],
    )  # fmt: skip


_MATRIX = (
    "Simulated: the edge server is this machine on one thread, the car the same "
    "{car_slowdown:g} times slower, over four fixed links. Light load: one frame at a time, mean "
    "latency; heavy load: the next frame as soon as one is taken, mean period."
)


def over_published(results: Results) -> Answer | None:
    """Gain with codecs over policies as published, which send plain float32."""
    if "matrix" not in results:
        return None
    cells = results["matrix"]["cells"]
    plain = {(c["model"], c["link"], c["load"]): c for c in cells if c["codecs"] == "f32"}
    rows, spans, all_gains = [], {}, []
    for (model, load), of in grouped(
        [c for c in cells if c["codecs"] == "all"], "model", "load"
    ).items():
        pairs = [(c, plain[model, c["link"], load]) for c in of]
        gains = {r: [_gain(c, p["policies"][r]) for c, p in pairs] for r in _PUBLISHED}
        lost = [
            p["policies"]["device-only"]["quality"] - c["policies"]["exact"]["quality"]
            for c, p in pairs
            if c["policies"]["exact"]["quality"] is not None
        ]
        words = f"{100 * max(lost):.1f}" if lost else "untrained"
        rows.append([f"{model}, {load}", *(range_words(gains[r]) for r in _PUBLISHED), words])
        spans[f"{model}, {load}"] = gains["dads"]
        all_gains += gains["dads"]
    return Answer(
        name="published",
        question="How much faster is it than policies as published?",
        answer=f"Between {min(all_gains):.1f} and {max(all_gains):.1f} times as fast as DADS "
        f"(median {median(all_gains):.1f}). Gates and codecs make the difference, so networks "
        "without calibrated gates gain next to nothing.",
        caption="Speed of exact over that of DADS sending float32: range over the four links, and "
        "median",
        bars=lambda palette: span_bars(spans, palette, "times as fast as DADS", log=True),
        head=["network, load", *(f"over {rival}" for rival in _PUBLISHED), "accuracy lost, points"],
        rows=rows,
        method="The same runs: `exact` with codecs against policies that send float32. The rows "
        "give the range over the four links; accuracy is counted from the full network's.",
        sources=["matrix"],
    )


def on_drives(results: Results) -> Answer | None:
    """What not knowing the link's future costs."""
    if "regret" not in results:
        return None
    drives = results["regret"]["drives"]
    rows, bars = [], []
    for drive in drives:
        of = drive["policies"]
        name = f"{drive['model']}, {drive['link'].partition('-')[0]}"
        row = [name, f"{1e3 * of['oracle']['mean_latency_s']:.1f}"]
        for policy in _ON_DRIVES:
            # A rival that looks for minimum cuts with every codec takes long on some networks.
            if policy not in of:
                row += ["not run", ""]
                continue
            found = of[policy]
            row += [f"{found['regret']:.2f}", f"{100 * found['more_than_oracle']:+.1f}"]
            bars.append((f"{name}: {policy}", found["regret"], policy))
        rows.append(row)
    met = sum(drive["met"] for drive in drives)
    worst = max(drive["policies"]["exact"]["regret"] for drive in drives)

    def draw(palette: Palette) -> Bars:
        drawn = [
            Row(name, f"{value:.2f}", [(value, palette.policy(policy.partition("+")[0]))])
            for name, value, policy in bars
        ]
        return Bars(drawn, "mean latency over the oracle's", line=(1.0, "oracle"))

    return Answer(
        name="drives",
        question="What does it cost not to know the link's future?",
        answer=f"At most {100 * (worst - 1):.0f} % of mean latency on measured LTE drives. {met} "
        f"of {len(drives)} drives are within the target: at most {MOST_REGRET:.2f} times the "
        f"oracle's mean and {100 * MOST_MORE_MISSES:.0f} points more frames late or dropped.",
        caption="Mean latency over that of an oracle that knows the link's future, per drive",
        bars=draw,
        head=["network, drive", "oracle, ms", "`exact`", "late or dropped, points", "`dads+any`",
              "late or dropped, points"],
        rows=rows,
        method=f"{machine_words(results['regret'])}. Simulated with the live link estimator, plan "
        f"keeper and probes at {drives[0]['rate_hz']:g} frames/s. Latency is a multiple of the "
        "oracle's, misses are in excess of its. A policy can beat the oracle's mean where it "
        "answers less accurately.",
        sources=["regret"],
    )  # fmt: skip


_ON_DRIVES = ("exact", "dads+any")


def on_a_pi(results: Results) -> Answer | None:
    """Gain over the car alone with block times of a real Raspberry Pi 4."""
    if "pi4-chains" not in results:
        return None
    cells = [c for c in results["pi4-chains"]["cells"] if c["codecs"] == "f32"]
    rows, spans = [], {}
    for (model,), of in grouped(cells, "model").items():
        gains = {(c["link"], c["load"]): _gain(c, c["policies"]["device-only"]) for c in of}
        name = model.replace(", raspberry_pi_4 beside ", ", ")
        rows.append(
            [name, *(" / ".join(f"{gains[link, load]:.1f}" for load in LOADS) for link in LINKS)]
        )
        spans[name] = list(gains.values())
    ratios = [c["against_best_rival"]["exact"]["ratio"] for c in results["pi4-chains"]["cells"]]
    return Answer(
        name="pi4",
        question="What would a real Raspberry Pi 4 gain?",
        answer=f"Up to {max(map(max, spans.values())):.0f} times the speed of the Pi alone. Single-"
        "exit chains leave little to choose, so `exact` mostly equals the best rival: it takes "
        f"{min(ratios):.2f} to {max(ratios):.2f} times as long.",
        caption="Speed of exact over that of the Raspberry Pi 4 alone: range over links and loads, "
        "and median",
        bars=lambda palette: span_bars(spans, palette, "times as fast as the Pi alone", log=True),
        head=["network, server", *(f"{link}, light / heavy" for link in LINKS)],
        rows=rows,
        method="Block times of Keras networks measured on a Raspberry Pi 4, an i5-2500 and an "
        "i7-6700K (Lockhart et al., Scission, UCC 2020), simulated as chains with one exit, "
        "float32, otherwise as above. The JSON also has the image as float32 and an 8-bit codec "
        f"whose cost was not measured on these devices.{_changed(results)}",
        sources=["pi4-chains"],
    )


def _changed(results: Results) -> str:
    """In how many cells the gain over DADS differs from a former run's, by how much at most."""
    gains = results["pi4-chains"]["gain_over_dads"]
    changed = [
        one["gain_before"] / one["gain"]
        for one in gains
        if abs(one["gain"] / one["gain_before"] - 1) > 0.005
    ]
    if not gains:
        return ""
    words = f" (up to {max(changed):.2f} times today's)" if changed else ""
    return (
        f" Against the former run on the same profiles, the gain over DADS differs in "
        f"{len(changed)} of {len(gains)} cells{words}."
    )


def _gain(cell: Mapping[str, Any], rival: Mapping[str, Any]) -> float:
    """How many times as fast ``exact`` is in a cell as figures of the same load."""
    metric = "mean_latency_s" if cell["load"] == "light" else "period_s"
    return float(rival[metric] / cell["policies"]["exact"][metric])
