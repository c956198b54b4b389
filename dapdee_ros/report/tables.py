"""The figures of a report as HTML tables. Everything from a log is escaped here."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapdee_ros.report.comparison import (
    Comparison,
    Run,
    class_quality,
    quality_name,
    setting_text,
)
from dapdee_ros.report.plate import legible
from dapdee_ros.report.wording import NOTHING, kilobytes, milliseconds, number, percent


@dataclass(frozen=True)
class Table:
    """A table before conversion to HTML.

    Attributes:
        title: its title, plain text.
        heads: column names; the first column has the row names.
        rows: cells as plain text, as many as heads.
        note: a sentence below it, plain text.
        words: indices of the columns with text instead of numbers.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: Sequence[int] = ()


def escaped(text: object) -> str:
    """Text for HTML, also within quotes."""
    return html.escape(legible(text), quote=True)


def table_html(table: Table) -> str:
    """A table in a scrolling box, so that the page does not scroll sideways."""
    kinds = [' class="words"' if n in table.words else "" for n in range(len(table.heads))]
    heads = "".join(
        f'<th scope="col"{kind}>{escaped(head)}</th>'
        for head, kind in zip(table.heads, kinds, strict=True)
    )
    rows = "".join(
        f'<tr><th scope="row">{_breakable(escaped(row[0]))}</th>'
        + "".join(
            f"<td{kind}>{escaped(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    return (
        f'<div class="table"><h3>{escaped(table.title)}</h3>'
        f'<div class="scroll" role="region" aria-label="{escaped(table.title)}" tabindex="0">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{note}</div>"
    )


def _breakable(escaped_text: str) -> str:
    """A name with sensible line breaks."""
    return escaped_text.replace("_", "_<wbr>")


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All tables of a comparison but its settings; the first has the most important numbers."""
    runs = comparison.runs
    if len(runs) == 1:
        return _tables_of_one(runs[0])
    tables = [_runs_table(runs), _parts_table(runs), _exits_table(runs), _places_table(runs)]
    if comparison.regrets:
        tables.append(_regret_table(comparison))
    tables += [_classes_table(runs), _drops_table(runs)]
    return [table for table in tables if table.rows]


def settings_tables(comparison: Comparison) -> list[Table]:
    """The runs' settings: common ones, and differences."""
    runs = comparison.runs
    keys = list(dict.fromkeys(key for run in runs for key in run.log.settings))
    values = {key: [_setting(run, key) for run in runs] for key in keys}
    shared = [key for key in keys if len(set(values[key])) == 1]
    varied = [key for key in keys if key not in shared]
    files = [legible(run.path) for run in runs]
    if len(runs) == 1:
        rows = [("log", files[0]), *((key, values[key][0]) for key in keys)]
        return [Table("Settings", ("setting", "value"), rows, words=(1,))]
    return [
        Table(
            "Settings of all runs",
            ("setting", "value"),
            [(key, values[key][0]) for key in shared],
            words=(1,),
        ),
        Table(
            "Settings that differ",
            ("run", *varied, "log"),
            [
                (run.name, *(values[key][number] for key in varied), files[number])
                for number, run in enumerate(runs)
            ],
            words=range(1, len(varied) + 2),
        ),
    ]


def _setting(run: Run, key: str) -> str:
    return setting_text(run.log.settings[key]) if key in run.log.settings else NOTHING


def _runs_table(runs: Sequence[Run]) -> Table:
    rows = [(run.name, *_figures_of(run)) for run in runs]
    heads = [quality_name(runs) if head == "quality" else head for head in _FIGURES]
    if all(run.summary["predicted_energy_j"] is None for run in runs):
        # A column of nothing would only make the page wider.
        place = heads.index("J/frame")
        del heads[place]
        rows = [(*row[: place + 1], *row[place + 2 :]) for row in rows]
    return Table("Runs, latency in ms", ("run", *heads), rows, _ledger_note(runs))


_FIGURES = (
    "median", "95 %", "mean", "longest", "results/s", "quality", "late", "dropped", "kB/frame",
    "J/frame", "accepted", "results", "drops", "in flight", "plan changes",
)  # fmt: skip


def _figures_of(run: Run) -> tuple[str, ...]:
    s = run.summary
    quality = percent(s["quality"])
    if s["quality"] is None and s["predicted_quality"] is not None:
        quality = f"{percent(s['predicted_quality'])} predicted"
    return (
        milliseconds(s["median_latency_s"]), milliseconds(s["p95_latency_s"]),
        milliseconds(s["mean_latency_s"]), milliseconds(s["most_latency_s"]),
        number(s["throughput_hz"]), quality, percent(s["late_ratio"]), percent(s["drop_ratio"]),
        kilobytes(s["sent_bytes_per_frame"]), number(s["predicted_energy_j"]),
        str(s["accepted"]), str(s["results"]), str(s["drops"]), str(s["in_flight"]),
        str(s["plan_changes"]),
    )  # fmt: skip


def _ledger_note(runs: Sequence[Run]) -> str:
    notes = []
    bare = [run.name for run in runs if not run.summary["ledger"]]
    if bare:
        notes.append(f"Without a ledger, recorded frames are counted: {', '.join(bare)}.")
    torn = [run.name for run in runs if run.summary["ledger"] and not run.summary["balanced"]]
    if torn:
        notes.append(
            f"The ledger does not balance (accepted = results + drops + in flight): "
            f"{', '.join(torn)}."
        )
    return " ".join(notes)


def _quality_rows(run: Run, quality: str) -> list[tuple[str, str]]:
    """The quality by its own name, what else its task reports, and how much was found."""
    s = run.summary
    name = s["quality_name"] if len(s["quality_figures"]) > 1 else "quality"
    rows = [(name, quality)]
    rows += [(n, percent(v)) for n, v in s["quality_figures"].items() if n != s["quality_name"]]
    if s["objects_per_frame"] is not None:
        rows.append(("objects found per frame", number(s["objects_per_frame"])))
    if s["true_objects_per_frame"] is not None:
        rows.append(("objects there per frame", number(s["true_objects_per_frame"])))
    return rows


def _classes_table(runs: Sequence[Run]) -> Table:
    """Quality of each class: of one run with the numbers of objects, of several side by side."""
    names = list(dict.fromkeys(name for run in runs for name in run.summary["classes"]))
    if len(runs) == 1:
        classes = runs[0].summary["classes"]
        heads = list(dict.fromkeys(head for of in classes.values() for head in of))
        rows = [
            (
                name,
                *(
                    str(value)
                    if isinstance(value := classes[name].get(head), int)
                    else percent(value)
                    for head in heads
                ),
            )
            for name in names
        ]
        note = _OBJECTS_NOTE if "there" in heads else ""
        return Table("Quality of each class", ("class", *heads), rows, note)
    rows = [(name, *(percent(class_quality(run, name)) for run in runs)) for name in names]
    return Table("Quality of each class", ("class", *(run.name for run in runs)), rows)


_OBJECTS_NOTE = "Objects there and found are counted in the frames with ground truth."


def _tables_of_one(run: Run) -> list[Table]:
    """The tables of a single run: figures in rows, which fits a phone."""
    s = run.summary
    total = s["recorded"]
    figures = list(zip(_FIGURES, _figures_of(run), strict=True))
    place = _FIGURES.index("quality")
    figures[place : place + 1] = _quality_rows(run, figures[place][1])
    parts = [
        (name, milliseconds(of["median"]), milliseconds(of["p95"]))
        for name, of in zip(("car", "transfer", "edge"), s["parts"].values(), strict=True)
        if of["median"] is not None
    ]
    exits = [(f"exit {n}", str(count), percent(count / total)) for n, count in s["exits"].items()]
    drops = [(reason, str(count)) for reason, count in s["drop_reasons"].items()]
    places = [row[1:] for row in _places_table([run]).rows]
    servers = _place_rows(run, s["servers"])
    tables = [
        Table("Numbers, latency in ms", ("figure", "value"), figures, _ledger_note([run])),
        Table("Parts of the latency in ms", ("part", "median", "95 %"), parts, _PARTS_NOTE),
        Table("Share of each exit", ("exit", "frames", "share"), exits),
        Table("Where frames were finished, latency in ms", _PLACE_HEADS, places),
        Table("Edge servers that answered, latency in ms", ("server", *_PLACE_HEADS[1:]), servers),
        Table("Dropped frames", ("reason", "frames"), drops),
        _classes_table([run]),
    ]
    return [table for table in tables if table.rows]


def _parts_table(runs: Sequence[Run]) -> Table:
    rows = [
        (run.name, *(milliseconds(of[q]) for of in run.summary["parts"].values() for q in of))
        for run in runs
        if run.summary["recorded"]
    ]
    heads = ("run", "car", "95 %", "transfer", "95 %", "edge", "95 %")
    return Table("Parts of the latency in ms", heads, rows, _PARTS_NOTE)


_PARTS_NOTE = (
    "Medians and 95th percentiles of T_d (car), T_t (transfer) and T_e (edge) over all answered "
    "frames; a frame finished on the car counts with no transfer and no edge part."
)


def _exits_table(runs: Sequence[Run]) -> Table:
    numbers = sorted({int(n) for run in runs for n in run.summary["exits"]})
    rows = []
    for run in runs:
        exits, total = run.summary["exits"], run.summary["recorded"]
        if total:
            rows.append((run.name, *(percent(exits.get(str(n), 0) / total) for n in numbers)))
    return Table("Share of each exit", ("run", *(f"exit {n}" for n in numbers)), rows)


def _places_table(runs: Sequence[Run]) -> Table:
    rows = [(run.name, *row) for run in runs for row in _place_rows(run, run.summary["places"])]
    return Table(
        "Where frames were finished, latency in ms", ("run", *_PLACE_HEADS), rows, words=(1,)
    )


def _place_rows(run: Run, groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row per group of a run's frames: name, number, share, latency."""
    return [
        (
            name, str(of["frames"]), percent(of["frames"] / run.summary["recorded"]),
            milliseconds(of["median_latency_s"]), milliseconds(of["p95_latency_s"]),
        )
        for name, of in groups.items()
    ]  # fmt: skip


_PLACE_HEADS = ("finished on", "frames", "share", "median", "95 %")


def _regret_table(comparison: Comparison) -> Table:
    rows = [
        (
            name, number(r.latency_ratio), milliseconds(r.mean_s), milliseconds(r.median_s),
            milliseconds(r.p95_s), number(r.late_points), str(r.frames), str(r.unmatched), r.oracle,
        )
        for name, r in comparison.regrets.items()
    ]  # fmt: skip
    heads = (
        "run", "ratio", "mean", "median", "95 %", "late points", "frames", "of one only", "oracle",
    )  # fmt: skip
    return Table(
        "Regret against the oracle in ms", heads, rows,
        "Latency minus the oracle's for the same frame, over the frames that both answered. Ratio: "
        "mean latency over the oracle's. Late points: late frames per 100 more than the oracle's. "
        "Of one only: frames that only one of the two answered.",
        words=(8,),
    )  # fmt: skip


def _drops_table(runs: Sequence[Run]) -> Table:
    rows = [
        (run.name, reason, str(count))
        for run in runs
        for reason, count in run.summary["drop_reasons"].items()
    ]
    return Table("Dropped frames", ("run", "reason", "frames"), rows, words=(1,))
