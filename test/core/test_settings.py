"""Settings: what they may be, and that they say so themselves."""

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest

from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import SettingError, changed, check_settings, setting, settings_of


@dataclass(frozen=True)
class Example:
    wait_s: float = setting(0.3, "Longest wait.", unit="s", bounds=(0.0, 10.0), live=True)
    count: int = setting(4, "How many.", bounds=(1, 16))
    mode: str = setting("auto", "How.", choices=("auto", "never"))
    names: tuple[str, ...] = setting(("a", "b"), "Which.")
    on: bool = setting(True, "Whether.")
    plain: int = 0

    def __post_init__(self) -> None:
        check_settings(self)


def test_only_fields_that_are_settings_are_listed() -> None:
    assert [s.name for s in settings_of(Example)] == ["wait_s", "count", "mode", "names", "on"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("wait_s", 11.0, "wait_s is 11.0 s; expected 0 to 10 s"),
        ("wait_s", float("nan"), "wait_s is nan s; expected 0 to 10 s"),
        ("wait_s", "soon", "wait_s is 'soon'; expected 0 to 10 s"),
        ("wait_s", True, "wait_s is True s; expected 0 to 10 s"),
        ("count", 2.5, "count is 2.5; expected a whole number from 1 to 16"),
        ("count", 17, "count is 17; expected a whole number from 1 to 16"),
        ("mode", "often", "mode is 'often'; expected one of auto, never"),
        ("names", "ab", "names is 'ab'; expected a list of texts"),
        ("on", 1, "on is 1; expected true or false"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(SettingError) as error:
        changed(Example(), {name: value})
    assert str(error.value) == message


def test_values_become_what_the_setting_is() -> None:
    example = changed(Example(), {"wait_s": 1, "names": ["c"], "unknown": 3})
    assert example == Example(wait_s=1.0, names=("c",))
    assert type(example.wait_s) is float
    with pytest.raises(FrozenInstanceError):
        example.wait_s = 2.0  # type: ignore[misc]


def test_the_head_has_the_managers_deadline_and_window_before_its_first_plan() -> None:
    of_manager = {s.name: s for s in settings_of(PlanningSettings)}
    for one in settings_of(HeadSettings):
        if one.name in of_manager:
            like = of_manager[one.name]
            assert (one.default, one.bounds) == (like.default, like.bounds)
    with pytest.raises(SettingError, match="max_in_flight is 0; expected a whole number from 1"):
        replace(HeadSettings(), max_in_flight=0)
