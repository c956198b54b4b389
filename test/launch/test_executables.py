"""Every executable as a process: its parameters against the files in config/, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import yaml
from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from ros_world import ROOT, DomainLease, Program, RosWorld
from services import ask

from dapdee_ros.process_table import ROWS

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

START_S = 60.0
NODES = {row.executable: row.nodes for row in ROWS if row.name is None} | {
    "partition_manager": ("partition_manager",),
    "link_monitor": ("link_monitor",),
    "load_monitor": ("load_monitor",),
    "run_recorder": ("run_recorder",),
}
NO_NODE = {"dapdee"}
SETTINGS: dict[str, dict[str, Any]] = {
    # The model is loaded by the tests of the lifecycle; here it would only take time.
    "head": {"autostart": False},
    "edge": {"autostart": False},
    "viewer": {"http_port": 0},
    "load_monitor": {"machine": "edge"},
}
OTHERWISE_UNSET = {"viewer": {"model"}}
"""What the files set on purpose and a node started alone leaves out."""
OF_RCLPY = {"use_sim_time", "start_type_description_service"}
TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    list: ParameterType.PARAMETER_STRING_ARRAY,
}


@dataclass
class Started:
    """All executables, running, and what their nodes say of their parameters."""

    programs: dict[str, Program]
    descriptors: dict[tuple[str, str], dict[str, ParameterDescriptor]]
    values: dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("executables")
    lease = DomainLease()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(lease.domain_id))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(folder))
        patch.setenv("ROS_HOME", str(folder))
        world = RosWorld(lease.domain_id, folder)
        try:
            yield _start(world, folder)
        finally:
            world.close()
            lease.close()


def _start(world: RosWorld, folder: Any) -> Started:
    programs = {}
    for executable in NODES:
        settings = dict(SETTINGS.get(executable, {}))
        if executable == "run_recorder":
            settings["path"] = str(folder / "run.json")
        # Each in a namespace of its own: several of them hold nodes of the same name.
        space = f"__ns:=/of_{executable}"
        programs[executable] = world.start(executable, settings, "-r", space, usual=False)
    asking = world.node("asking")
    result = Started(programs, {}, {})
    for executable, names in NODES.items():
        for name in names:
            client = AsyncParameterClient(asking, f"/of_{executable}/{name}")
            world.spin_until(client.services_are_ready, START_S, f"{executable}: {name}")
            parameters = sorted(ask(world, client.list_parameters).result.names)
            described = ask(world, partial(client.describe_parameters, parameters))
            got = ask(world, partial(client.get_parameters, parameters))
            key = (executable, name)
            result.descriptors[key] = {d.name: d for d in described.descriptors}
            result.values[key] = {
                parameter: parameter_value_to_python(value)
                for parameter, value in zip(parameters, got.values, strict=True)
            }
    return result


def test_every_executable_is_tried_here() -> None:
    assert {path.name for path in (ROOT / "scripts").iterdir()} == set(NODES) | NO_NODE


@pytest.mark.parametrize("executable", NODES)
def test_every_parameter_is_described(started: Started, executable: str) -> None:
    for name in NODES[executable]:
        descriptors = started.descriptors[executable, name]
        assert set(descriptors) > OF_RCLPY
        mute = [parameter for parameter, d in descriptors.items() if not d.description]
        assert not mute, f"{name} has parameters without a description: {mute}"


def sections() -> list[tuple[str, str]]:
    return [
        (path.stem, key.removeprefix("/**/"))
        for path in sorted((ROOT / "config").glob("*.yaml"))
        for key in yaml.safe_load(path.read_text())
    ]


@pytest.mark.parametrize(("file", "name"), sections())
def test_what_a_parameter_file_says_is_what_the_node_has(
    started: Started, file: str, name: str
) -> None:
    (row,) = (row for row in ROWS if (row.config or row.executable) == file and name in row.nodes)
    key = (row.executable, "load_monitor" if row.name else name)
    section = yaml.safe_load((ROOT / "config" / f"{file}.yaml").read_text())[f"/**/{name}"]
    other = {*SETTINGS.get(row.executable, {}), *dict(row.fixed), *OTHERWISE_UNSET.get(name, ())}
    for parameter, value in section["ros__parameters"].items():
        assert parameter in started.descriptors[key], f"{name} has no parameter {parameter}"
        wanted = started.descriptors[key][parameter].type
        assert TYPES[type(value)] == wanted, f"{parameter} of {name} is of another type"
        # A file that repeats an old default would have launch run what nothing else runs.
        if parameter not in other:
            assert value == started.values[key][parameter], f"default of {parameter} of {name}"


@pytest.mark.parametrize(("file", "name"), sections())
def test_a_parameter_file_leaves_nothing_out(started: Started, file: str, name: str) -> None:
    (row,) = (row for row in ROWS if (row.config or row.executable) == file and name in row.nodes)
    section = yaml.safe_load((ROOT / "config" / f"{file}.yaml").read_text())[f"/**/{name}"]
    has = set(started.descriptors[row.executable, "load_monitor" if row.name else name])
    missing = has - set(section["ros__parameters"]) - OF_RCLPY - {key for key, _ in row.fixed}
    assert not missing, f"config/{file}.yaml, section {name}: add {sorted(missing)}"


def test_every_process_has_a_parameter_file() -> None:
    wanted = {(row.config or row.executable, name) for row in ROWS for name in row.nodes}
    assert set(sections()) == wanted


@pytest.mark.parametrize("executable", NODES)
def test_ends_in_order_when_interrupted(started: Started, executable: str) -> None:
    program = started.programs[executable]
    # Twice, as impatient people do it.
    program.process.send_signal(signal.SIGINT)
    assert program.stop(20.0) == 0, program.output()
    assert "Traceback" not in program.output()


def test_a_wrong_command_line_is_answered_in_words() -> None:
    cases = {
        ("head", "threads:=1"): (2, "unexpected threads:=1; a node's arguments follow --ros-args"),
        ("camera", "--ros-args", "-p", "rate_hz:=5"): (2, "expected a value such as 10.0"),
        ("edge", "--ros-args", "-p", "threads:=1000"): (2, "Min: 0, Max: 256"),
        ("camera", "--ros-args", "--params-file", "none.yaml"): (2, "none.yaml"),
        ("manager", "--help"): (0, "usage: manager [--ros-args]"),
    }
    running = {
        arguments: subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / arguments[0]), *arguments[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments in cases
    }
    for arguments, (status, words) in cases.items():
        output, _ = running[arguments].communicate(timeout=START_S)
        assert words in output and "Traceback" not in output, output
        assert running[arguments].returncode == status
