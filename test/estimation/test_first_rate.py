"""How soon the first rate is right, also where the car waits for its processor."""

from __future__ import annotations

import random
from statistics import median

import pytest

from dapdee_ros.core.link_watch import (
    Action,
    EchoCame,
    Event,
    FrameAnswered,
    LinkWatch,
    SendProbe,
    TimePassed,
)
from dapdee_ros.estimation.link import LinkEstimate, LinkEstimator
from dapdee_ros.estimation.round_trip import RoundTrips

RTT_S, RESIDENCE_S, PERIOD_S = 0.001, 0.002, 0.2
WIFI_BPS, THREE_G_BPS, CAT1_BPS = 18.88e6, 5.85e6, 1.1e6
HEADER_BYTES = 370


class WaitingCar:
    """Frames from 0.3 s on over a constant link, of which two in three wait for the processor.

    So does every other probe. The kernel says of a wait that it was up to twice as long, since
    threads that wait at the same time each count.
    """

    def __init__(self, bps: float, frame_bytes: int, seed: int) -> None:
        self._bps, self._frame_bytes = bps, frame_bytes
        self._watch, self._draw = LinkWatch(), random.Random(seed)
        self._arrivals: list[tuple[float, Event]] = []
        self.probe_bytes = 0

    def run(self, seconds: float) -> list[tuple[float, LinkEstimate]]:
        """The estimates every 10 ms."""
        found, number, next_s, free_s = [], 0, 0.3, 0.0
        for tick in range(1, round(100 * seconds)):
            now_s = tick / 100
            for arrived in sorted(
                [a for a in self._arrivals if a[0] <= now_s], key=lambda arrival: arrival[0]
            ):
                self._arrivals.remove(arrived)
                self._send(arrived[0], self._watch.handle(*arrived))
            if tick % 20 == 0:
                self._send(now_s, self._watch.handle(now_s, TimePassed()))
            if now_s >= next_s:
                next_s += PERIOD_S
                number += 1
                free_s = max(free_s, now_s) + 8 * (self._frame_bytes + HEADER_BYTES) / self._bps
                wait_s, told_s = self._wait(2 / 3)
                took_s = free_s - now_s + RTT_S + wait_s
                answer = FrameAnswered(
                    (1, number), now_s, self._frame_bytes, took_s, RESIDENCE_S, told_s
                )
                self._arrivals.append((now_s + took_s + RESIDENCE_S, answer))
            found.append((now_s, self._watch.estimate(now_s)))
        return found

    def _send(self, now_s: float, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SendProbe):
                n_bytes = action.padding_bytes + 120
                self.probe_bytes += n_bytes
                wait_s, told_s = self._wait(1 / 2)
                at_s = now_s + RTT_S + 8 * n_bytes / self._bps + wait_s
                self._arrivals.append((at_s, EchoCame(action.sequence, at_s, told_s)))

    def _wait(self, share: float) -> tuple[float, float]:
        jitter_s = self._draw.uniform(0, 0.001)
        wait_s = self._draw.uniform(0.01, 0.04) if self._draw.random() < share else 0.0
        return jitter_s + wait_s, wait_s * self._draw.uniform(1, 2)


@pytest.mark.parametrize("frame_bytes", [1_000, 3_072, 12_288])
@pytest.mark.parametrize("bps", [WIFI_BPS, THREE_G_BPS, CAT1_BPS])
def test_the_first_rate_is_right_within_two_seconds_of_the_first_frame(
    bps: float, frame_bytes: int
) -> None:
    off, probe_bytes = [], []
    for seed in range(8):
        car = WaitingCar(bps, frame_bytes, seed)
        rates_bps = [e.uplink_bps for at_s, e in car.run(8.0) if at_s > 2.3]
        off.append(median(max(rate / bps, bps / rate) for rate in rates_bps))
        probe_bytes.append(car.probe_bytes)
    assert median(off) < 2.0
    # Three quarters of what probes may take at most.
    assert median(probe_bytes) < 0.75 * 8.0 * 2000


def test_a_rate_is_tentative_until_a_message_confirms_it() -> None:
    estimator = LinkEstimator()
    estimator.on_probe(0.0, 0.02)
    assert not estimator.estimate(0.0).is_tentative
    estimator.on_transfer(0.1, 10_000, 0.1, cpu_wait_s=0.0)
    assert estimator.estimate(0.1).is_tentative
    estimator.on_transfer(0.3, 10_000, 0.1, cpu_wait_s=0.0)
    assert not estimator.estimate(0.3).is_tentative


def test_short_messages_confirm_no_rate() -> None:
    estimator = LinkEstimator()
    estimator.on_probe(0.0, 0.02)
    for number in range(1, 6):
        estimator.on_transfer(0.1 * number, 1000, 0.021, cpu_wait_s=0.0)
        assert estimator.estimate(0.1 * number).is_tentative
    estimator.on_probe(1.0, 0.0225, 5000)
    estimator.on_probe(1.5, 0.0225, 5000)
    assert not estimator.estimate(1.5).is_tentative


def test_the_rate_of_a_message_that_waited_gives_way_to_that_of_one_that_did_not() -> None:
    estimator = LinkEstimator()
    estimator.on_probe(0.0, 0.02, cpu_wait_s=0.0)
    for number in range(1, 4):
        estimator.on_transfer(0.2 * number, 10_000, 0.2, cpu_wait_s=0.3)
        assert estimator.estimate(0.2 * number).is_tentative
    estimator.on_transfer(1.0, 10_000, 0.05, cpu_wait_s=0.0)
    assert estimator.estimate(1.0).uplink_bps == pytest.approx(8 * 10_120 / 0.03, rel=0.1)


def test_a_round_trip_that_waited_counts_until_one_that_did_not() -> None:
    trips = RoundTrips(10.0)
    trips.add(0.0, 0.04, 960.0, waited=True)
    assert trips.is_makeshift
    assert trips.usual_s(1e9) == pytest.approx(0.04, rel=0.01)
    trips.add(0.5, 0.02, 960.0)
    assert not trips.is_makeshift
    assert trips.usual_s(1e9) == pytest.approx(0.02, rel=0.01)


def test_a_round_trip_is_no_longer_for_a_message_that_it_might_have_waited_for() -> None:
    trips = RoundTrips(10.0)
    trips.add(0.0, 0.02, 960.0)
    trips.add(1.0, 0.005, 960.0)
    trips.add(1.1, 0.03, 960.0)
    trips.discard(0.9, 1.2)
    assert trips.floor_s(1e9) == pytest.approx(0.005, rel=0.01)
    assert trips.usual_s(1e9) < 0.02
