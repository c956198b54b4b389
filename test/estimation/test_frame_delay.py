"""A slow process is told from a slow link, by probes that cross the same link."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from dapdee_ros.core.link_watch import (
    EchoCame,
    FrameAnswered,
    LinkWatch,
    SendProbe,
    TimePassed,
)
from dapdee_ros.estimation.frame_delay import FrameDelay, waited_since
from dapdee_ros.estimation.link import LinkEstimate

RTT_S = 0.004
WIFI_BPS, CAT1_BPS = 18.88e6, 0.3e6


def drive(
    bps: Callable[[float], float],
    *,
    delay_s: float,
    frame_bytes: int,
    period_s: float = 0.033,
    seconds: float = 20.0,
    jitter_s: float = 0.003,
    cpu_wait_s: float = math.nan,
) -> list[tuple[float, LinkEstimate]]:
    """Frames of one size and whatever probes are asked for, over a link of some rate.

    Frames take ``delay_s`` beyond their transfer, probes do not. Where the kernel says how long the
    car waited, ``cpu_wait_s``, two of three frames are delayed, as by a quota.
    """
    watch, draw = LinkWatch(), random.Random(1)
    arrivals: list[tuple[float, object]] = []
    found = []
    free_s, now_s, number, next_s = 0.0, 0.0, 0, 1.0
    while now_s < seconds:
        now_s += 0.01
        for event in [a for a in arrivals if a[0] <= now_s]:
            arrivals.remove(event)
            actions = watch.handle(event[0], event[1])  # type: ignore[arg-type]
            arrivals += _echoes(actions, event[0], bps, draw, jitter_s)
        actions = watch.handle(now_s, TimePassed())
        arrivals += _echoes(actions, now_s, bps, draw, jitter_s)
        if now_s >= next_s:
            next_s += period_s
            number += 1
            begun_s = max(free_s, now_s)
            free_s = begun_s + 8 * (frame_bytes + 370) / bps(now_s)
            waits = math.isnan(cpu_wait_s) or draw.random() < 2 / 3
            took_s = free_s - now_s + RTT_S + waits * delay_s + draw.uniform(0, jitter_s)
            waited_s = cpu_wait_s if waits else 0.0
            answered = FrameAnswered((1, number), now_s, frame_bytes, took_s, 0.002, waited_s)
            arrivals.append((now_s + took_s + 0.002, answered))
        arrivals.sort(key=lambda arrival: arrival[0])
        found.append((now_s, watch.estimate(now_s)))
    return found


def _echoes(
    actions: object,
    now_s: float,
    bps: Callable[[float], float],
    draw: random.Random,
    noise_s: float,
) -> list[tuple[float, object]]:
    echoes: list[tuple[float, object]] = []
    for action in actions:  # type: ignore[attr-defined]
        if isinstance(action, SendProbe):
            on_link_s = 8 * (action.padding_bytes + 120) / bps(now_s)
            at_s = now_s + RTT_S + on_link_s + draw.uniform(0, noise_s)
            echoes.append((at_s, EchoCame(action.sequence, at_s)))
    return echoes


@pytest.mark.parametrize("frame_bytes", [1100, 3072])
def test_what_frames_take_whatever_their_size_is_not_the_links_rate(frame_bytes: int) -> None:
    found = drive(lambda _t: WIFI_BPS, delay_s=0.04, frame_bytes=frame_bytes)
    late = [estimate for at_s, estimate in found if at_s > 8]
    assert sum(e.uplink_bps > 0.12 * WIFI_BPS for e in late) > 0.95 * len(late)
    assert sum(0.025 < e.rtt_s < 0.05 for e in late) > 0.95 * len(late)


def test_a_link_that_becomes_slow_is_not_taken_for_a_slow_process() -> None:
    found = drive(
        lambda t: WIFI_BPS if t < 12 else CAT1_BPS, delay_s=0.04, frame_bytes=3072, period_s=0.15
    )
    before = [e.uplink_bps for t, e in found if 8 < t < 12]
    after = [e.uplink_bps for t, e in found if t > 14]
    assert sorted(before)[len(before) // 2] > 0.12 * WIFI_BPS
    assert all(0.4 * CAT1_BPS < rate < 2.5 * CAT1_BPS for rate in after[len(after) // 3 :])


def test_without_a_delay_nothing_is_added() -> None:
    for bps in (CAT1_BPS, WIFI_BPS):
        found = drive(lambda _t, b=bps: b, delay_s=0.0, frame_bytes=3072, period_s=0.15)  # type: ignore[misc]
        late = [e for t, e in found if t > 5]
        assert all(e.rtt_s < RTT_S + 0.006 for e in late)
        assert sum(e.uplink_bps > 0.5 * bps for e in late) > 0.95 * len(late)


def test_only_a_probe_can_raise_the_delay_and_frames_can_lower_it() -> None:
    delay = FrameDelay(0.004)
    for number in range(10):
        delay.on_frame(0.1 * number, 0.05, 1000, 1e6)
    assert delay.seconds == 0.0
    delay.on_probe(1.0, 8e6)
    assert delay.seconds == pytest.approx(0.049)
    for number in range(30):
        delay.on_frame(1.0 + 0.1 * number, 0.9, 1000, 8e6)
    assert delay.seconds == pytest.approx(0.049)
    for number in range(30):
        delay.on_frame(4.0 + 0.1 * number, 0.011, 1000, 8e6)
    assert delay.seconds == pytest.approx(0.01)
    for number in range(30):
        delay.on_frame(7.0 + 0.1 * number, 0.002, 1000, 8e6)
    assert delay.seconds == 0.0


def test_what_the_car_waited_for_its_processor_is_not_the_links_rate_before_any_probe() -> None:
    found = drive(lambda _t: WIFI_BPS, delay_s=0.04, frame_bytes=3072, cpu_wait_s=0.06)
    late = [estimate for at_s, estimate in found if at_s > 3]
    assert sum(e.uplink_bps > 0.5 * WIFI_BPS for e in late) > 0.95 * len(late)
    assert sum(0.008 < e.rtt_s < 0.055 for e in late) > 0.95 * len(late)


def test_a_link_that_becomes_slow_is_noticed_by_a_car_that_waits_for_its_processor() -> None:
    found = drive(
        lambda t: WIFI_BPS if t < 12 else CAT1_BPS,
        delay_s=0.04,
        frame_bytes=3072,
        period_s=0.15,
        cpu_wait_s=0.04,
    )
    after = [e.uplink_bps for t, e in found if t > 14]
    assert all(rate < 4 * CAT1_BPS for rate in after)
    late = sorted(after[len(after) // 2 :])
    assert 0.4 * CAT1_BPS < late[len(late) // 2] < 2.5 * CAT1_BPS


def test_a_car_that_never_waited_blames_the_link_alone() -> None:
    delay = FrameDelay(0.004)
    for number in range(10):
        delay.on_frame(0.1 * number, 0.05, 1000, 8e6, cpu_wait_s=0.0)
    delay.on_probe(1.0, 8e6)
    assert delay.seconds == 0.0
    assert not delay.can_tell(1.0)


def test_a_delay_is_at_most_what_the_car_waited() -> None:
    delay = FrameDelay(0.004)
    for number in range(10):
        delay.on_frame(0.1 * number, 0.05, 1000, 8e6, cpu_wait_s=0.02)
    assert delay.seconds == pytest.approx(0.02)
    for number in range(30):
        delay.on_frame(1.0 + 0.1 * number, 0.05, 1000, 8e6, cpu_wait_s=0.09)
    assert delay.seconds == pytest.approx(0.049)


@pytest.mark.parametrize("wait_s", [math.nan, math.inf, -1.0])
def test_a_wait_that_is_no_duration_is_not_known(wait_s: float) -> None:
    delay = FrameDelay(0.004)
    for number in range(10):
        delay.on_frame(0.1 * number, 0.05, 1000, 8e6, cpu_wait_s=wait_s)
    assert delay.seconds == 0.0


def test_the_time_between_two_readings_is_never_negative() -> None:
    assert waited_since(1.0, 1.5) == 0.5
    assert waited_since(1.5, 1.0) == 0.0  # a thread ended
    assert math.isnan(waited_since(math.nan, 1.0))
    assert math.isnan(waited_since(1.0, math.nan))


def test_some_frames_that_are_answered_at_once_between_late_ones_change_nothing() -> None:
    delay = FrameDelay(0.004)
    for number in range(40):
        delay.on_frame(0.03 * number, 0.05 if number % 3 else 0.002, 1000, 8e6)
        if number == 20:
            delay.on_probe(0.03 * number, 8e6)
        if number >= 20:
            assert delay.seconds == pytest.approx(0.049)


def test_a_probe_long_after_the_frames_says_nothing_of_them() -> None:
    delay = FrameDelay(0.004)
    for number in range(10):
        delay.on_frame(0.1 * number, 0.05, 1000, 1e6)
    delay.on_probe(30.0, 8e6)
    assert delay.seconds == 0.0


def test_it_is_forgotten_when_no_frames_come_any_more() -> None:
    delay = FrameDelay(0.004)
    for number in range(10):
        delay.on_frame(0.1 * number, 0.05, 1000, 8e6)
    delay.on_probe(1.0, 8e6)
    delay.forget_if_old(2.0)
    assert delay.seconds == pytest.approx(0.049)
    delay.forget_if_old(4.0)
    assert delay.seconds == 0.0
