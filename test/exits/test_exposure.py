"""What attacks measured: the bounds that follow from it, and its file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dapdee_ros.exits.card import ModelFolderError, find_model, read_card
from dapdee_ros.exits.exposure import (
    NOT_ATTACKED,
    PRIVACY_FILE,
    THE_IMAGE,
    UNMEASURED,
    Attack,
    ExposureError,
    Exposures,
    allowed_exposure,
)
from dapdee_ros.graph.dag import ModelDag, Node


def chain() -> ModelDag:
    """image -> wide -> a -> (b, c) -> d; wide may hold all of the image."""

    def node(name: str, inputs: tuple[str, ...], values: int, dtype: str = "float32") -> Node:
        return Node(name, "op", inputs, (1, values), dtype, 4 * values, 1)

    return ModelDag(
        (
            node("image", (), 100, "uint8"),
            node("wide", ("image",), 200),
            node("a", ("wide",), 50),
            node("b", ("a",), 40),
            node("c", ("a",), 40),
            node("d", ("b", "c"), 10),
        ),
        (("d",),),
    )


def attacks(*found: tuple[str, str, float]) -> Exposures:
    return Exposures(
        tuple(
            Attack(tuple(names.split("+")), codec, 20.0, ssim, "1" * 16 if "@" in codec else "")
            for names, codec, ssim in found
        )
    )


def test_what_was_attacked_bounds_all_that_is_computed_from_it() -> None:
    dag = chain()
    found = attacks(("a", "f32", 0.6), ("b", "f32", 0.5), ("c", "u4z", 0.3), ("wide", "f32", 0.2))
    assert found.of(dag, ["a"], "f32") == 0.6
    # Coding can only lose, and so can computing on.
    assert found.of(dag, ["a"], "u4z") == found.of(dag, ["d"], "u8") == 0.6
    assert found.of(dag, ["c", "b"], "f32") == 0.6
    assert found.of(dag, ["b"], "f32") == 0.5
    assert found.of(dag, ["c"], "u4z") == 0.3
    # What was measured of one codec says nothing about another one.
    assert found.of(dag, ["c"], "u8z") == 0.6
    assert found.of(dag, [], "f32") == 0.0
    # What may hold all of the image counts as the image, whatever a weak attack made of it.
    assert found.of(dag, ["wide"], "f32") == found.of(dag, ["image"], "jpeg") == THE_IMAGE


def test_a_weak_attack_is_no_bound_on_what_a_better_one_restored_behind_it() -> None:
    dag = chain()
    found = attacks(("a", "f32", 0.2), ("b", "u8z", 0.7))
    assert found.of(dag, ["b"], "u8z") == found.of(dag, ["a"], "f32") == 0.7
    assert found.of(dag, ["c"], "f32") == 0.7


def test_a_part_of_what_crosses_bounds_nothing() -> None:
    found = attacks(("b", "f32", 0.2))
    assert found.of(chain(), ["b", "c"], "f32") == UNMEASURED
    assert found.of(chain(), ["d"], "f32") == UNMEASURED
    assert NOT_ATTACKED.of(chain(), ["d"], "f32") == UNMEASURED


def test_a_bottleneck_is_judged_by_its_latent() -> None:
    dag = chain()
    found = attacks(("wide", "w@1", 0.4), ("a", "f32", 0.3), ("a", "x@2", 0.5))
    assert found.of(dag, ["wide"], "w@1") == 0.4
    assert found.of(dag, ["wide"], "w@2") == THE_IMAGE
    # The latent is computed from the boundary, which gives away at least as much.
    assert found.of(dag, ["a"], "x@2") == found.of(dag, ["a"], "f32") == 0.5
    assert attacks(("a", "x@2", 0.5)).of(dag, ["a"], "x@1") == UNMEASURED


def test_the_bound_that_a_plan_may_reach() -> None:
    assert NOT_ATTACKED.of(chain(), ["image"], "f32") <= allowed_exposure(False, 0.3)
    assert UNMEASURED <= allowed_exposure(True, 1.0) < THE_IMAGE
    assert allowed_exposure(True, 0.3) == 0.3


@pytest.mark.parametrize("ssim", [1.2, -1.1, float("nan")])
def test_numbers_that_cannot_be_are_refused(ssim: float) -> None:
    with pytest.raises(ExposureError, match="no such numbers"):
        Attack(("a",), "f32", 20.0, ssim)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder of one's own."""
    return Path(shutil.copytree(find_model("roadsigns"), tmp_path / "roadsigns"))


def test_a_file_of_attacks_is_part_of_the_card(folder: Path) -> None:
    card = read_card(folder)
    assert card.exposures == NOT_ATTACKED
    name = card.dag.nodes[-3].name
    found = attacks((name, "f32", 0.25), (name, "gone@1", 0.1))
    (folder / PRIVACY_FILE).write_text(json.dumps(found.to_dict(card.model_id)))
    # There is no such bottleneck any more: what was found about it does not count.
    assert read_card(folder).exposures.attacks == found.attacks[:1]


def test_a_foreign_or_torn_file_is_named(folder: Path) -> None:
    card = read_card(folder)
    path = folder / PRIVACY_FILE
    good = attacks((card.dag.nodes[-3].name, "f32", 0.25)).to_dict(card.model_id)
    bad = [
        good | {"model_id": "0" * 16},
        good | {"format": 9},
        good | {"attacks": 7},
        good | {"attacks": [{"boundary": ["nowhere"], "codec": "f32", "psnr_db": 1, "ssim": 0}]},
        good | {"attacks": [{**good["attacks"][0], "ssim": float("nan")}]},
        good | {"attacks": good["attacks"] * 2001},
        {},
    ]
    for values in bad:
        path.write_text(json.dumps(values))
        with pytest.raises(ModelFolderError, match=r"privacy\.json.*dapdee privacy"):
            read_card(folder)
    path.write_text(" " * (3 << 20))
    with pytest.raises(ModelFolderError, match="larger than"):
        read_card(folder)
    assert read_card(folder, with_calibration=False).exposures == NOT_ATTACKED
