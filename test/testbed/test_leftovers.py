"""What a killed testbed leaves: its processes end with it, the next run removes the rest."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dapdee_ros.testbed.cpu_quota import CpuGroups, CpuQuotaError
from dapdee_ros.testbed.enter import NAMESPACES
from dapdee_ros.testbed.leftovers import remove_leftovers
from dapdee_ros.testbed.owner import new_name
from dapdee_ros.testbed.veth_link import VethLink

pytestmark = [pytest.mark.netns, pytest.mark.alone, pytest.mark.usefixtures("namespaces")]

# A process that stays in the namespace on its own shows what happens to those that death signals
# do not reach: children of the testbed's children.
OWNER = """
import subprocess, sys, time
from dapdee_ros.testbed.cpu_quota import CpuGroups
from dapdee_ros.testbed.owner import new_name
from dapdee_ros.testbed.veth_link import VethLink
name = new_name()
groups = CpuGroups(name)
link = VethLink(1e6, name=name).__enter__()
group = [groups.make("head", 0.5)]
child = subprocess.Popen(link.inside("car", ["sleep", "300"], group))
orphan = subprocess.Popen(
    link.inside("car", ["sh", "-c", "sleep 300 & echo $!; wait"], group), stdout=subprocess.PIPE
)
print(name, child.pid, orphan.stdout.readline().decode().strip(), flush=True)
time.sleep(300)
"""


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def test_kill_9_leaves_nothing_for_long_and_live_ones_alone() -> None:
    try:
        CpuGroups(new_name()).close()
    except CpuQuotaError as error:
        pytest.skip(str(error))
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with VethLink(1e6) as alive:
        try:
            name, child, orphan = owner.stdout.readline().split()
            assert (NAMESPACES / f"{name}-car").exists()
            assert not {name, f"{name}-car"} & set(remove_leftovers())
            assert is_running(int(child))
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            end_s = time.monotonic() + 5
            while is_running(int(child)) and time.monotonic() < end_s:
                time.sleep(0.02)
            # At once, without anybody's help.
            assert not is_running(int(child))
            assert is_running(int(orphan))
            assert {name, f"{name}-car", f"{name}-edge"} <= set(remove_leftovers())
            assert not is_running(int(orphan))
            assert not (NAMESPACES / f"{name}-car").exists()
            assert all((NAMESPACES / n).exists() for n in alive.names.values())
        finally:
            owner.kill()
            owner.wait()
            owner.stdout.close()
            remove_leftovers()
