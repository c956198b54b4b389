"""The figures of one comparison, each with a sentence on what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dapdee_ros.report.bars import Bars, Row, draw_bars
from dapdee_ros.report.comparison import Comparison, Run, class_quality, quality_name
from dapdee_ros.report.distribution import draw_distribution, quantile_rows
from dapdee_ros.report.palette import Palette
from dapdee_ros.report.plate import Plate, make_plate
from dapdee_ros.report.wording import kilobytes, milliseconds, number, percent

_PLACES = ("edge", "car", "fallback")
_MOST_CLASSES = 24


def comparison_plates(comparison: Comparison, prefix: str, palette: Palette) -> list[Plate]:
    """All figures that these runs have data for; their names begin with ``prefix``."""
    runs = comparison.runs
    answered = [run for run in runs if run.summary["recorded"]]
    plates = []
    if any(run.summary["median_latency_s"] is not None for run in runs):
        draw = partial(draw_distribution, runs, palette)
        words, name = _cdf_words(answered), f"{prefix}latency-cdf"
        plates.append(make_plate(name, "Latency, cumulative", words, palette, draw, widths=True))
    # A single run has nothing to compare a bar with: its figures suffice.
    for name, title, make in (_BARS if len(runs) > 1 else ()) + _SHARES:
        made = make(runs, palette)
        if made is not None:
            heading = quality_name(runs).capitalize() if name == "quality" else title
            plates.append(_bar_plate(f"{prefix}{name}", heading, made, palette))
    if comparison.regrets:
        plates.append(
            _bar_plate(f"{prefix}regret", "Regret", _regret(comparison, palette), palette)
        )
    return plates


def _bar_plate(name: str, title: str, made: tuple[Bars, str], palette: Palette) -> Plate:
    bars, caption = made
    return make_plate(name, title, caption, palette, partial(draw_bars, bars, palette))


def _cdf_words(runs: Sequence[Run]) -> str:
    words = (
        "For every latency, the share of answered frames that took at most as long: the further "
        "left and up, the faster."
    )
    if len(runs) > 1:
        median = _leaders(runs, "median_latency_s", min, _ms)
        words += f" Lowest median: {median}."
        words += f" Lowest 95th percentile: {_leaders(runs, 'p95_latency_s', min, _ms)}."
    return words


def _latency(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    if all(run.summary["median_latency_s"] is None for run in runs):
        return None
    return (
        quantile_rows(list(runs), palette),
        "Mark: median; thick: the middle half of the frames; thin: from the 5th to the 95th "
        "percentile. The numbers are median · 95th percentile.",
    )


def _throughput(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    return _plain(
        runs, palette, "throughput_hz", "frames per second", lambda v: f"{number(v)} /s",
        "Answered frames per second, from the first result to the last", max,
    )  # fmt: skip


def _bytes(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    def said(size_bytes: float) -> str:
        return f"{kilobytes(size_bytes)} kB"

    return _plain(
        runs, palette, "sent_bytes_per_frame", "kB per answered frame", said,
        "Encoded tensor bytes sent from car to edge, averaged over answered frames", min, 1e-3,
    )  # fmt: skip


def _plain(
    runs: Sequence[Run],
    palette: Palette,
    key: str,
    axis: str,
    text: Callable[[float], str],
    words: str,
    best: Callable[..., Any],
    scale: float = 1.0,
) -> tuple[Bars, str] | None:
    if all(run.summary[key] is None for run in runs):
        return None
    rows = []
    for run in runs:
        value = run.summary[key]
        if value is None:
            rows.append(Row(run.name, "unknown"))
        else:
            rows.append(
                Row(run.name, text(value), [(scale * value, palette.policy(run.base_policy))])
            )
    if len(runs) > 1:
        words += f". {'Most' if best is max else 'Least'}: {_leaders(runs, key, best, text)}"
    return Bars(rows, axis), f"{words}."


def _quality(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    rows, measured, predicted = [], False, False
    for run in runs:
        s = run.summary
        colour, marker = palette.policy(run.base_policy), palette.marker(run.base_policy)
        if s["quality"] is not None:
            measured = True
            mark = (s["quality"], colour, marker)
            interval = s["quality_interval"] and tuple(s["quality_interval"])
            rows.append(Row(run.name, percent(s["quality"]), (), interval, mark=mark))
        elif s["predicted_quality"] is not None:
            predicted = True
            mark = (s["predicted_quality"], palette["muted"], marker)
            rows.append(Row(run.name, f"{percent(s['predicted_quality'])} predicted", mark=mark))
        else:
            rows.append(Row(run.name, "truth not known"))
    if not (measured or predicted):
        return None
    lowest = min(v for row in rows if row.mark for v in (row.mark[0], *(row.interval or ())))
    words = []
    if any(row.interval for row in rows):
        words.append(
            "Share of right answers among the frames with ground truth, with its 95 % interval."
        )
    elif measured:
        words.append(f"{quality_name(runs)} over the frames with ground truth.")
    if predicted:
        words.append("Grey: not measured, but expected from the model's calibration.")
    limits = (max(0.0, lowest - 0.03), 1.0)
    words.append(f"The axis starts at {100 * limits[0]:.0f} %.")
    return Bars(rows, f"{quality_name(runs)} [%]", limits=limits, percent=True), " ".join(words)


def _classes(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    """Of one run; those of several are a table."""
    if len(runs) != 1:
        return None
    known = {n: class_quality(runs[0], n) for n in runs[0].summary["classes"]}
    rows = [
        Row(name, percent(value), [(value, palette.policy(runs[0].base_policy))])
        for name, value in sorted(known.items(), key=lambda item: -(item[1] or 0.0))
        if value is not None
    ]
    if not rows:
        return None
    words = "Quality of each class that the frames with ground truth show."
    if len(rows) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        words += f" Of {len(rows)} classes the {half} best and the {half} worst."
        rows = [*rows[:half], *rows[-half:]]
    return Bars(rows, f"{quality_name(runs)} [%]", limits=(0.0, 1.0), percent=True), words


def _missed(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    if all(run.summary["drop_ratio"] is None for run in runs):
        return None
    rows, unknown = [], 0
    for run in runs:
        late, dropped = run.summary["late_ratio"], run.summary["drop_ratio"]
        unknown += late is None
        text = f"{percent(late)} late, {percent(dropped)} dropped"
        rows.append(
            Row(
                run.name,
                text,
                [(late or 0.0, palette["alarm"]), (dropped or 0.0, palette["truth"])],
            )
        )
    words = (
        "Share of all frames that ended: answered after the deadline, and dropped without "
        "an answer."
    )
    if unknown:
        words += " Without a recorded deadline, lateness is unknown."
    key = (("late", palette["alarm"]), ("dropped", palette["truth"]))
    return Bars(rows, "frames [%]", key, percent=True), words


def _exits(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    numbers = sorted({int(n) for run in runs for n in run.summary["exits"]})
    if not numbers:
        return None
    deepest = max(run.log.exit_count for run in runs)
    rows = []
    for run in runs:
        exits, total = run.summary["exits"], run.summary["recorded"]
        shares = [(n, exits.get(str(n), 0) / total) for n in numbers] if total else []
        most = max(shares, key=lambda pair: pair[1], default=None)
        text = f"{percent(most[1])} at exit {most[0]}" if most else "no frame answered"
        rows.append(Row(run.name, text, [(share, palette.exit(n)) for n, share in shares]))
    words = "Which exit answered: 1 is the shallowest"
    words += f", {deepest} the full network." if deepest else "."
    key = tuple((f"exit {n}", palette.exit(n)) for n in numbers)
    return Bars(rows, "answered frames [%]", key, limits=(0.0, 1.0), percent=True), words


def _places(runs: Sequence[Run], palette: Palette) -> tuple[Bars, str] | None:
    names = [*_PLACES]
    names += sorted({p for run in runs for p in run.summary["places"]} - set(names))
    if not any(run.summary["places"] for run in runs):
        return None
    rows = []
    for run in runs:
        places, total = run.summary["places"], run.summary["recorded"]
        shares = [(p, places[p]["frames"] / total) for p in names if p in places]
        most = max(shares, key=lambda pair: pair[1], default=None)
        text = f"{percent(most[1])} {most[0]}" if most else "no frame answered"
        rows.append(Row(run.name, text, [(share, palette.place(p)) for p, share in shares]))
    words = (
        "Where frames were finished: on the edge server, on the car as planned, or on the car "
        "because the edge did not answer in time (fallback)."
    )
    key = tuple((p, palette.place(p)) for p in names)
    return Bars(rows, "answered frames [%]", key, limits=(0.0, 1.0), percent=True), words


def _regret(comparison: Comparison, palette: Palette) -> tuple[Bars, str]:
    rows = []
    for run in comparison.runs:
        regret = comparison.regrets.get(run.name)
        if regret is not None:
            colour = palette.policy(run.base_policy)
            rows.append(
                Row(
                    run.name,
                    f"{1e3 * regret.mean_s:+.1f} ms, {regret.latency_ratio:.2f} times",
                    [(max(0.0, 1e3 * regret.mean_s), colour)],
                    mark=None if regret.mean_s >= 0 else (1e3 * regret.mean_s, colour, "o"),
                )
            )
    lowest = min(regret.mean_s for regret in comparison.regrets.values())
    highest = max(regret.mean_s for regret in comparison.regrets.values())
    limits = (min(0.0, 1.15e3 * lowest), max(1.0, 1.05e3 * highest))
    words = (
        "Mean latency above that of the oracle, which knows the link's future, over the frames "
        "that both answered, and the ratio of the two means."
    )
    return Bars(rows, "mean regret [ms]", limits=limits), words


def _leaders(
    runs: Sequence[Run], key: str, best: Callable[..., Any], text: Callable[[float], str]
) -> str:
    """The leaders and their value; all that are equal in the displayed digits."""
    known = [run for run in runs if run.summary[key] is not None]
    if not known:
        return ""
    value = text(best(run.summary[key] for run in known))
    names = [run.name for run in known if text(run.summary[key]) == value]
    if len(names) == len(known):
        return f"all the same, {value}"
    said = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{said} with {value}"


def _ms(value_s: float) -> str:
    return f"{milliseconds(value_s)} ms"


_BARS = (
    ("latency", "Latency", _latency),
    ("throughput", "Throughput", _throughput),
    ("bytes", "Bytes sent", _bytes),
    ("quality", "Quality", _quality),
    ("missed", "Deadline misses and drops", _missed),
)
_SHARES = (
    ("exits", "Share of each exit", _exits),
    ("places", "Share of each finishing site", _places),
    ("classes", "Quality of each class", _classes),
)
