"""The estimate of a link, fed by hand and over simulated links."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.estimation.link import LinkEstimator, LinkSettings

RTT_S = 0.03
OVERHEAD = LinkSettings().overhead_bytes


class Road:
    """An estimator on a link of known rate; frames go one at a time unless told otherwise."""

    def __init__(self, rate_bps: float = 1e6) -> None:
        self.estimator = LinkEstimator()
        self.rate_bps = rate_bps
        self.now_s = 0.0
        self._noise = random.Random(1)
        self._key = 0

    def probe(self, n_bytes: int = 0) -> None:
        took_s = RTT_S + 8 * (n_bytes + OVERHEAD) / self.rate_bps
        self.now_s += took_s
        self.estimator.on_probe(self.now_s, took_s, n_bytes)

    def frame(self, n_bytes: int = 10_000, noise: float = 0.0) -> None:
        took_s = RTT_S + 8 * (n_bytes + OVERHEAD) / self.rate_bps
        took_s *= math.exp(self._noise.gauss(0, noise)) if noise else 1
        self.now_s += took_s + 0.01
        self.estimator.on_transfer(self.now_s, n_bytes, took_s, 0.01)
        self.now_s += 0.02

    @property
    def rate(self) -> float:
        return self.estimator.estimate(self.now_s).uplink_bps


def test_nothing_is_known_before_the_first_answer() -> None:
    estimate = LinkEstimator().estimate(12.0)
    assert math.isnan(estimate.uplink_bps) and math.isnan(estimate.rtt_s)
    assert not estimate.connected
    assert estimate.age_s == math.inf and estimate.relative_spread == math.inf
    assert estimate.measurements == 0 and estimate.loss_ratio == 0


@pytest.mark.parametrize("rate_bps", [0.13e6, 1.1e6, 5.85e6, 18.88e6])
def test_a_steady_link_is_known_exactly(rate_bps: float) -> None:
    road = Road(rate_bps)
    for _ in range(5):
        road.probe()
    for _ in range(10):
        road.frame(30_000)
    estimate = road.estimator.estimate(road.now_s)
    assert estimate.uplink_bps == pytest.approx(rate_bps, rel=0.01)
    assert estimate.rtt_s == pytest.approx(RTT_S, abs=1e-3)
    assert estimate.connected and estimate.loss_ratio == 0
    assert estimate.relative_spread < 0.3
    assert estimate.measurements == 10


def test_large_probes_alone_measure_the_rate() -> None:
    road = Road(1.1e6)
    for _ in range(4):
        road.probe()
        road.probe(2000)
    assert road.rate == pytest.approx(1.1e6, rel=0.05)


@pytest.mark.parametrize("factor", [10, 0.1])
def test_a_step_by_ten_is_followed_in_three_frames(factor: float) -> None:
    road = Road(1e6)
    road.probe()
    for _ in range(30):
        road.frame(noise=0.1)
    road.rate_bps *= factor
    for _ in range(3):
        road.frame(30_000, noise=0.05)
    assert road.rate == pytest.approx(1e6 * factor, rel=0.3)


def test_one_outlier_moves_little() -> None:
    road = Road(1e6)
    road.probe()
    for _ in range(30):
        road.frame(noise=0.05)
    before = road.rate
    road.rate_bps = 0.1e6
    road.frame()
    # Ten times slower once: held back to the bound of what noise explains.
    assert road.rate > before / 2
    road.rate_bps = 1e6
    for _ in range(4):
        road.frame()
    assert road.rate == pytest.approx(1e6, rel=0.15)


def test_noise_is_smoothed() -> None:
    road = Road(1e6)
    road.probe()
    rates = []
    for _ in range(200):
        road.frame(30_000, noise=0.2)
        rates.append(math.log(road.rate / 1e6))
    tail = rates[20:]
    assert abs(sum(tail) / len(tail)) < 0.1
    assert math.sqrt(sum(r * r for r in tail) / len(tail)) < 0.2


def test_queueing_behind_another_frame_is_not_slowness() -> None:
    rate, n_bytes = 1e6, 10_000
    on_link_s = 8 * (n_bytes + OVERHEAD) / rate
    estimator = LinkEstimator()
    estimator.on_probe(0.5, RTT_S)
    # Two frames at the same moment, again and again: the second waits for the first.
    for turn in range(1, 11):
        estimator.on_transfer(turn + RTT_S + on_link_s, n_bytes, RTT_S + on_link_s)
        estimator.on_transfer(turn + RTT_S + 2 * on_link_s, n_bytes, RTT_S + 2 * on_link_s)
    assert estimator.estimate(11.5).uplink_bps == pytest.approx(rate, rel=0.02)


def test_a_probe_behind_a_frame_does_not_lift_the_floor() -> None:
    road = Road(1e6)
    road.probe()
    for _ in range(10):
        road.frame()
        # Sent just after the next frame, echoed before the edge has answered that frame.
        sent_s = road.now_s
        road.estimator.on_probe(sent_s + 0.11, 0.11)
        road.estimator.on_transfer(sent_s + 0.12, 10_000, 0.11, 0.01)
        road.now_s = sent_s + 5
    assert road.estimator.estimate(road.now_s).rtt_s == pytest.approx(RTT_S, abs=2e-3)


def test_the_floor_follows_a_longer_path() -> None:
    estimator = LinkEstimator()
    for tick in range(10):
        estimator.on_probe(tick * 0.5, 0.03)
    for tick in range(10, 50):
        estimator.on_probe(tick * 0.5, 0.08)
    assert estimator.estimate(25.0).rtt_s == pytest.approx(0.08)


def test_short_messages_bound_a_fast_link_from_below_only() -> None:
    road = Road(18.88e6)
    road.probe()
    for _ in range(5):
        road.frame(20_000)
    for _ in range(20):
        road.frame(600)
    assert road.rate == pytest.approx(18.88e6, rel=0.05)
    assert road.estimator.estimate(road.now_s).measurements == 5


@pytest.mark.parametrize(("jitter_s", "least_bps"), [(0.002, 7e6), (0.006, 3e6)])
def test_the_late_ones_of_many_short_frames_do_not_make_a_fast_link_slow(
    jitter_s: float, least_bps: float
) -> None:
    road, late, rates = Road(15e6), random.Random(3), []
    for _ in range(10):
        road.estimator.on_probe(road.now_s, RTT_S + late.expovariate(1 / jitter_s), 0)
        road.now_s += 0.1
    for _ in range(5):
        road.frame(60_000)
    for _ in range(300):
        took_s = RTT_S + 8 * (2200 + OVERHEAD) / 15e6 + late.expovariate(1 / jitter_s)
        road.now_s += 0.1
        road.estimator.on_transfer(road.now_s, 2200, took_s)
        rates.append(road.rate)
    assert sorted(rates)[30] > least_bps


def test_silence_disconnects_and_the_first_echo_connects() -> None:
    road = Road(1e6)
    road.probe()
    road.frame()
    estimator, start_s = road.estimator, road.now_s
    # Nothing sent, nothing expected.
    assert estimator.estimate(start_s + 60).connected
    sent_s = start_s + 60
    estimator.on_sent(sent_s, 0, "probe 1")
    assert estimator.estimate(sent_s + 0.4).connected
    dead = estimator.estimate(sent_s + 0.7)
    assert not dead.connected
    # It stays so, also when the probe itself is forgotten as lost.
    later = estimator.estimate(sent_s + 30)
    assert not later.connected and later.loss_ratio > 0
    assert later.age_s > 90 and later.relative_spread > dead.relative_spread / 2
    estimator.on_sent(sent_s + 31, 0, "probe 2")
    estimator.on_probe(sent_s + 31.03, 0.03, 0, "probe 2")
    assert estimator.estimate(sent_s + 31.03).connected


def test_a_frame_that_computes_for_long_is_not_silence() -> None:
    road = Road(1e6)
    road.probe()
    road.frame()
    estimator, sent_s = road.estimator, road.now_s
    estimator.on_sent(sent_s, 1000, "slow on the edge")
    estimator.on_sent(sent_s + 0.1, 0, "probe")
    estimator.on_probe(sent_s + 0.13, 0.03, 0, "probe")
    # What was sent after it has arrived, so it is off the link.
    assert estimator.estimate(sent_s + 1.5).connected


def test_silence_is_bounded_even_on_a_very_slow_link() -> None:
    road = Road(0.02e6)
    road.probe()
    for _ in range(4):
        road.frame(1000)
    road.estimator.on_sent(road.now_s, 100_000, 1)
    longest = LinkSettings().longest_silence_s
    assert road.estimator.estimate(road.now_s + longest - 0.1).connected
    assert not road.estimator.estimate(road.now_s + longest + 0.1).connected


def test_an_old_echo_out_of_a_tunnel_connects_for_good() -> None:
    estimator = LinkEstimator()
    estimator.on_probe(0.1, RTT_S, 0)
    for tick in range(1, 11):
        estimator.on_sent(tick * 0.5, 0, tick)
        estimator.estimate(tick * 0.5)
    assert not estimator.estimate(5.1).connected
    # All ten had waited in a queue and come out together.
    for tick in range(1, 11):
        now_s = 5.2 + tick * 0.001
        estimator.on_probe(now_s, now_s - tick * 0.5, 0, tick)
        assert estimator.estimate(now_s).connected
    assert estimator.estimate(5.3).connected


def test_what_waited_in_a_tunnel_measures_nothing() -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    estimator, start_s = road.estimator, road.now_s
    for tick in range(60):
        estimator.on_sent(start_s + tick * 0.5, 0, tick)
        estimator.estimate(start_s + tick * 0.5)
    before = estimator.estimate(start_s + 30)
    assert not before.connected
    for tick in range(60):
        now_s = start_s + 30 + tick * 0.001
        estimator.on_probe(now_s, now_s - start_s - tick * 0.5, 0, tick)
    estimator.on_transfer(start_s + 30.1, 10_000, 25.0)
    after = estimator.estimate(start_s + 30.1)
    assert after.connected
    assert after.rtt_s == pytest.approx(RTT_S, abs=1e-3)
    assert after.uplink_bps == before.uplink_bps


def test_what_was_held_up_together_makes_no_slow_link() -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    # A lost message had to be sent again, and five frames behind it were handed on at once. That
    # is a few tenths of a millisecond of processing to and fro.
    start_s = road.now_s
    for number, jitter_s in enumerate((0.0, -3e-4, -1e-4, -5e-4, -2e-4)):
        sent_s, arrived_s = start_s + 0.1 * number, start_s + 1.0 + jitter_s
        road.estimator.on_transfer(arrived_s + 5e-3, 2000, arrived_s - sent_s, 5e-3)
    road.now_s = start_s + 1.01
    assert road.rate > 1e6


@pytest.mark.parametrize("residence_s", [math.nan, math.inf, -math.inf, -1.0, 1e9])
def test_a_lying_residence_shows_life_and_nothing_else(residence_s: float) -> None:
    road = Road(5e6)
    road.probe()
    road.frame()
    before = road.estimator.estimate(road.now_s)
    now_s = road.now_s + 0.1
    road.estimator.on_sent(now_s, 20_000, 1)
    road.estimator.on_transfer(now_s + 0.05, 20_000, 0.05 - residence_s, residence_s, 0)
    after = road.estimator.estimate(now_s + 0.05)
    assert (after.uplink_bps, after.rtt_s) == (before.uplink_bps, before.rtt_s)
    # What is on its way is still waited for.
    assert not road.estimator.estimate(now_s + 2.2).connected


def test_frames_given_up_lower_the_rate_and_end_the_connection() -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    before = road.rate
    for _ in range(2):
        road.now_s += 0.2
        road.estimator.on_unanswered(road.now_s, 10_000, 0.2)
    assert road.rate < before / 5
    road.now_s += 0.5
    road.estimator.on_unanswered(road.now_s, 10_000, 0.2)
    estimate = road.estimator.estimate(road.now_s)
    assert not estimate.connected and estimate.loss_ratio > 0.1


@pytest.mark.parametrize("probe_is_overdue", [False, True])
def test_one_frame_given_up_is_believed_if_more_is_overdue(probe_is_overdue: bool) -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    road.estimator.on_sent(road.now_s, 10_000, "frame")
    if probe_is_overdue:
        road.estimator.on_sent(road.now_s + 0.1, 0, "probe")
    road.now_s += 0.3
    road.estimator.on_unanswered(road.now_s, 10_000, 0.3, "frame")
    # 10 kB took more than 0.3 s, unless they were lost.
    assert (road.rate < 0.35e6) == probe_is_overdue
    assert road.rate < 1.5e6


def test_one_frame_given_up_is_believed_after_one_that_was_very_late() -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    road.now_s += 0.3
    road.estimator.on_transfer(road.now_s, 10_000, 0.3)
    assert road.rate > 1e6
    road.now_s += 0.3
    road.estimator.on_unanswered(road.now_s, 10_000, 0.3)
    assert road.rate < 0.35e6


def test_a_small_message_given_up_says_nothing_about_the_rate() -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    before = road.rate
    for _ in range(2):
        road.now_s += 0.2
        road.estimator.on_unanswered(road.now_s, 0, 0.2)
    assert road.rate == before


def test_a_short_frame_lifts_an_estimate_that_is_too_low() -> None:
    road = Road(1e6)
    road.probe()
    for _ in range(10):
        road.frame()
    road.rate_bps = 20e6
    road.frame(5000)
    # It took 2 ms, within the timing noise, but 5 kB in that time are 10 Mbit/s at least.
    assert road.rate == pytest.approx(4e6, rel=0.1)
    road.frame(5000)
    assert road.rate > 9e6


def test_a_small_echo_tells_that_a_slow_link_has_become_faster() -> None:
    estimator = LinkEstimator()
    # 1.5 ms there and back besides, at 0.13 Mbit/s up and down.
    estimator.on_probe(0.0, 0.054, 600)
    for now_s in (0.5, 1.0, 1.5, 2.0):
        estimator.on_probe(now_s, 0.017)
    before = estimator.estimate(2.0)
    assert math.isinf(before.doubt_age_s)
    assert before.at_least_bps == 0
    estimator.on_probe(2.5, 0.002)
    after = estimator.estimate(2.5)
    # It says that, not how fast: that is for a large one, which is sent because of the doubt.
    assert after.doubt_age_s == 0
    assert after.at_least_bps == pytest.approx(8 * LinkSettings().overhead_bytes / 0.002)
    assert after.uplink_bps == pytest.approx(before.uplink_bps, rel=0.05)
    estimator.on_probe(2.6, 0.003, 600)
    assert estimator.estimate(2.6).uplink_bps > 2 * before.uplink_bps


def test_echoes_that_scatter_raise_no_doubt() -> None:
    road = Road(5e6)
    draws = random.Random(3)
    road.probe(600)
    for _ in range(200):
        took_s = RTT_S + draws.expovariate(1 / 0.01)
        road.now_s += 0.5
        road.estimator.on_probe(road.now_s, took_s)
        assert math.isinf(road.estimator.estimate(road.now_s).doubt_age_s)


def test_an_overdue_frame_speaks_before_it_is_answered() -> None:
    road = Road(5e6)
    road.probe()
    for _ in range(10):
        road.frame()
    road.estimator.on_sent(road.now_s, 10_000, "late")
    rates = [road.estimator.estimate(road.now_s + w).uplink_bps for w in (0.05, 0.2, 0.4)]
    assert rates[0] == pytest.approx(5e6, rel=0.01)
    assert rates[2] < rates[1] < 1e6


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sent", "probe", "transfer", "unanswered", "estimate"]),
            st.floats(-1, 5),
            st.integers(0, 10**8),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(allow_nan=True, allow_infinity=True),
            st.one_of(st.none(), st.integers(0, 5)),
        ),
        max_size=60,
    )
)
def test_nothing_a_peer_reports_breaks_it(
    events: list[tuple[str, float, int, float, float, int | None]],
) -> None:
    estimator = LinkEstimator()
    now_s = 100.0
    for what, pause_s, n_bytes, one, other, key in events:
        now_s += pause_s
        if what == "sent":
            estimator.on_sent(now_s, n_bytes, key)
        elif what == "probe":
            estimator.on_probe(now_s, one, n_bytes, key)
        elif what == "transfer":
            estimator.on_transfer(now_s, n_bytes, one, other, key)
        elif what == "unanswered":
            estimator.on_unanswered(now_s, n_bytes, one, key)
        estimate = estimator.estimate(now_s)
        assert estimate.uplink_bps > 0 or math.isnan(estimate.uplink_bps)
        assert not math.isinf(estimate.uplink_bps)
        assert 0 <= estimate.rtt_s < math.inf or math.isnan(estimate.rtt_s)
        assert 0 <= estimate.loss_ratio <= 1
        assert estimate.relative_spread >= 0


def test_what_was_given_up_and_then_answered_was_not_lost() -> None:
    estimator = LinkEstimator()
    for tick in range(20):
        estimator.on_unanswered(0.1 * tick, 5000, 0.05, ("frame", tick))
        # A refusal, or a late answer: of either the head's own result was told before.
        estimator.on_transfer(0.1 * tick + 0.02, 5000, 0.06, 0.0, ("frame", tick))
    assert estimator.estimate(2.0).loss_ratio == 0
    estimator.on_unanswered(2.1, 5000, 0.05, ("frame", 20))
    assert estimator.estimate(2.2).loss_ratio == pytest.approx(1 / 21)
