import pytest

from dapdee_ros.exits.image_input import InputSpec


def test_options_survive_json_and_are_usual_where_absent() -> None:
    spec = InputSpec((4, 6), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "letterbox", "bgr", 1.0, 114)
    assert InputSpec.from_dict(spec.to_dict()) == spec
    usual = InputSpec.from_dict({"size": [4, 6], "mean": [0, 0, 0], "std": [1, 1, 1]})
    assert usual == InputSpec((4, 6), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert (usual.resize, usual.colour, usual.scale) == ("stretch", "rgb", 1 / 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [0, 6]}, "size must be a height and a width of 1 to"),
        ({"size": [4, 6, 3]}, "size must be"),
        ({"mean": [0, 0]}, "mean must be 3 finite numbers"),
        ({"mean": [0, 0, "nan"]}, "mean must be 3 finite numbers"),
        ({"std": [1, 1, 0]}, "std must be 3 positive numbers"),
        ({"std": [1, 1, float("inf")]}, "std must be 3 positive numbers"),
        ({"resize": "crop"}, r"resize must be one of \['stretch', .*\], got 'crop'"),
        ({"colour": "yuv"}, "colour must be one of"),
        ({"scale": 0}, "scale must be a positive number"),
        ({"pad_value": 256}, "pad_value must be a byte"),
        ({"crop": 3}, r"options \['crop'\], known are"),
    ],
)
def test_what_makes_no_sense_is_named(change: dict[str, object], message: str) -> None:
    values = {"size": [4, 6], "mean": [0, 0, 0], "std": [1, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        InputSpec.from_dict(values)
