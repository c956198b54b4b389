from dapdee_ros.report.run_log import FrameRecord, LinkRecord, PlanRecord, RunLog
from dapdee_ros.testbed.window import window


def frame(at_s: float, number: int, latency_s: float = 0.1) -> FrameRecord:
    return FrameRecord(at_s, number, 1, 1, 0.9, 4, "edge", 1, 0.01, 0.02, 0.03, latency_s, 100)


def plan(at_s: float, epoch: int) -> PlanRecord:
    return PlanRecord(at_s, epoch, 4, [], "f32", False, 0.1, "")


def test_a_frame_counts_where_it_was_accepted_and_what_held_before_stands_at_the_start() -> None:
    log = RunLog(
        frames=[frame(1.0, 1), frame(10.05, 2), frame(10.2, 3), frame(20.05, 4), frame(20.2, 5)],
        plans=[plan(1.0, 1), plan(2.0, 2), plan(15.0, 3)],
        forecasts=[plan(3.0, 2), plan(4.0, 2), plan(16.0, 3)],
        links=[LinkRecord(9.0, 1e6, 0.01, True), LinkRecord(12.0, 2e6, 0.01, True)],
        ledger={"accepted": 5},
    )
    cut = window(log, 10.0, 10.0)
    assert [f.number for f in cut.frames] == [3, 4]
    assert round(cut.frames[0].at_s, 6) == 0.2
    assert cut.first_result_s == cut.frames[0].at_s
    assert [(p.epoch, p.at_s) for p in cut.plans] == [(2, 0.0), (3, 5.0)]
    assert [(p.epoch, p.at_s) for p in cut.forecasts] == [(2, 0.0), (3, 6.0)]
    assert [link.at_s for link in cut.links] == [0.0, 2.0]
    assert cut.ledger == {"accepted": 5}


def test_a_window_without_frames_has_no_first_result() -> None:
    assert window(RunLog(frames=[frame(1.0, 1)]), 5.0, 1.0).first_result_s is None
