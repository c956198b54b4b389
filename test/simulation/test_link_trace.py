"""Capacity over time, against a slow count of bits."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.drawn_links import links

from dapdee_ros.simulation.drive import drive_link
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.link_trace import (
    FIXED_RATES_BPS,
    LinkTrace,
    LinkTraceError,
    read_mahimahi,
)

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"


def slow_bits(trace: LinkTrace, start_s: float, end_s: float) -> float:
    """Bits between two times, piece by piece and round by round."""
    bits = 0.0
    ends = [*trace.edges_s[1:], trace.period_s]
    rounds = 1 if math.isinf(trace.period_s) else int(end_s / trace.period_s) + 1
    for turn in range(rounds):
        shift = turn * trace.period_s if turn else 0.0
        for begin, end, rate in zip(trace.edges_s, ends, trace.rates_bps, strict=True):
            length = min(end + shift, end_s) - max(begin + shift, start_s)
            bits += max(0.0, length) * rate
    return bits


@settings(max_examples=200, deadline=None)
@given(links(), st.floats(0, 20), st.integers(1, 300_000))
def test_bytes_are_out_exactly_when_the_capacity_was_there(
    trace: LinkTrace, start_s: float, n_bytes: int
) -> None:
    finish_s = trace.finish_time(start_s, n_bytes)
    if math.isinf(finish_s):
        assert slow_bits(trace, start_s, start_s + 100) < 8 * n_bytes
        return
    assert finish_s >= start_s
    assert slow_bits(trace, start_s, finish_s) == pytest.approx(8 * n_bytes, rel=1e-6, abs=0.1)


def test_nothing_to_send_takes_no_time() -> None:
    assert parse_link("steps:0@0").finish_time(2.5, 0) == 2.5


@pytest.mark.parametrize(("name", "rate"), FIXED_RATES_BPS.items())
def test_named_rates(name: str, rate: float) -> None:
    trace = parse_link(name)
    assert trace.rate_bps(1e5) == rate
    assert trace.finish_time(3, rate / 8) == pytest.approx(4)
    assert math.isinf(trace.duration_s)


def test_rates_with_units() -> None:
    assert parse_link("8.5mbit").rate_bps(0) == 8.5e6
    assert parse_link("300kbit").rate_bps(0) == 300e3


def test_steps_hold_their_last_rate() -> None:
    trace = parse_link("steps:5.85@0,1.1@10,0@20")
    assert [trace.rate_bps(t) for t in (0, 9.99, 10, 19.9, 20, 1e6)] == pytest.approx(
        [5.85e6, 5.85e6, 1.1e6, 1.1e6, 0, 0]
    )
    assert trace.finish_time(19.9, 1e6) == math.inf


def test_steps_may_start_over() -> None:
    trace = parse_link("steps:1@0,0@1,loop@2")
    assert trace.rate_bps(2.5) == 1e6
    assert trace.finish_time(0.5, 125_000) == pytest.approx(2.5)
    # Met exactly at the last moment with capacity, not after the pause.
    assert trace.finish_time(0, 125_000) == pytest.approx(1)
    assert trace.finish_time(0, 250_000) == pytest.approx(3)


@pytest.mark.parametrize(
    "text",
    [
        "5g!",
        "steps:",
        "steps:1@1",
        "steps:1@0,2@0",
        "steps:1@0,-1@3",
        "steps:loop@3",
        "steps:1@0,loop@3,2@4",
        "steps:1@0,loop@0",
        "steps:nan@0",
        "steps:1",
        "drive:seed=x",
        "drive:7",
        "mbit",
        "",
    ],
)
def test_nonsense_is_refused_with_words(text: str) -> None:
    with pytest.raises(LinkTraceError, match=r"\w"):
        parse_link(text)


@pytest.mark.parametrize("seed", range(20))
def test_every_drive_has_its_tunnel_and_variety(seed: int) -> None:
    trace = drive_link(seed)
    assert trace.mean_bps(26.6, 30.4) == 0
    assert trace.mean_bps(24, 25) > 0
    assert trace.mean_bps(32, 33) > 0.1e6
    assert trace.rates_bps.max() <= 19e6
    means = [trace.mean_bps(s, s + 2) for s in range(0, 60, 2)]
    bands = {int(np.searchsorted([0.5e6, 2e6, 9e6], mean)) for mean in means}
    assert bands == {0, 1, 2, 3}
    # Handovers: short drops to nearly nothing outside the tunnel.
    assert np.count_nonzero(trace.rates_bps == 0.02e6) >= 20


def test_a_drive_is_the_same_for_the_same_seed() -> None:
    one, same, other = (parse_link(t) for t in ("drive:seed=7", "drive:seed=7", "drive:seed=8"))
    assert np.array_equal(one.rates_bps, same.rates_bps)
    assert not np.array_equal(one.rates_bps, other.rates_bps)


def test_mahimahi_lines_are_packets(tmp_path: Path) -> None:
    path = tmp_path / "small.up"
    path.write_text("0\n2\n2\n5\n10\n")
    trace = read_mahimahi(path)
    assert trace.duration_s == pytest.approx(0.010)
    assert trace.capacity_bits(0.010) == pytest.approx(5 * 1500 * 8)
    assert trace.finish_time(0.001, 3000) == pytest.approx(0.002)
    assert trace.finish_time(0, 7500) == pytest.approx(0.010)
    assert trace.finish_time(0, 7500 + 1500) == pytest.approx(0.011)
    assert parse_link(str(path)).duration_s == pytest.approx(0.010)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "line 0"),
        ("0\n0\n", "line 2"),
        ("1\n5\n3\n", "line 3"),
        ("1\nx\n", "line 2"),
        ("1\n\n2\n", "line 2"),
        ("1\n-2\n", "line 2"),
        ("1\n2.5\n", "line 2"),
        ("1\n" + "9" * 400 + "\n", "line 2"),
    ],
)
def test_a_torn_file_is_refused_with_its_line(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "torn.up"
    path.write_text(content)
    with pytest.raises(LinkTraceError, match=line):
        read_mahimahi(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LinkTraceError, match=r"nowhere\.up"):
        read_mahimahi(tmp_path / "nowhere.up")


def test_measured_drives_have_their_published_means() -> None:
    expected = {"ATT-LTE-driving.up": (1012, 0.83), "Verizon-LTE-short.up": (140, 5.95)}
    for name, (length_s, mean_mbps) in expected.items():
        if not (TRACES / name).is_file():
            pytest.skip(f"the measured trace {name} is not beside the checkout in ../shared/traces")
        trace = read_mahimahi(TRACES / name)
        assert trace.duration_s == pytest.approx(length_s, abs=1)
        assert trace.mean_bps(0, trace.duration_s) / 1e6 == pytest.approx(mean_mbps, abs=0.01)
        assert trace.describe()


@given(links(), st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5e6)), min_size=1, max_size=8))
def test_many_messages_finish_as_each_alone(
    trace: LinkTrace, messages: list[tuple[float, float]]
) -> None:
    starts, sizes = (np.array(column) for column in zip(*messages, strict=True))
    alone = [trace.finish_time(start, size) for start, size in messages]
    assert trace.finish_times(starts, sizes).tolist() == pytest.approx(alone, rel=1e-9)
    assert trace.finish_times(np.array([math.inf]), np.ones(1)).tolist() == [math.inf]
