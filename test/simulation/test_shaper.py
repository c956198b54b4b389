"""What goes through a shaped link is what its trace allows, in order, and no byte more."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.drawn_links import links

from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.link_trace import LinkTrace
from dapdee_ros.simulation.shaper import ShapedLink


@settings(max_examples=200, deadline=None)
@given(
    links(),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 50_000)), min_size=1, max_size=40),
    st.integers(0, 20_000),
    st.integers(1, 200_000),
)
def test_conservation(
    trace: LinkTrace, sends: list[tuple[float, int]], burst: int, queue: int
) -> None:
    link = ShapedLink(trace, delay_s=0.01, queue_bytes=queue, burst_bytes=burst)
    now_s = 0.0
    out: list[tuple[float, int]] = []
    for pause_s, n_bytes in sends:
        now_s += pause_s
        arrival_s = link.send(now_s, n_bytes)
        if arrival_s is not None:
            assert arrival_s >= now_s + 0.01
            out.append((arrival_s - 0.01, n_bytes))
    assert len(out) + link.dropped == len(sends)
    assert [when for when, _ in out] == sorted(when for when, _ in out)
    gone = 0.0
    for departure_s, n_bytes in out:
        gone += n_bytes
        if math.isfinite(departure_s):
            assert 8 * gone <= trace.capacity_bits(departure_s) + 8 * burst + 1


def test_a_saturated_link_wastes_nothing() -> None:
    link = ShapedLink(parse_link("3g"), queue_bytes=1 << 30, burst_bytes=0)
    arrivals = [link.send(0.0, 10_000) for _ in range(20)]
    assert arrivals == pytest.approx([(n + 1) * 80_000 / 1.1e6 for n in range(20)])


def test_a_full_queue_drops_whole_messages() -> None:
    link = ShapedLink(parse_link("cat1"), queue_bytes=30_000, burst_bytes=0)
    assert [link.send(0.0, 10_000) is not None for _ in range(5)] == [True] * 3 + [False] * 2
    assert link.dropped == 2
    assert link.queued_bytes(0.1) == 30_000
    assert link.queued_bytes(0.62) == 20_000
    assert link.send(0.62, 10_000) is not None


def test_an_idle_link_takes_a_message_larger_than_its_queue() -> None:
    link = ShapedLink(parse_link("wifi"), queue_bytes=1000)
    assert link.send(0.0, 100_000) is not None
    assert link.send(0.001, 10) is None


def test_a_burst_is_earned_by_idling() -> None:
    link = ShapedLink(parse_link("1mbit"), burst_bytes=2000)
    assert link.send(0.0, 2000) == 0.0
    assert link.send(0.0, 1000) == pytest.approx(0.008)
    assert link.send(0.008 + 0.008, 2000) == pytest.approx(0.024)


def test_nothing_passes_a_tunnel_until_it_ends() -> None:
    link = ShapedLink(parse_link("steps:1@0,0@1,1@5"), burst_bytes=3000)
    assert link.send(2.0, 1000) == pytest.approx(5.008)


def test_a_link_that_died_for_good_fills_and_drops() -> None:
    link = ShapedLink(parse_link("steps:1@0,0@1"), queue_bytes=3000)
    assert link.send(2.0, 2000) == math.inf
    assert link.send(3.0, 1000) == math.inf
    assert link.send(4.0, 1000) is None


@pytest.mark.parametrize("wrong", [{"delay_s": -1}, {"queue_bytes": 0}, {"burst_bytes": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="shaped link"):
        ShapedLink(parse_link("3g"), **wrong)
