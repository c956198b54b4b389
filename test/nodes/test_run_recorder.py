"""A run's log when the recorder is killed or its disk is full."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
from ros_world import RosWorld
from support.small_disk import small_disk

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos
from dapdee_ros.report.journal import journal_of, read_journal
from dapdee_ros.report.run_log import RunLog

pytestmark = pytest.mark.ros


class Results:
    """Publishes results to the recorder of a log."""

    def __init__(self, ros: RosWorld, path: Path) -> None:
        self._ros = ros
        node = ros.node("results")
        self._publisher = node.create_publisher(msg.InferenceResult, "inference", qos.RESULT)
        self.sent = 0

        def heard() -> bool:
            self.publish(1)
            return kept(path) > 0

        # To be matched on one side does not mean that the other listens.
        ros.spin_until(heard, 20.0, "the recorder listens")
        ros.spin_for(0.3)
        self.first = kept(path)

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            result = msg.InferenceResult(frame_number=self.sent, exit=1, latency_s=0.05)
            self._publisher.publish(result)
            self._ros.spin_for(0.002)


def kept(path: Path) -> int:
    return len(read_journal(journal_of(path)).frames) if journal_of(path).exists() else 0


def test_a_killed_recorder_leaves_what_it_had(ros: RosWorld, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    recorder = ros.start("run_recorder", {"path": str(path)})
    results = Results(ros, path)
    results.publish(50)
    ros.spin_until(lambda: kept(path) == results.first + 50, 10.0, "written as they come")
    recorder.kill()
    assert not path.exists()
    numbers = [f.number for f in read_journal(journal_of(path)).frames]
    assert numbers[-50:] == list(range(results.sent - 49, results.sent + 1))


def test_a_full_disk_ends_in_one_line_and_status_2(ros: RosWorld, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 32 * 1024) as disk:
        path = disk / "run.json"
        recorder = ros.start("run_recorder", {"path": str(path)})
        results = Results(ros, path)
        while "cannot be written any more" not in recorder.output() and results.sent < 1000:
            results.publish(20)
        before = kept(path)
        results.publish(20)
        ros.spin_for(0.3)
        assert recorder.process.poll() is None, recorder.output()
        assert recorder.stop() == 2
        said = recorder.output()
        assert said.count("cannot be written any more") == 1
        assert "no space is left on the disk" in said and "Traceback" not in said
        assert not path.exists()
        assert kept(path) == before > 50


def test_a_place_that_cannot_be_written_is_said_at_once(ros: RosWorld, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    recorder = ros.start("run_recorder", {"path": str(tmp_path / "file" / "run.json")})
    assert recorder.wait(20.0) == 2
    assert "is a file, not a folder" in recorder.output()
    assert "Traceback" not in recorder.output()


def test_an_orderly_end_leaves_the_log_alone(ros: RosWorld, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    recorder = ros.start("run_recorder", {"path": str(path)})
    results = Results(ros, path)
    results.publish(10)
    ros.spin_until(lambda: kept(path) == results.first + 10)
    assert recorder.stop(with_signal=signal.SIGTERM) == 0
    log = RunLog.load(path)
    assert len(log.frames) == results.first + 10 and log.exit_count == 5
    assert log.first_result_s is not None and math.isfinite(log.first_result_s)
    assert not journal_of(path).exists()
