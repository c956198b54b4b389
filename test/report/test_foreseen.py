"""What was said of frames before their images came, beside what they took."""

from __future__ import annotations

from dataclasses import asdict

from dapdee_ros.report.foreseen import foreseen_s, image_to_result
from dapdee_ros.report.run_log import FrameRecord, PlanRecord, RunLog


def frame(accepted_s: float, latency_s: float, place: str = "edge") -> FrameRecord:
    at_s = accepted_s + latency_s
    return FrameRecord(at_s, 1, 1, 1, 0.9, 4, place, 1, 0.01, 0.02, 0.03, latency_s, 100)


def said(at_s: float, latency_s: float, epoch: int = 1) -> PlanRecord:
    return PlanRecord(at_s, epoch, 4, ["image"], "f32", False, latency_s, "")


def test_of_a_frame_the_last_thing_said_before_its_image_counts() -> None:
    log = RunLog(
        plans=[said(1.0, 0.04), said(9.0, 0.03, epoch=2)],
        forecasts=[said(2.0, 0.09), said(3.0, 0.1)],
        frames=[frame(0.5, 0.1), frame(1.5, 0.1), frame(2.95, 0.1), frame(5.0, 0.1), frame(9.5, 1)],
    )
    # The third was under way when 0.1 s was said; the first came before anything was.
    assert foreseen_s(log, log.frames) == [0.04, 0.04, 0.09, 0.1, 0.03]


def test_all_waiting_is_in_what_frames_took_and_fallbacks_are_left_out() -> None:
    log = RunLog(
        plans=[said(0.0, 0.06)],
        forecasts=[said(1.0, 0.095)],
        frames=[frame(2.0 + k, 0.1) for k in range(3)] + [frame(6.0, 0.9, "fallback")] * 4,
    )
    assert image_to_result(log) == {"predicted_s": 0.095, "took_s": 0.1}
    log.frames = log.frames[3:]
    assert image_to_result(log) == {"predicted_s": 0.095, "took_s": 0.9}


def test_a_log_without_forecasts_is_read_as_before(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = RunLog(plans=[said(0.0, 0.06)], forecasts=[said(1.0, 0.09)], frames=[frame(2.0, 0.1)])
    path = tmp_path / "run.json"
    log.save(path)
    assert [asdict(f) for f in RunLog.load(path).forecasts] == [asdict(log.forecasts[0])]
    path.write_text(path.read_text().replace('"forecasts"', '"drops_of_old"'))
    assert RunLog.load(path).forecasts == []
