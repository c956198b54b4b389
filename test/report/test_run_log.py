"""The log of a run: written atomically, read back or refused; its figures and its plot."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from dapdee_ros.report.run_log import FrameRecord, LinkRecord, PlanRecord, RunLog, RunLogError
from dapdee_ros.report.summary import quantile, summarise, summary_text
from dapdee_ros.report.timeline import draw_timeline


def frame(number: int, place: str, latency_s: float, truth: int | None = 0) -> FrameRecord:
    return FrameRecord(
        at_s=0.1 * number,
        number=number,
        answer=0,
        truth=truth,
        score=0.9,
        exit_number=2,
        place=place,
        plan_epoch=1,
        head_s=0.01,
        transfer_s=0.02,
        tail_s=0.01,
        latency_s=latency_s,
        sent_bytes=100 if place == "edge" else 0,
    )


def test_each_of_several_edge_servers_has_its_figures(log: RunLog, tmp_path: Path) -> None:
    assert not summarise(log)["servers"]
    where = ("north", "south", "north", "")
    log.frames = [
        replace(frame(n, "edge" if server else "car", 0.1 * n), server=server)
        for n, server in enumerate(where, start=1)
    ]
    # The fallback of a frame that was sent there is no answer of that server.
    log.frames.append(replace(frame(5, "fallback", 0.3), server="south"))
    log.save(tmp_path / "run.json")
    summary = summarise(RunLog.load(tmp_path / "run.json"))
    servers = summary["servers"]
    assert {name: of["frames"] for name, of in servers.items()} == {"north": 2, "south": 1}
    assert servers["north"]["median_latency_s"] == pytest.approx(0.2)
    assert "north    2 frames" in summary_text(summary)
    # One that is called like a place hides nothing.
    log.frames = [replace(f, server="fallback" if f.server else "") for f in log.frames]
    text = summary_text(summarise(log))
    assert "fallback 3 frames" in text and "fallback 1 frames" in text


@pytest.fixture
def log() -> RunLog:
    return RunLog(
        settings={"deadline_s": 0.3},
        labels=["stop", "yield"],
        exit_count=3,
        first_result_s=1.5,
        frames=[
            frame(1, "edge", 0.05),
            frame(2, "edge", 0.07, truth=1),
            frame(4, "car", 0.2, truth=None),
        ],
        plans=[
            PlanRecord(0.0, 1, 2, ["a"], "f32", False, 0.05, "first"),
            PlanRecord(0.3, 2, 2, [], "", False, 0.1, "no link"),
        ],
        links=[LinkRecord(0.0, math.nan, None, False), LinkRecord(0.1, 1e6, 0.02, True)],
        ledger={
            "accepted": 5,
            "results": 3,
            "drops": 1,
            "in_flight": 1,
            "deadline_misses": 0,
            "drop_reasons": ["superseded"],
            "drop_counts": [1],
        },
    )


def test_what_is_written_is_read_back(log: RunLog, tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    log.save(path)
    json.loads(path.read_text(), parse_constant=pytest.fail)  # no NaN in the file
    back = RunLog.load(path)
    assert back.links[0].uplink_bps is None
    log.links[0].uplink_bps = None
    assert back == log
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


@pytest.mark.parametrize("spoil", [lambda t: t[:-40], lambda t: "[]", lambda t: '{"version": 1}'])
def test_a_torn_or_foreign_file_is_refused(log: RunLog, tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "run.json"
    log.save(path)
    path.write_text(spoil(path.read_text()))  # type: ignore[operator]
    with pytest.raises(RunLogError, match=r"run\.json is not the log of a run"):
        RunLog.load(path)


def test_another_version_is_named(log: RunLog, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    log.save(path)
    path.write_text(path.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(RunLogError, match="another version"):
        RunLog.load(path)


def test_the_figures(log: RunLog) -> None:
    summary = summarise(log)
    assert summary["balanced"]
    assert summary["answered_ratio"] == 3 / 4  # the one in flight has not ended
    assert summary["quality"] == 1 / 2
    assert summary["plan_changes"] == 1
    assert summary["sent_bytes"] == 200
    assert summary["places"]["edge"]["frames"] == 2
    assert summary["median_latency_s"] == 0.07
    text = summary_text(summary)
    assert "5 accepted = 3 results + 1 drops + 1 in flight" in text
    assert "dropped 1: superseded" in text
    log.ledger["drops"] = 0
    assert not summarise(log)["balanced"]


def test_an_empty_run_has_figures_too() -> None:
    summary = summarise(RunLog())
    assert summary["results"] == 0
    assert summary["quality"] is None
    assert not summary["balanced"]
    assert "0 accepted" in summary_text(summary)


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(v) for v in range(100)]
    assert quantile(values, 0.95) == 95.0
    assert quantile([3.0], 0.95) == 3.0


@pytest.mark.parametrize("empty", [False, True])
def test_the_timeline_is_drawn(log: RunLog, tmp_path: Path, empty: bool) -> None:
    path = tmp_path / "timeline.svg"
    draw_timeline(RunLog() if empty else log, path)
    text = path.read_text()
    assert text.rstrip().endswith("</svg>")
    assert path.stat().st_size > 5_000
