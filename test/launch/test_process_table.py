"""Which processes start, and with which parameters, without starting any."""

from __future__ import annotations

import pytest

from dapdee_ros.process_table import (
    CAR_ARGUMENTS,
    EDGE_ARGUMENTS,
    FLEET_ARGUMENTS,
    OF_EVERY_NODE,
    RELAYED,
    ROWS,
    Argument,
    ArgumentError,
    ProcessStart,
    car_side,
    edge_side,
    fleet_side,
)


def by_executable(starts: list[ProcessStart]) -> dict[str, ProcessStart]:
    return {start.row.executable: start for start in starts}


def defaults(arguments: tuple[Argument, ...]) -> dict[str, object]:
    return {argument.name: argument.read(argument.default) for argument in arguments}


def test_unless_told_otherwise_everything_but_picture_and_emulator_starts() -> None:
    starts = by_executable(car_side(defaults(CAR_ARGUMENTS)))
    assert set(starts) == {"head", "edge", "manager", "camera", "load_monitor"}
    assert all(start.remaps == {} for start in starts.values())
    # Whatever was not asked for is left to the parameter files.
    assert {name: start.parameters for name, start in starts.items() if start.parameters} == {
        "load_monitor": {"machine": "edge"}
    }


def test_without_the_edge_nothing_of_it_starts() -> None:
    starts = by_executable(car_side({**defaults(CAR_ARGUMENTS), "edge": False}))
    assert set(starts) == {"head", "manager", "camera"}


def test_behind_an_emulated_link_only_the_edge_is_renamed() -> None:
    starts = by_executable(car_side({**defaults(CAR_ARGUMENTS), "link": "4g"}))
    assert starts["link_emulator"].parameters == {"link": "4g", "far_prefix": "emulated"}
    far = {topic: f"emulated/{topic}" for topic in RELAYED}
    assert starts["edge"].remaps == starts["load_monitor"].remaps == far
    assert starts["head"].remaps == starts["manager"].remaps == {}
    alone = by_executable(edge_side({**defaults(EDGE_ARGUMENTS), "emulated_link": True}))
    assert alone == {name: starts[name] for name in ("edge", "load_monitor")}


def test_every_server_with_a_name_has_processes_of_its_own() -> None:
    (argument,) = (a for a in CAR_ARGUMENTS if a.name == "servers")
    values = {**defaults(CAR_ARGUMENTS), "servers": argument.read("edge1, edge2"), "link": "4g"}
    starts = {start.name: start for start in car_side(values)}
    assert len(starts) == len(car_side(values)) == 8
    for name in ("head", "manager", "link_emulator"):
        assert starts[name].parameters["servers"] == ["edge1", "edge2"]
    assert "servers" not in starts["camera"].parameters
    edge = starts["edge_edge2"]
    assert (edge.parameters, edge.node_name) == ({"server": "edge2"}, "edge_edge2")
    assert edge.remaps == {f"edge2/{topic}": f"edge2/emulated/{topic}" for topic in RELAYED}
    load = starts["load_monitor_edge2"]
    assert load.parameters == {"server": "edge2", "machine": "edge"}
    assert load.node_name == "edge_load_monitor_edge2"
    alone = edge_side({**defaults(EDGE_ARGUMENTS), "server": "edge2", "emulated_link": True})
    assert alone == [edge, load]


def test_a_fleet_node_starts_only_if_it_is_asked_for() -> None:
    (argument,) = (a for a in EDGE_ARGUMENTS if a.name == "fleet")
    starts = by_executable(edge_side({"fleet": argument.read("true"), "cars": ["car1", "car2"]}))
    assert starts["fleet"].parameters == {"cars": ["car1", "car2"]}
    assert by_executable(fleet_side({"cars": ["car1", "car2"]})) == {"fleet": starts["fleet"]}
    assert "fleet" not in by_executable(edge_side(defaults(EDGE_ARGUMENTS)))


def test_an_argument_reaches_all_that_take_it() -> None:
    starts = by_executable(car_side({"deadline_s": 0.2, "model": "other", "viewer": True}))
    for name in ("head", "manager", "viewer"):
        assert starts[name].parameters == {"model": "other", "deadline_s": 0.2}
    assert starts["camera"].parameters == {}


def test_one_switch_keeps_the_image_on_the_car() -> None:
    (argument,) = (a for a in CAR_ARGUMENTS if a.name == "keep_raw_on_car")
    starts = by_executable(car_side({"keep_raw_on_car": argument.read("true")}))
    for name in ("head", "manager"):
        assert starts[name].parameters == {"keep_raw_on_car": True}


def test_simulated_time_reaches_every_process() -> None:
    (argument,) = (a for a in CAR_ARGUMENTS if a.name == "use_sim_time")
    assert [argument.read(text) for text in ("true", "false", "")] == [True, False, None]
    starts = car_side({"use_sim_time": True, "viewer": True, "edge": True, "link": "4g"})
    starts += edge_side({"use_sim_time": True, "fleet": True})
    assert {start.row for start in starts} == {*ROWS}
    assert all(start.parameters["use_sim_time"] is True for start in starts)


def test_every_argument_is_described_and_taken() -> None:
    taken = {name for row in ROWS for name in row.takes} | {*OF_EVERY_NODE}
    for argument in (*CAR_ARGUMENTS, *EDGE_ARGUMENTS, *FLEET_ARGUMENTS):
        assert argument.description.endswith("."), argument.name
        assert (argument.name in taken) == argument.of_parameter
        argument.read(argument.default)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("deadline_s", "soon", "a number"),
        ("threads", "1.5", "a whole number"),
        ("edge", "yes", "true, false"),
        ("source", "film", "roadsigns"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, text: str, expected: str) -> None:
    (argument,) = (a for a in CAR_ARGUMENTS if a.name == name)
    with pytest.raises(ArgumentError, match=f"{name} is '{text}', expected .*{expected}"):
        argument.read(text)
