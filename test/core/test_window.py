"""The window narrows when the edge refuses frames, and widens again."""

from __future__ import annotations

from dapdee_ros.core.window import SendWindow


def test_it_is_the_limit_until_the_edge_refuses() -> None:
    window = SendWindow()
    assert window.width(4) == 4
    window.on_answered(4)
    assert window.width(4) == 4
    assert window.width(2) == 2


def test_a_refusal_takes_one_frame_off_and_never_the_last() -> None:
    window = SendWindow()
    seen = []
    for _ in range(5):
        window.on_busy(4)
        seen.append(window.width(4))
    assert seen == [3, 2, 1, 1, 1]


def test_it_grows_back_after_many_answers_to_the_limit_and_no_further() -> None:
    window = SendWindow()
    window.on_busy(3)
    for _ in range(49):
        window.on_answered(3)
    assert window.width(3) == 2
    for _ in range(200):
        window.on_answered(3)
    assert window.width(3) == 3
    window.on_busy(3)
    assert window.width(3) == 2


def test_refusals_count_from_the_limit_of_the_moment() -> None:
    window = SendWindow()
    window.on_answered(8)
    window.on_busy(3)
    assert window.width(8) == 2


def test_a_late_answer_takes_one_frame_off_once_for_those_that_were_sent_before() -> None:
    window = SendWindow()
    window.on_late(2.0, 1.0, 4)
    for sent_s in (1.1, 1.5, 2.0):  # they waited for the same frames
        window.on_late(2.5, sent_s, 4)
    assert window.width(4) == 3
    seen = []
    for n in range(4):
        window.on_late(4.0 + n, 3.5 + n, 4)
        seen.append(window.width(4))
    assert seen == [2, 1, 1, 1]


def test_it_widens_as_far_as_answers_would_still_be_in_time() -> None:
    window = SendWindow()
    for n in range(4):
        window.on_late(2.0 * n + 1, 2.0 * n + 0.5, 4)
    assert window.width(4) == 1
    window.on_timely(0.35, 0.6, 1, 4)
    assert window.width(4) == 1
    window.on_timely(0.25, 0.6, 1, 4)
    assert window.width(4) == 2
    window.on_timely(0.39, 0.6, 2, 4)
    assert window.width(4) == 3
    # A frame that was alone says nothing about three, and nothing against them.
    window.on_timely(0.05, 0.6, 1, 4)
    assert window.width(4) == 3
    window.on_timely(0.1, 0.6, 3, 4)
    assert window.width(4) == window.width(9) - 5 == 4


def test_refusals_and_late_answers_narrow_it_each_by_itself() -> None:
    window = SendWindow()
    window.on_busy(4)
    window.on_late(1.0, 0.5, 4)
    assert window.width(4) == 2
    window.on_timely(0.01, 0.6, 2, 4)
    window.on_timely(0.01, 0.6, 3, 4)
    assert window.width(4) == 3  # the edge refused four
