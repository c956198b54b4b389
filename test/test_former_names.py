"""Files of earlier versions, which called every task's quality accuracy, are still read."""

import json
from pathlib import Path

import pytest

from dapdee_ros.former_names import named, rename
from dapdee_ros.report.comparison import Run
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.report.summary import summarise, summary_text

RECORDED = Path(__file__).parent / "report" / "data" / "drive.json"


def test_a_run_log_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    values = json.loads(RECORDED.read_text())
    values["settings"]["policy"] = "oracle+any"
    values["settings"] |= {"expected_accuracy": 0.91, "accuracy_floor": 0.5}
    for plan in values["plans"]:
        plan["predicted_accuracy"] = 0.93
    path = tmp_path / "run.json"
    path.write_text(json.dumps(values))

    log = RunLog.load(path)

    assert log.quality_name == "accuracy"
    assert {plan.predicted_quality for plan in log.plans} == {0.93}
    assert log.settings["quality_floor"] == 0.5
    assert Run(path, log).foresees
    assert summarise(log)["predicted_quality"] == 0.91
    former = [(frame["class_id"], frame["truth"]) for frame in values["frames"]]
    assert [(frame.answer, frame.truth) for frame in log.frames] == former
    assert summarise(log)["quality"] == sum(a == b for a, b in former) / len(former)
    assert "\naccuracy " in summary_text(summarise(log))
    log.save(path)
    assert RunLog.load(path) == log
    assert "accuracy_floor" not in path.read_text()
    assert "class_id" not in path.read_text()


def test_a_log_is_shown_under_its_own_tasks_name() -> None:
    log = RunLog.load(RECORDED)
    log.quality_name = "mAP"
    assert "\nmAP      " in summary_text(summarise(log))


def test_what_has_neither_name_is_missed_by_todays() -> None:
    with pytest.raises(KeyError, match="exit_quality"):
        named({}, "exit_quality")
    both = {"accuracy_floor": 0.1, "quality_floor": 0.2}
    rename(both)
    assert both["quality_floor"] == 0.2
