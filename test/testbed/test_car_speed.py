import pytest

from dapdee_ros.testbed.car_speed import CarTextError, parse_car


def test_the_named_cars_and_a_share() -> None:
    assert parse_car("pi4").quota == 0.1
    assert parse_car("PI3").quota == 0.05
    assert parse_car("quota:0.25").quota == 0.25
    assert parse_car("full").quota is None
    played = parse_car("played:20")
    assert (played.quota, played.emulated_slowdown) == (None, 20.0)


@pytest.mark.parametrize(
    "text", ["", "pi5", "quota", "quota:", "quota:0", "quota:2", "0.1", "played:0.5"]
)
def test_anything_else_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(CarTextError, match="pi4"):
        parse_car(text)
