import pytest

from dapdee_ros.testbed.car_speed import CarTextError, parse_car


def test_the_named_cars_and_a_share() -> None:
    assert parse_car("pi4").quota == 0.1
    assert parse_car("PI3").quota == 0.05
    assert parse_car("quota:0.25").quota == 0.25
    assert parse_car("full").quota is None
    emulated = parse_car("emulated:20")
    assert (emulated.quota, emulated.emulated_slowdown) == (None, 20.0)


def test_the_former_name_of_an_emulated_car_is_still_read() -> None:
    assert parse_car("played:20") == parse_car("emulated:20")


@pytest.mark.parametrize(
    "text",
    ["", "pi5", "quota", "quota:", "quota:0", "quota:2", "0.1", "emulated:0.5", "played:0.5"],
)
def test_anything_else_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(CarTextError, match="pi4"):
        parse_car(text)
