"""An answer of the experiments: what a section of the results page is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from dapdee_ros.report.bars import Bars, Row
from dapdee_ros.report.palette import Palette

Results = Mapping[str, Mapping[str, Any]]
"""The JSON files of docs/results/ by name, without the ending."""


@dataclass(frozen=True)
class Answer:
    """One section of the results page.

    Attributes:
        name: of the plot's file.
        question: the heading.
        answer: a sentence or two.
        caption: what the plot shows.
        bars: makes the plot.
        head: column names of the summary table.
        rows: its rows.
        method: under which conditions it was measured.
        sources: names of the JSON files.
    """

    name: str
    question: str
    answer: str
    caption: str
    bars: Callable[[Palette], Bars]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    method: str
    sources: Sequence[str]


def grouped(
    rows: Iterable[Mapping[str, Any]], *keys: str
) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Rows by what they have under these keys, in order of appearance."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def range_words(values: Sequence[float], decimals: int = 1) -> str:
    """Lowest and highest value, or the one that they share."""
    low, high = f"{min(values):.{decimals}f}", f"{max(values):.{decimals}f}"
    return low if low == high else f"{low} to {high}"


def span_bars(
    spans: Mapping[str, Sequence[float]], palette: Palette, axis: str, log: bool = False
) -> Bars:
    """One row per name: a bar from lowest to highest value, a mark at the median."""
    blue, ink = palette.policy("exact"), palette["ink"]
    rows = [
        Row(
            name,
            range_words(values, 2),
            box=(min(values), max(values), blue),
            mark=(median(values), ink, "D"),
        )
        for name, values in spans.items()
    ]
    low = min(min(map(min, spans.values())), 1.0)
    high = max(max(map(max, spans.values())), 1.0)
    limits = (0.9 * low, 1.1 * high) if log else (0.0, 1.05 * high)
    return Bars(rows, axis, limits=limits, log=log, line=(1.0, "equal"))


def machine_words(result: Mapping[str, Any]) -> str:
    """Where and when a result was measured."""
    machine = result["machine"]
    return f"{machine['processor']}, {machine['cores']} cores, {machine['date'][:10]}"
