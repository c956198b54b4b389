"""Who may import what: ROS only in nodes/, torch never in what the car runs all the time."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dapdee_ros"
ROS = {
    "rclpy",
    "cv_bridge",
    "std_msgs",
    "sensor_msgs",
    "diagnostic_msgs",
    "builtin_interfaces",
    "rcl_interfaces",
    "lifecycle_msgs",
    "dapdee_ros.msg",
}
# Launch files' shared part needs launch_ros, which is ROS, and nothing else may import it.
ROS_FILES = {"nodes", "launch_description.py"}
SMALL = ("planning", "estimation", "codecs", "report", "simulation", "core")
NOT_IN_CORE = {
    *("rclpy", "threading", "time", "socket", "torch", "networkx"),
    *(f"dapdee_ros.{name}" for name in ("nodes", "cli", "simulation", "testbed", "experiment")),
}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports_of(path: Path) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offends(name: str, forbidden: set[str]) -> bool:
    return any(name == word or name.startswith(f"{word}.") for word in forbidden)


def modules() -> list[Path]:
    return [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]


@pytest.mark.parametrize("path", modules(), ids=str)
def test_only_nodes_import_ros(path: Path) -> None:
    if path.parts[0] in ROS_FILES:
        return
    found = [name for name in imports_of(PACKAGE / path) if offends(name, ROS)]
    assert not found, f"{path} imports {found}: that belongs into nodes/"


@pytest.mark.parametrize("path", [p for p in modules() if p.parts[0] in SMALL], ids=str)
def test_the_planning_side_never_names_torch(path: Path) -> None:
    found = [n for n in imports_of(PACKAGE / path) if offends(n, {"torch", "torchvision"})]
    assert not found, f"{path} imports {found}: it runs on the car and must stay small"


@pytest.mark.parametrize("path", [p for p in modules() if p.parts[0] == "core"], ids=str)
def test_the_core_has_no_clock_no_thread_and_knows_no_driver(path: Path) -> None:
    found = [name for name in imports_of(PACKAGE / path) if offends(name, NOT_IN_CORE)]
    assert not found, f"{path} imports {found}: rules get the time passed in and return actions"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("manager", {"torch", "networkx", "matplotlib", "cv2", "scipy"}),
        ("load_monitor", {"torch", "networkx", "matplotlib", "cv2", "scipy"}),
        ("link_emulator", {"torch", "networkx", "matplotlib", "cv2", "scipy"}),
        ("camera", {"torch", "networkx", "matplotlib", "scipy"}),
        ("viewer", {"torch", "networkx", "matplotlib", "scipy"}),
    ],
)
def test_what_always_runs_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    pytest.importorskip("dapdee_ros.msg", reason="the messages are not built: make setup")
    code = (
        f"import dapdee_ros.nodes.{module}, sys; "
        f"print(*sorted(set({sorted(heavy)!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_planning_a_shipped_model_loads_no_torch() -> None:
    code = """
import sys
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
card = read_card(find_model("roadsigns"))
profile = DeviceProfile(card.model_id, "any", 1, {n.name: 1e-3 for n in card.dag.nodes}, "now")
table = CandidateTable.build(card.dag, profile, profile, exit_quality=card.exit_quality)
print(table.decide(Situation(car_and_edge(), (Hop(1e6),), 1.0)).exit_number)
print(*({"torch", "networkx", "cv2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    exit_number, loaded = done.stdout.split("\n")[:2]
    assert int(exit_number) >= 1
    assert loaded == ""


@pytest.mark.parametrize("path", modules(), ids=str)
def test_only_one_place_makes_timers(path: Path) -> None:
    if path == Path("nodes/timers.py"):
        return
    # A timer on a node's own clock stands still where that is set back.
    made = {"create_timer", "create_rate", "Timer", "Rate", "sleep_for", "sleep_until"}
    called = [node.func for node in nodes_of(PACKAGE / path) if isinstance(node, ast.Call)]
    names = [getattr(func, "attr", getattr(func, "id", "")) for func in called]
    assert not made & {*names}, f"{path} makes a timer: use every() of nodes/timers.py"


def test_a_head_loads_its_model_without_torchs_compiler() -> None:
    pytest.importorskip("torch")
    # Importing it takes 1.3 s of a desktop: a third of the time until a killed head drives again.
    code = """
import sys
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.model_folder import load_model
load_model(find_model("roadsigns"))
print(*({"torch._dynamo", "sympy", "matplotlib", "pandas"} & set(sys.modules)))
import torch._dynamo.utils
print(torch._dynamo.utils.is_compile_supported.__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", "torch._dynamo.utils"]
