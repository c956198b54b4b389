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
