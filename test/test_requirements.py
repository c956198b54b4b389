"""Every package that requirements/ leads to is pinned, and what is installed is what is pinned."""

import importlib.metadata
import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FILES = ROOT / "requirements"
RUNTIME = [FILES / f"{name}.txt" for name in ("car", "runtime", "train", "dev")]
PINNED = [*RUNTIME, FILES / "ray.txt"]
# A ROS 2 distribution's system brings these (Ubuntu 24.04): a pin would put a second copy
# beside them.
BY_SYSTEM = {"numpy", "psutil", "pillow", "tqdm", "matplotlib", "pyyaml", "setuptools"}
BY_SYSTEM |= {"cryptography"}


def lines_of(path: Path) -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def pins_of(path: Path) -> dict[str, str]:
    """Version by canonical package name, of the pins that hold for this Python."""
    pins: dict[str, str] = {}
    for pin in lines_of(path):
        if pin.marker is None or pin.marker.evaluate():
            (version,) = pin.specifier
            assert version.operator == "==", f"{path.name}: {pin} pins no version"
            pins[canonicalize_name(pin.name)] = version.version
    return pins


def names_of(*files: str) -> set[str]:
    return {canonicalize_name(r.name) for name in files for r in lines_of(FILES / f"{name}.txt")}


def test_an_installation_without_ros_has_what_requirements_say() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert needed == names_of("car", "runtime")
    extras = project["optional-dependencies"]
    for name in ("train", "ray"):
        extra = {canonicalize_name(Requirement(text).name) for text in extras[name]}
        assert extra == names_of(name)
    assert not names_of("car") & names_of("train", "ray", "dev")


def test_what_only_reinforcement_learning_needs_is_pinned_by_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [Requirement(text) for text in project["optional-dependencies"]["rl"]]
    needed: dict[str, Requirement] = {canonicalize_name(one.name): one for one in extra}
    pins = pins_of(FILES / "rl.txt")
    assert {*needed} <= {*pins} | names_of("train")
    assert all(Version(pins[name]) in needed[name].specifier for name in {*pins} & {*needed})
    assert not {*pins} & names_of("car", "runtime", "train", "dev")


def test_every_requirement_without_ros_is_pinned() -> None:
    pins = pins_of(FILES / "constraints.txt")
    wanted = [r for file in [FILES / "ros-wheels.txt", *PINNED] for r in lines_of(file)]
    missing = [r.name for r in wanted if canonicalize_name(r.name) not in pins]
    assert not missing, f"not pinned: {missing}; run `make pins`"
    for requirement in wanted:
        pinned = pins[canonicalize_name(requirement.name)]
        assert Version(pinned) in requirement.specifier, f"{requirement}: pinned at {pinned}"


def test_beside_ros_everything_is_pinned_but_what_the_system_brings() -> None:
    pins = pins_of(FILES / "constraints-ros.txt")
    names = {canonicalize_name(r.name) for file in PINNED for r in lines_of(file)}
    assert names - set(pins) <= BY_SYSTEM, f"not pinned: {names - set(pins) - BY_SYSTEM}"
    assert not set(pins) & BY_SYSTEM


def test_this_environment_holds_exactly_what_is_pinned() -> None:
    """Walks the packages' own metadata from requirements/ on: whatever is reached has a pin."""
    mode = Path(os.environ.get("VIRTUAL_ENV", "")) / "dapdee-mode"
    if not mode.is_file() or mode.read_text(encoding="utf-8").strip() != "wheels":
        pytest.skip("not an environment that tools/setup.sh made without a ROS installation")
    pins = pins_of(FILES / "constraints.txt")
    queue = [r for file in [FILES / "ros-wheels.txt", *RUNTIME] for r in lines_of(file)]
    seen: set[str] = set()
    wrong = []
    while queue:
        requirement = queue.pop()
        key = str(requirement)
        if key in seen:
            continue
        seen.add(key)
        name = canonicalize_name(requirement.name)
        distribution = importlib.metadata.distribution(requirement.name)
        if pins.get(name) != Version(distribution.version).public:
            wrong.append(f"{name} is {distribution.version}, pinned {pins.get(name, 'nowhere')}")
        for text in distribution.requires or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                queue.append(needed)
    assert not wrong, f"run `make setup`, or `make pins` after a change: {sorted(set(wrong))}"
    assert len(seen) > 100, "the walk ended early: the ROS wheels alone are more"
