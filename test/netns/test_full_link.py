"""On a link without room a send waits, and the other threads of its process do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dapdee_ros.testbed.veth_link import VethLink, why_no_link

pytestmark = [pytest.mark.ros, pytest.mark.netns, pytest.mark.alone, pytest.mark.timeout(120)]

ENDS = str(Path(__file__).with_name("sending_and_listening.py"))


def test_a_send_that_waits_for_room_holds_up_no_other_thread() -> None:
    pytest.importorskip("dapdee_ros.msg", reason="the messages are not built: make setup")
    if reason := why_no_link():
        pytest.skip(reason)
    env = {**os.environ, "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "ROS_DOMAIN_ID": "77"}
    with VethLink(1e9) as link:
        listening = subprocess.Popen(link.inside("edge", [sys.executable, ENDS, "listen"]), env=env)
        sending = subprocess.Popen(
            link.inside("car", [sys.executable, ENDS, "send"]),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert sending.stdin and sending.stdout
        try:
            assert sending.stdout.readline() == "found\n"
            link.change(1.1e6)
            sending.stdin.write("\n")
            sending.stdin.flush()
            took_s, paused_s = map(float, sending.stdout.readline().split())
        finally:
            for end in (listening, sending):
                end.kill()
                end.wait()
    # 900 kB, of which the socket holds 200 kB at once, at 1.1 Mbit/s.
    assert took_s > 2.0
    assert paused_s < 0.5 < took_s / 3, (took_s, paused_s)
