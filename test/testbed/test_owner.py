import subprocess
import sys
import time

from dapdee_ros.testbed.owner import is_abandoned, new_name

NAME_A_NEW_ONE = "from dapdee_ros.testbed.owner import new_name; print(new_name(), flush=True)"


def test_what_a_live_process_owns_is_not_abandoned() -> None:
    name = new_name()
    assert not is_abandoned(name)
    assert not is_abandoned(f"{name}-car")
    assert new_name() != name


def test_what_an_ended_process_owned_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NAME_A_NEW_ONE], capture_output=True, text=True, check=True
    )
    name = done.stdout.strip()
    assert is_abandoned(name)
    assert is_abandoned(f"{name}-edge")


def test_a_zombie_owns_nothing_any_more() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", NAME_A_NEW_ONE], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    name = process.stdout.read().strip()  # until it ends
    try:
        end_s = time.monotonic() + 5
        while not is_abandoned(name) and time.monotonic() < end_s:
            time.sleep(0.01)
        assert is_abandoned(name)
    finally:
        process.stdout.close()
        process.wait()


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    _, pid, start, count = new_name().split("-")
    assert is_abandoned(f"dapdee-{pid}-{int(start) + 1}-{count}")


def test_names_of_others_are_left_alone() -> None:
    for name in ("dapdee", "dapdee-1-2", "dapdee-probe-1", "x-dapdee-999999-1-1", "docker"):
        assert not is_abandoned(name)
