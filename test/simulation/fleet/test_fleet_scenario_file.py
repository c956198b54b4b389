"""Scenarios of fleets as people write them."""

from pathlib import Path

import pytest

from dapdee_ros.simulation.fleet.scenario import Burst, CarGroup, FleetScenario, ServerGroup
from dapdee_ros.simulation.fleet.scenario_file import read_scenario, scenario_of
from dapdee_ros.simulation.scenario import ScenarioError


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("# nothing\n")
    assert read_scenario(path) == FleetScenario()


def test_a_file_says_everything(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "seconds: 30\ncells: 3\nservers:\n- {count: 1, slowdown: 2, down_s: [[5, 9], [20, 21]]}\n"
        "cars:\n- {count: 7, slowdown: [1, 2], codecs: [f32, u8], quality_weight_s: null,\n"
        "   bursts: [{at_s: 4, times: 3}]}\n- {model: roadsigns}\n"
    )
    found = read_scenario(path)
    assert found.servers == (
        ServerGroup(count=1, slowdown=(2.0, 2.0), down_s=((5.0, 9.0), (20.0, 21.0))),
    )
    assert found.cars == (
        CarGroup(
            count=7, slowdown=(1.0, 2.0), codecs=("f32", "u8"), quality_weight_s=None,
            bursts=(Burst(4.0, times=3.0),),
        ),
        CarGroup(model="roadsigns"),
    )  # fmt: skip
    assert (found.seconds, found.cells) == (30.0, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"car": 3}, "'car' is unknown; there are cars, servers"),
        ({"cars": [{"cuont": 3}]}, r"cars\[0\]: 'cuont' is unknown"),
        ({"cars": [{"count": 2.5}]}, "expected a whole number"),
        ({"cars": [{"slowdown": [1, 2, 3]}]}, "expected two numbers"),
        ({"cars": [{"rate_hz": "fast"}]}, "rate_hz is 'fast'; expected a number"),
        ({"cars": [{"rate_hz": -1}]}, r"cars\[0\]: rate_hz is -1"),
        ({"servers": [{"down_s": [[9, 5]]}]}, "pairs of times that rise"),
        ({"seconds": 0}, "scenario: seconds is 0"),
        ([], "expected keys with values"),
    ],
)
def test_mistakes_are_named_with_their_place(values: object, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scenario_of(values)


def test_what_is_no_yaml_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("cars: [\n")
    with pytest.raises(ScenarioError, match="is no YAML"):
        read_scenario(path)
