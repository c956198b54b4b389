"""docs/results.md: what the experiments answer, written from their JSON in docs/results/.

``python -m dapdee_ros.experiment.results_page`` writes the page and its plots again.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.experiment.answers import Answer
from dapdee_ros.experiment.detector_answers import of_a_detector
from dapdee_ros.experiment.simulated_answers import (
    against_rivals,
    on_a_pi,
    on_drives,
    over_published,
)
from dapdee_ros.experiment.testbed_answers import on_the_testbed, simulator_against_testbed
from dapdee_ros.files import write_whole
from dapdee_ros.report.bars import Bars, draw_bars
from dapdee_ros.report.palette import Palette
from dapdee_ros.report.plate import make_plate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUESTIONS = (
    against_rivals, over_published, on_drives, on_a_pi, on_the_testbed, of_a_detector,
    simulator_against_testbed,
)  # fmt: skip
_WIDTH_PX = 640
_HEAD = """# Results

What was measured, one question per section. The JSON file named at the end of a section holds every
policy in every cell. This page and its plots are written from these files by
`python -m dapdee_ros.experiment.results_page`. [Simulation](simulation.md#the-experiments) and
[testbed](testbed.md) say how to measure on your own machine; [gates](gates.md) measures early-exit
gates.
"""


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The JSON files in docs/results/ by name, without the ending."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


def page(answers: Sequence[Answer]) -> str:
    """The whole page as Markdown."""
    return "\n\n".join([_HEAD.strip(), *map(_section, answers)]) + "\n"


def plots(answers: Sequence[Answer]) -> dict[str, str]:
    """The plots as SVG, by file name."""
    palette = Palette(("exact", "dads"))
    drawn = {}
    for answer in answers:
        plate = make_plate(
            answer.name,
            answer.question,
            answer.caption,
            palette,
            partial(_draw, answer.bars(palette), palette),
        )
        drawn[f"{answer.name}.svg"] = plate.file + "\n"
    return drawn


def answers_to(results: Mapping[str, dict[str, Any]]) -> list[Answer]:
    """What these results answer; a question whose JSON is not there is left out."""
    found = (question(results) for question in QUESTIONS)
    return [answer for answer in found if answer is not None]


def write_page(docs: Path) -> None:
    """Write results.md and its plots (results/*.svg) from results/*.json.

    Args:
        docs: the folder that holds all of them.
    """
    answers = answers_to(read_results(docs / "results"))
    for name, svg in plots(answers).items():
        write_whole(docs / "results" / name, svg)
    write_whole(docs / "results.md", page(answers))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write results as JSON, one key or list item per line, so that a diff shows what changed."""
    lines = [f"{json.dumps(key)}: {_value(value)}" for key, value in values.items()]
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _draw(bars: Bars, palette: Palette, _width_px: int) -> Figure:
    return draw_bars(bars, palette, _WIDTH_PX)


def _section(answer: Answer) -> str:
    data = " and ".join(f"[{name}.json](results/{name}.json)" for name in answer.sources)
    return "\n\n".join(
        [
            f"## {answer.question}",
            _wrapped(answer.answer),
            f"![{answer.caption}](results/{answer.name}.svg)",
            _table(answer.head, answer.rows),
            _wrapped(f"{answer.method} Data: {data}."),
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False)


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(v, allow_nan=False) for v in value) + "\n]"
    return json.dumps(value, allow_nan=False)


if __name__ == "__main__":
    write_page(Path(__file__).resolve().parents[2] / "docs")
