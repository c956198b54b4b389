import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dapdee_ros.testbed.cpu_quota import (
    CpuGroups,
    CpuQuotaError,
    Hierarchy,
    find_hierarchy,
    quota_us,
)
from dapdee_ros.testbed.enter import entering
from dapdee_ros.testbed.owner import new_name

BURN = """
import time
start_s, until_s = time.monotonic(), time.process_time() + 0.1
while time.process_time() < until_s:
    pass
print(time.monotonic() - start_s)
"""


@pytest.fixture
def groups() -> CpuGroups:
    try:
        return CpuGroups(new_name())
    except CpuQuotaError as error:
        pytest.skip(str(error))


def test_quotas_have_a_short_period_unless_they_are_tiny() -> None:
    assert quota_us(0.1) == (1_000, 10_000)
    assert quota_us(1.0) == (10_000, 10_000)
    # The kernel takes no less than 1 ms a period.
    assert quota_us(0.05) == (1_000, 20_000)
    with pytest.raises(ValueError, match="at least"):
        quota_us(0.0)


def test_the_cpu_controller_is_found_in_either_version(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    v1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n"
    v2 = f"cgroup2 {tmp_path} cgroup2 rw,nosuid 0 0\n"
    others = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
    assert find_hierarchy(others + v1) == Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), 1)
    assert find_hierarchy(others + v2) == Hierarchy(tmp_path, 2)
    # With both mounted the controller is where v1 has it.
    assert find_hierarchy(v2 + v1).version == 1
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    with pytest.raises(CpuQuotaError, match="no CPU groups"):
        find_hierarchy(others + v2)


def test_version_two_is_written_as_its_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "cgroup.subtree_control").write_text("")
    # An ordinary folder takes the files that the kernel would make in a new group.
    groups = CpuGroups.__new__(CpuGroups)
    groups._hierarchy = Hierarchy(tmp_path, 2)
    groups._folder = tmp_path / "all"
    groups.make("head", 0.1)
    assert (tmp_path / "all" / "head" / "cpu.max").read_text() == "1000 10000"
    groups.limit("head", None)
    assert (tmp_path / "all" / "head" / "cpu.max").read_text() == "max"


@pytest.mark.alone
@pytest.mark.root
def test_a_quota_slows_its_process_down_and_can_be_lifted(groups: CpuGroups) -> None:
    try:
        procs = groups.make("slow", 0.1)
        command = entering([sys.executable, "-S", "-c", BURN], groups=[procs])
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        # 0.1 s of processor time at a tenth of a core; never quicker, whatever else runs here.
        assert float(done.stdout) > 0.8
        assert groups.throttled_s("slow") > 0.4
        groups.limit("slow", None)
        throttled_s = groups.throttled_s("slow")
        subprocess.run(command, capture_output=True, check=True)
        assert groups.throttled_s("slow") == throttled_s
    finally:
        groups.close()


@pytest.mark.root
def test_closing_kills_what_is_inside_and_nothing_else(groups: CpuGroups) -> None:
    sleep = ["sleep", "60"]
    inside = subprocess.Popen(entering(sleep, groups=[groups.make("a")]))
    outside = subprocess.Popen(sleep)
    try:
        time.sleep(0.3)
        groups.close()
        assert inside.wait(5) == -9
        assert outside.poll() is None
        assert not groups._folder.exists()
        groups.close()
    finally:
        for process in (inside, outside):
            process.kill()
            process.wait()
    assert os.getpid() > 0
