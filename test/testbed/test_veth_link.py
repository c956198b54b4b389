"""A real link between real namespaces: what passes, how fast, and that nothing stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dapdee_ros.testbed.enter import NAMESPACES
from dapdee_ros.testbed.filler import filler_bytes
from dapdee_ros.testbed.shaping import Impairment, ShapingError, token_bucket, unshaped_bytes
from dapdee_ros.testbed.veth_link import VethLink

pytestmark = [pytest.mark.netns, pytest.mark.alone, pytest.mark.usefixtures("namespaces")]

RECEIVE = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.2", 7000))
s.settimeout(float(sys.argv[1]))
print("ready", flush=True)
arrivals = []
try:
    while len(arrivals) < int(sys.argv[2]):
        s.recv(65535)
        arrivals.append(time.monotonic())
except TimeoutError:
    pass
print(json.dumps(arrivals))
"""
SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(time.monotonic(), flush=True)
for _ in range(int(sys.argv[1])):
    s.sendto(bytes(int(sys.argv[2])), ("10.77.0.2", 7000))
"""


def transfer(
    link: VethLink, messages: int, n_bytes: int, timeout_s: float = 5.0
) -> tuple[float, list[float]]:
    """When sending began, and when each message arrived."""
    python = [sys.executable, "-S", "-c"]
    receiver = subprocess.Popen(
        link.inside("edge", [*python, RECEIVE, str(timeout_s), str(messages)]),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    sent = subprocess.run(
        link.inside("car", [*python, SEND, str(messages), str(n_bytes)]),
        capture_output=True,
        text=True,
        check=True,
    )
    arrivals, _ = receiver.communicate()
    return float(sent.stdout), json.loads(arrivals)


def test_messages_take_what_the_rate_says_also_after_a_change() -> None:
    with VethLink(1.1e6) as link:
        for rate_bps in (1.1e6, 5.85e6, 0.3e6):
            link.change(rate_bps)
            time.sleep(0.3)
            before = link.carried_bytes("car")
            start_s, arrivals = transfer(link, 1, 30_000)
            n_bytes = link.carried_bytes("car") - before
            assert n_bytes == pytest.approx(30_000 * 1.065, rel=0.02)
            measured_s = arrivals[-1] - start_s
            assert measured_s == pytest.approx(8 * n_bytes / rate_bps, rel=0.15, abs=0.01)


@pytest.mark.parametrize("n_bytes", [200, 500, 2000])
def test_after_a_pause_a_message_takes_all_of_its_time(n_bytes: int) -> None:
    with VethLink(0.13e6) as link:
        time.sleep(0.3)
        start_s, arrivals = transfer(link, 1, n_bytes)
        least_s = 8 * (n_bytes + 42 - filler_bytes(0.13e6)) / 0.13e6
        assert least_s <= arrivals[0] - start_s < 1.15 * 8 * (n_bytes + 142) / 0.13e6 + 0.05


def test_what_keeps_the_link_busy_gives_way() -> None:
    with VethLink(1.1e6) as link:
        start_s, arrivals = transfer(link, 1, 30_000)
        alone_s = arrivals[0] - start_s
        assert alone_s < 1.08 * 8 * 30_000 * 1.065 / 1.1e6 + 0.01
        assert link.carried_bytes("edge") < 300


def test_only_slow_links_are_kept_busy() -> None:
    assert filler_bytes(0.13e6) == 60
    assert filler_bytes(1.1e6) == 138
    assert filler_bytes(18.88e6) == 0
    assert unshaped_bytes(1.1e6) == 138
    assert unshaped_bytes(18.88e6) > 1500


def test_nothing_passes_a_dead_link_and_it_comes_back() -> None:
    with VethLink(1e6) as link:
        transfer(link, 1, 100)
        link.change(0.0)
        time.sleep(0.1)
        _, arrivals = transfer(link, 3, 200, timeout_s=0.5)
        assert arrivals == []
        link.change(1e6)
        time.sleep(0.1)
        _, arrivals = transfer(link, 1, 200)
        assert len(arrivals) == 1


def test_nobody_has_to_ask_who_is_at_the_other_end() -> None:
    with VethLink(5e6) as link:
        _, arrivals = transfer(link, 1, 200)
        assert len(arrivals) == 1
        # The first message came through without the receiver having said a word.
        assert link.carried_bytes("edge") == 0


def test_two_links_side_by_side_do_not_meet_and_leave_nothing() -> None:
    with VethLink(1e6) as one, VethLink(1e6) as other:
        names = [*one.names.values(), *other.names.values()]
        assert len(set(names)) == 4
        assert all((NAMESPACES / name).exists() for name in names)
        transfer(one, 1, 1000)
        assert other.carried_bytes("car") < 500
    assert not any((NAMESPACES / name).exists() for name in names)


def test_what_runs_inside_ends_with_the_link() -> None:
    with VethLink(1e6) as link:
        process = subprocess.Popen(link.inside("car", ["sleep", "60"]))
        end_s = time.monotonic() + 30
        # Before it sleeps it is on its way in.
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"sleep"):
            assert process.poll() is None and time.monotonic() < end_s
            time.sleep(0.01)
    try:
        assert process.wait(5) == -9
    finally:
        process.kill()
        process.wait()


def test_delay_is_added_or_refused_in_words() -> None:
    link = VethLink(10e6, impairment=Impairment(delay_s=0.05))
    try:
        with link:
            transfer(link, 1, 100)
            start_s, arrivals = transfer(link, 1, 100)
            assert arrivals[0] - start_s >= 0.05
    except ShapingError as error:
        assert "netem" in str(error)
        assert "dapdee demo" in str(error)
    assert not any((NAMESPACES / name).exists() for name in link.names.values())


def test_an_error_inside_leaves_nothing_either() -> None:
    link = VethLink(1e6)
    with pytest.raises(RuntimeError, match="inside"), link:
        raise RuntimeError("inside")
    assert not any((NAMESPACES / name).exists() for name in link.names.values())


def test_the_bucket_holds_one_packet_and_the_timers_lateness() -> None:
    assert token_bucket(1.1e6, 1000) == "tbf rate 1100000bit burst 659 limit 1000"
    assert "burst 10 " in token_bucket(0.0, 1000)
