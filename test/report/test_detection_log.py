"""The log of a detector's run: kept small, judged by its boxes, shown class by class."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report.recorded import recorded_drive

from dapdee_ros.report.comparison import Run
from dapdee_ros.report.journal import Journal, read_journal
from dapdee_ros.report.page import write_report
from dapdee_ros.report.run_log import RunLog, RunLogError
from dapdee_ros.report.summary import summarise, summary_text
from dapdee_ros.tasks.records import Record

LABELS = ["car", "bus", "sign"]
CAR = [0, 1.0, 10.0, 10.0, 30.0, 30.0]
SIGN = [2, 1.0, 50.0, 5.0, 60.0, 15.0]
BOTH: list[Any] = [CAR, SIGN]
ONE: list[Any] = [[0, 0.9, 10.0, 10.0, 30.0, 30.0]]


def detected(*pairs: tuple[Record, Record | None]) -> RunLog:
    """The recorded drive, as if a detector had driven it: these answers and truths in turn."""
    log = recorded_drive()
    frames = [
        replace(frame, answer=pairs[n % len(pairs)][0], truth=pairs[n % len(pairs)][1])
        for n, frame in enumerate(log.frames)
    ]
    return replace(log, frames=frames, labels=LABELS, task="detection", quality_name="mAP")


def test_figures_are_the_task_s_own() -> None:
    s = summarise(detected((ONE, BOTH)))
    # Every car is found, no sign.
    assert s["quality_name"] == "mAP" and s["quality"] == pytest.approx(0.5)
    assert s["quality_figures"] == {"mAP": pytest.approx(0.5), "mAP50": pytest.approx(0.5)}
    assert s["quality_interval"] is None and s["judged"] == s["recorded"]
    assert s["objects_per_frame"] == 1 and s["true_objects_per_frame"] == 2
    assert s["classes"] == {
        "car": {"AP": 1.0, "there": s["judged"], "found": s["judged"]},
        "sign": {"AP": 0.0, "there": s["judged"], "found": 0},
    }
    text = summary_text(s)
    assert "mAP      50.0%, mAP50 50.0% over the frames with ground truth" in text
    assert "objects  1.0 found per frame, 2.0 there" in text


def test_without_truth_there_is_no_quality_but_the_objects() -> None:
    s = summarise(detected((ONE, None), ([], None)))
    assert s["quality"] is None and s["judged"] == 0 and s["classes"] == {}
    assert s["objects_per_frame"] == pytest.approx(0.5, abs=0.01)
    assert s["true_objects_per_frame"] is None
    assert "mAP" not in summary_text(s)


def test_empty_scenes_alone_have_no_quality() -> None:
    s = summarise(detected(([], [])))
    assert s["quality"] is None and s["judged"] == s["recorded"]
    assert "objects  0.0 found per frame, 0.0 there" in summary_text(s)


def test_a_log_and_its_journal_keep_the_boxes(tmp_path: Path) -> None:
    log = detected((ONE, BOTH), ([], []), (BOTH, None))
    log.save(tmp_path / "run.json")
    assert RunLog.load(tmp_path / "run.json").frames == log.frames
    journal = Journal(tmp_path / "live.json")
    journal.note(
        settings=log.settings, labels=log.labels, exit_count=log.exit_count, ledger={},
        task=log.task, quality_name=log.quality_name, first_result_s=None,
    )  # fmt: skip
    for frame in log.frames:
        journal.add("frames", frame)
    read = read_journal(tmp_path / "live.json.journal")
    assert read.frames == log.frames and read.task == "detection"
    assert summarise(read)["quality"] == summarise(log)["quality"]
    size = len((tmp_path / "run.json").read_bytes()) / len(log.frames)
    assert size < 700  # bytes per frame, with all else that is known of it


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (4, "is no list of"),
        ([[7, 1, 0, 0, 1, 1]], "with 3 classes"),
        ([[0, 1, 0, 0, 1]], "is no list of"),
        ([[0, 1, 0, 0, 1, None]], "is no list of"),
    ],
)
def test_a_log_with_other_answers_is_refused(answer: Any, says: str, tmp_path: Path) -> None:
    log = detected((ONE, BOTH))
    log.frames[3].answer = answer
    log.save(tmp_path / "run.json")
    with pytest.raises(RunLogError, match=says):
        RunLog.load(tmp_path / "run.json")
    data = json.loads((tmp_path / "run.json").read_text())
    data["frames"][3]["answer"], data["task"] = [], "cooking"
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(RunLogError, match="there is no task 'cooking'"):
        RunLog.load(tmp_path / "run.json")


def test_the_report_shows_every_class(tmp_path: Path) -> None:
    one, other = detected((ONE, BOTH)), detected((BOTH, BOTH))
    page = tmp_path / "report.html"
    write_report([Run(tmp_path / "a.json", one)], page, tmp_path / "figures")
    text = page.read_text()
    for words in ("mAP50", "objects found per frame", "Quality of each class", ">there<"):
        assert words in text
    assert [p.name for p in (tmp_path / "figures").glob("*classes*")] == ["classes.svg"]
    other.settings["policy"] = "device-only"
    runs = [Run(tmp_path / "a.json", one), Run(tmp_path / "b.json", other)]
    write_report(runs, page, tmp_path / "both")
    text = page.read_text()
    assert "mAP over the frames with ground truth" in text and "Share of right" not in text
    assert "<h3>Quality of each class</h3>" in text and "100.0 %" in text
