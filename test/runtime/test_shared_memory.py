import fcntl
import os
import time
from pathlib import Path

from dapdee_ros.runtime.shared_memory import clear_left_behind


def segment(folder: Path, number: int, age_s: float = 3600.0) -> Path:
    path = folder / f"fastrtps_{number:016x}"
    path.write_bytes(bytes(1000))
    lock = folder / f"{path.name}_el"
    lock.touch()
    then_s = time.time() - age_s
    os.utime(lock, (then_s, then_s))
    return path


def test_one_made_before_the_clock_was_set_back_is_old(tmp_path: Path) -> None:
    dead = segment(tmp_path, 1, age_s=-600.0)
    assert clear_left_behind(tmp_path) == 1000
    assert not dead.exists()


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    dead, held, young = segment(tmp_path, 1), segment(tmp_path, 2), segment(tmp_path, 3, age_s=1.0)
    port = tmp_path / "fastrtps_port7412"
    others = tmp_path / "fastrtps_of_somebody_else_el"
    port.touch()
    others.touch()
    with (tmp_path / f"{held.name}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert clear_left_behind(tmp_path) == 1000
        assert not dead.exists() and not dead.with_name(f"{dead.name}_el").exists()
        assert held.exists() and young.exists() and port.exists() and others.exists()
    assert clear_left_behind(tmp_path) == 1000  # its owner has ended
    assert not held.exists()
    assert clear_left_behind(tmp_path / "nowhere") == 0
