"""A short one of ``bench/kill_series.py``, which says what has to hold."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.alone, pytest.mark.timeout(300)]


def test_two_kills_of_each_cost_no_frame(ros: RosWorld) -> None:
    from ros_world import ROOT

    # The last five results before the restart are judged. A frame takes up to half a second: after
    # 1.5 s at 10 frames/s all five were begun under the plan that the killed manager left.
    # In one run, since each start of all processes takes seconds.
    command = [sys.executable, "bench/kill_series.py", "--kills", "2", "--pause-s", "1.5"]
    command.append("--together")
    done = subprocess.run(
        [*command, "--domain", str(ros.domain_id)],
        cwd=ROOT,
        env=ros.env,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    found = figures["head+manager+edge"]
    assert found["kills"] == 2
    assert found["answered_twice"] == 0
    assert found["on_edge"] > 0
    # A frame that a newer one displaced on a busy machine is the only kind that may be dropped.
    assert set(found["drop_reasons"]) <= {"superseded by a newer frame"}
