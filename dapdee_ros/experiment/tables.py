"""Results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from dapdee_ros.experiment.matrix import LOADS, MOST_RATIO, OURS, Cell
from dapdee_ros.experiment.regret import MOST_MORE_MISSES, MOST_REGRET, RATE_HZ, Drive
from dapdee_ros.simulation.figures import Figures
from dapdee_ros.simulation.link_trace import FIXED_RATES_BPS

_CODEC_WORDS = {"raw": "raw float32", "f32": "float32", "all": "codecs", "u8": "u8"}
_RIVALS_CODEC = {"raw": "", "f32": "", "all": "+any", "u8": "+u8"}
_SAME_GAIN = 0.005
_PUBLISHED = ("device-only", "neurosurgeon", "dads")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; all columns but the first are numbers and lie right."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def machine_words(machine: Mapping[str, Any]) -> str:
    """One sentence about the machine."""
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_GB']} GB, "
        f"{machine['system']}, Python {machine['python']}, {versions}; {machine['date']}"
    )


def subject_table(subjects: Sequence[Mapping[str, Any]]) -> str:
    """The networks and their two devices."""
    rows = [
        [
            s["name"],
            f"{s['exits']}",
            ", ".join(f"{100 * a:.1f}" for a in s["exit_accuracy"]) if s["exit_accuracy"] else "-",
            f"{1e3 * s['car_alone_s']:.1f}",
            f"{1e3 * s['edge_alone_s']:.2f}",
            f"{s['input_bytes'] / 1e3:.1f}",
            ", ".join(s["codecs"]),
        ]
        for s in subjects
    ]
    head = ["network", "exits", "accuracy of each, %", "car alone, ms", "edge alone, ms"]
    return markdown_table([*head, "picture, kB", "codecs"], rows)


def matrix_tables(cells: Sequence[Cell]) -> str:
    """One table a network and load: what every policy takes, and ours over its best rival."""
    parts = []
    for model in dict.fromkeys(cell.model for cell in cells):
        for load in LOADS:
            for codecs in _CODEC_WORDS:
                of = [c for c in cells if (c.model, c.load, c.codecs) == (model, load, codecs)]
                if not of:
                    continue
                what = "mean latency in ms" if load == "light" else "results a second"
                parts.append(
                    f"**{model}, {load} load, {_CODEC_WORDS[codecs]}: {what}**"
                    f"{_accuracy_words(of)}\n\n{_cell_table(of)}"
                )
    return "\n\n".join(parts)


def _accuracy_words(cells: Sequence[Cell]) -> str:
    known = any(math.isfinite(f.accuracy) for cell in cells for f in cell.figures.values())
    return " (accuracy in %)" if known else ""


def _cell_table(cells: Sequence[Cell]) -> str:
    names = list(dict.fromkeys(name for cell in cells for name in cell.figures))
    rows = []
    for name in names:
        rows.append([name, *(_entry(cell, name) for cell in cells)])
    for ours in cells[0].ours:
        label = f"{ours} over the best rival as accurate"
        rows.append([label, *(_ratio_words(cell, ours) for cell in cells)])
    return markdown_table(["policy", *(_link_words(cell.link) for cell in cells)], rows)


def _entry(cell: Cell, name: str) -> str:
    figures = cell.figures.get(name)
    if figures is None or not figures.results:
        return "-"
    value = 1e3 * figures.mean_latency_s if cell.load == "light" else figures.throughput_hz
    words = f"{value:.1f}" if value < 1000 else f"{value:.0f}"
    if math.isfinite(figures.accuracy):
        words += f" ({100 * figures.accuracy:.1f})"
    return words + _fallback_words(figures)


def _fallback_words(figures: Figures) -> str:
    share = figures.places.get("fallback", 0.0)
    return f" F{100 * share:.0f}" if share > 0.005 else ""


def _ratio_words(cell: Cell, ours: str) -> str:
    ratio = cell.ratio(ours)
    if math.isnan(ratio):
        return "none is"
    return f"{ratio:.2f} {cell.best_rival(ours)}" + ("" if ratio <= MOST_RATIO else " **not met**")


def _link_words(name: str) -> str:
    return f"{name.upper()} {FIXED_RATES_BPS[name] / 1e6:g} Mbit/s"


def matrix_summary(cells: Sequence[Cell]) -> str:
    """In how many cells ours is as good as it has to be, and its gain over what was published."""
    rows = []
    for ours in OURS:
        for load in LOADS:
            of = [c for c in cells if c.load == load and ours in c.ours]
            ratios = [c.ratio(ours) for c in of if not math.isnan(c.ratio(ours))]
            if not ratios:
                continue
            rows.append(
                [
                    f"{ours}, {load}",
                    str(len(of)),
                    str(sum(r <= MOST_RATIO for r in ratios) + len(of) - len(ratios)),
                    str(sum(r < 0.98 for r in ratios) + len(of) - len(ratios)),
                    f"{median(ratios):.2f}",
                    f"{max(ratios):.2f}",
                ]
            )
    head = ["ours", "cells", f"at most {MOST_RATIO} of the best rival", "better by over 2 %"]
    return markdown_table([*head, "median ratio", "worst ratio"], rows)


def misses(cells: Sequence[Cell]) -> str:
    """The cells in which ours is not as good as it has to be, in words; empty if there are none."""
    return "\n".join(
        f"- {cell.model}, {cell.link}, {cell.load}, {_CODEC_WORDS[cell.codecs]}: `{ours}` takes "
        f"{cell.ratio(ours):.3f} of `{cell.best_rival(ours)}`{_both_accuracies(cell, ours)}"
        for cell in cells
        for ours in cell.ours
        if cell.ratio(ours) > MOST_RATIO
    )


def _both_accuracies(cell: Cell, ours: str) -> str:
    accuracies = [cell.figures[n].accuracy for n in (ours, cell.best_rival(ours) or ours)]
    if not all(map(math.isfinite, accuracies)):
        return ""
    return " (accuracy {:.2f} % against {:.2f} %)".format(*(100 * a for a in accuracies))


def gain_table(cells: Sequence[Cell]) -> str:
    """How many times faster ours (with codecs) is than policies as published (float32)."""
    plain = {(c.model, c.link, c.load): c for c in cells if c.codecs == "f32"}
    coded = {(c.model, c.link, c.load): c for c in cells if c.codecs == "all"}
    rows = []
    for (model, link, load), cell in coded.items():
        other = plain.get((model, link, load))
        if other is None:
            continue
        ours = cell.metric_s("exact")
        accuracy = cell.figures["exact"].accuracy - other.figures["device-only"].accuracy
        rows.append(
            [
                f"{model}, {link}, {load}",
                *(f"{other.metric_s(rival) / ours:.2f}" for rival in _PUBLISHED),
                f"{100 * accuracy:+.2f}" if math.isfinite(accuracy) else "-",
            ]
        )
    head = ["cell", *(f"over {rival}" for rival in _PUBLISHED), "accuracy, points"]
    return markdown_table(head, rows)


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


def former_table(gains: Sequence[Mapping[str, Any]], changed_only: bool = False) -> str:
    """One row a network, link and load: the gains of ``former_gains`` before and now.

    Args:
        gains: what ``former_gains`` found.
        changed_only: leave rows out in which no gain has changed by more than 0.5 %.
    """
    rows: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for gain in gains:
        rows.setdefault((gain["model"], gain["link"], gain["load"]), {})[gain["codecs"]] = gain
    codecs = list(dict.fromkeys(gain["codecs"] for gain in gains))
    head = [f"{_CODEC_WORDS[c]}, {when}" for c in codecs for when in ("before", "now")]
    lines = [
        [", ".join(cell), *(_before_and_now(of.get(c), k) for c in codecs for k in _BEFORE_NOW)]
        for cell, of in rows.items()
        if not changed_only or any(map(_has_changed, of.values()))
    ]
    return markdown_table(["cell", *head], lines)


_BEFORE_NOW = ("gain_before", "gain")


def _before_and_now(gain: Mapping[str, Any] | None, key: str) -> str:
    return "-" if gain is None else f"{gain[key]:.2f}"


def _has_changed(gain: Mapping[str, Any]) -> bool:
    return abs(gain["gain"] / gain["gain_before"] - 1) > _SAME_GAIN


def changed_words(gains: Sequence[Mapping[str, Any]]) -> str:
    """In how many cells the gain of ``former_gains`` has changed, and by how much at most."""
    changed = [gain["gain_before"] / gain["gain"] for gain in gains if _has_changed(gain)]
    if not changed:
        return f"In none of the {len(gains)} cells has the gain changed by more than 0.5 %."
    return (
        f"In {len(changed)} of the {len(gains)} cells the gain has changed by more than 0.5 %; "
        f"it was up to {max(changed):.2f} times what it is."
    )


def regret_tables(drives: Sequence[Drive]) -> str:
    """One table a network and trace."""
    parts = []
    for drive in drives:
        rows = []
        for name, figures in drive.figures.items():
            accuracy = figures.accuracy
            rows.append(
                [
                    name,
                    f"{1e3 * figures.mean_latency_s:.1f}",
                    f"{1e3 * figures.p95_latency_s:.1f}",
                    f"{drive.regret(name):.3f}",
                    f"{100 * figures.miss_ratio:.2f}",
                    f"{100 * figures.drop_ratio:.2f}",
                    f"{100 * drive.more_misses(name):+.2f}",
                    f"{100 * accuracy:.2f}" if math.isfinite(accuracy) else "-",
                    f"{figures.sent_bytes / 1e3:.2f}",
                ]
            )
        head = [
            "policy", "mean, ms", "95 %, ms", "mean over the oracle's", "late, %", "dropped, %",
            "late or dropped beyond the oracle's, points", "accuracy, %", "sent a frame, kB",
        ]  # fmt: skip
        verdict = "met" if drive.met() else "**not met**"
        parts.append(
            f"**{drive.model} over {drive.link}**, {drive.seconds:.0f} s, {RATE_HZ:g} frames/s, "
            f"deadline {1e3 * drive.deadline_s:.0f} ms; `exact` at most {MOST_REGRET:.2f} of the "
            f"oracle's mean and {100 * MOST_MORE_MISSES:.0f} points more late or dropped: "
            f"{verdict}\n\n{markdown_table(head, rows)}"
        )
    return "\n\n".join(parts)
