"""Bottleneck files of a model folder: what is wrong with one is named, with the file and a cure."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.bottleneck_maker import description, network, with_description

from dapdee_ros.codecs import CodecError
from dapdee_ros.codecs.bottleneck.file import FOLDER, KEY, BottleneckError
from dapdee_ros.codecs.bottleneck.metadata import onnx_metadata
from dapdee_ros.exits.bottlenecks import asked_codecs, model_codecs
from dapdee_ros.exits.card import ModelFolderError, find_model, read_card
from dapdee_ros.exits.model_folder_writer import write_model_folder
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.runtime.bottleneck_codec import bottleneck_codecs

POOL = "backbone.stage2.pool"
SHAPE = (1, 48, 8, 8)
MODEL_ID = read_card(find_model("roadsigns")).model_id
Change = Callable[[dict[str, Any]], None]


def parts() -> tuple[onnx.ModelProto, dict[str, Any]]:
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(6, 48)).astype(np.float32)
    latents = rng.normal(size=(4, 6, 8, 8)).astype(np.float32)
    values = description("pool", MODEL_ID, [POOL], latents, [(2, 1.0), (4, 0.5), (6, 0.2)])
    values["losses"] = {
        "frames": 10,
        "tensors": {
            f"pool@{n}": {POOL: [30.0 * n, 0.1, 0.1, {"5": [4 - n, 0]}]} for n in (1, 2, 3)
        },
        "quantiles": {"pool@1": [20, 25, 30, 35, 40]},
    }
    return network({POOL: SHAPE}, np.zeros(48, np.float32), axes), values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "roadsigns"
    shutil.copytree(find_model("roadsigns"), place)
    shutil.rmtree(place / FOLDER, ignore_errors=True)
    (place / FOLDER).mkdir()
    return place


def put(folder: Path, content: bytes, name: str = "pool") -> Path:
    path = folder / FOLDER / f"{name}.onnx"
    path.write_bytes(content)
    return path


def test_a_good_file_brings_its_codecs(folder: Path) -> None:
    put(folder, with_description(*parts()))
    card = read_card(folder)
    (found,) = card.bottlenecks
    assert found.file.codecs == ("pool@1", "pool@2", "pool@3")
    assert found.losses.loss("pool@1", POOL, 5) == 0.3
    assert found.losses.loss("pool@3", POOL, 5) == 0.0
    assert found.quantiles == {"pool@1": (20, 25, 30, 35, 40)}
    assert asked_codecs(card, ["bottlenecks"]) == found.file.codecs
    assert asked_codecs(card, ["f32", "pool@2", "f32"]) == ("f32", "pool@2")
    assert {"camera", "u8z", "pool@3"} <= set(model_codecs(card))
    assert set(asked_codecs(card, ["all"])) == set(model_codecs(card)) - {"camera"}
    with pytest.raises(CodecError, match="no bottleneck's point 'pool@4'; it has pool@1"):
        asked_codecs(card, ["pool@4"])
    with pytest.raises(CodecError, match="there is no codec 'zip'; known"):
        asked_codecs(card, ["zip"])
    assert set(bottleneck_codecs(card, load_runnable(folder).engine)) == set(found.file.codecs)


def test_metadata_are_those_that_onnx_reads() -> None:
    model, values = parts()
    content = with_description(model, values)
    read = {p.key: p.value for p in onnx.load_model_from_string(content).metadata_props}
    assert onnx_metadata(content) == read
    assert json.loads(read[KEY]) == values


def named(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What the warning says with which a model is read without its bottleneck."""
    caplog.clear()
    assert read_card(folder).bottlenecks == ()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    return str(record.getMessage())


def test_the_others_are_there_all_the_same(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, values = parts()
    put(folder, with_description(model, values))
    torn = put(folder, b"torn", "late")
    foreign = put(
        folder, with_description(model, {**values, "name": "far", "model_id": "0"}), "far"
    )
    # A draft of a file that is being written is no bottleneck yet, and none to warn about.
    draft = put(folder, b"half a fi", ".4711.new")
    assert [of.file.name for of in read_card(folder).bottlenecks] == ["pool"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and str(foreign) in told[0] and str(torn) in told[1]
    assert draft.exists()


def test_a_torn_file_is_named_wherever_it_ends(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = with_description(*parts())
    for length in (0, 1, 7, len(content) // 2, len(content) - 1):
        path = put(folder, content[:length])
        assert str(path) in named(folder, caplog)
    put(folder, b"no ONNX file at all, but some text that anybody may have written")
    said = named(folder, caplog)
    assert re.search(r"pool\.onnx: torn, or no ONNX file.*train it again", said)


def set_to(*keys: Any) -> Change:
    """Set the entry that the keys lead to; the last is its value."""

    def change(values: dict[str, Any]) -> None:
        at: Any = values
        for key in keys[:-2]:
            at = at[key]
        at[keys[-2]] = keys[-1]

    return change


def removed(key: str) -> Change:
    return lambda values: values.pop(key)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (set_to("format", 2), "format 2, this version reads 1"),
        (set_to("model_id", "0" * 16), "was trained for model 0000000000000000, the model here"),
        (set_to("name", "other"), "its name is 'other'"),
        (set_to("boundary", [POOL, POOL]), "each once"),
        (set_to("boundary", []), "expected tensors"),
        (set_to("boundary", ["nothing.of.that.name"]), "expected tensors of the model"),
        (set_to("boundary", [POOL, "backbone.stage1.pool"]), "in their order"),
        (set_to("latent_shape", [1, 0, 8, 8]), "the latent has shape"),
        (set_to("latent_shape", [1, 2**12, 2**12, 8]), "the latent has shape"),
        (set_to("latent_shape", [1, 6, 8]), "ValueError"),
        (set_to("latent_shape", [2, 6, 8, 8]), "the latent has shape"),
        (set_to("latent_shape", [1, 3, 8, 8]), "sends 4 channels of a latent of 3"),
        (set_to("points", []), "0 operating points"),
        (set_to("points", 0, "step", 0.0), "step 0.0, expected a positive number"),
        (set_to("points", 0, "step", -1.0), "step -1.0"),
        (set_to("points", 0, "step", math.nan), "NaN is no number"),
        (set_to("points", 0, "step", 1e400), "Infinity is no number"),
        (set_to("points", 0, "channels", 3), "2 priors for 3 channels"),
        (set_to("points", 1, "prior", 0, 1, 5), "point 2: .* add up to"),
        (set_to("points", 1, "prior", 0, [0]), "lowest symbol and frequencies"),
        (set_to("points", 1, "prior", 0, [0, 0, 65536]), "each at least 1"),
        (set_to("points", 1, "prior", 0, [0, 10**30]), "point 2"),
        (set_to("points", 1, "prior", 0, [0, 65536.0]), "whole numbers"),
        (set_to("points", 1, "prior", 0, [-128, 65536]), "symbols -128 to -128, expected -127"),
        (set_to("points", 1, "prior", 0, []), "lowest symbol and frequencies"),
        (set_to("points", 0, "prior", None), "TypeError"),
        (set_to("losses", "tensors", {"pool@9": {POOL: [1, 0, 0, {}]}}), "losses of 'pool@9'"),
        (set_to("losses", "tensors", {"pool@1": {"image": [1, 0, 0, {}]}}), "at 'backbone"),
        (set_to("losses", "tensors", "pool@1", POOL, [1, 0, 0, {"9": [0, 0]}]), "exits \\[9\\]"),
        (set_to("losses", "tensors", "pool@1", POOL, [-1, 0, 0, {}]), "sizes and times"),
        (set_to("losses", "quantiles", "pool@1", [5, 4, 3, 2, 1]), "rising"),
        (set_to("losses", "quantiles", "pool@1", [5]), "rising"),
        (removed("model_id"), "KeyError"),
        (removed("losses"), "KeyError"),
    ],
)
def test_a_wrong_description_is_named(
    folder: Path, caplog: pytest.LogCaptureFixture, change: Change, why: str
) -> None:
    model, values = parts()
    change(values)
    path = put(folder, with_description(model, values))
    said = named(folder, caplog)
    assert re.search(why, said) and str(path) in said


def test_a_file_without_a_description_and_one_of_nonsense_are_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = parts()
    put(folder, model.SerializeToString())
    assert "without dapdee_bottleneck in its metadata" in named(folder, caplog)
    for text in ("", "[]", "null", "[" * 100_000, '"x"'):
        del model.metadata_props[:]
        model.metadata_props.add(key=KEY, value=text)
        put(folder, model.SerializeToString())
        assert "missing or of the wrong kind" in named(folder, caplog)


def wrong_networks() -> dict[str, tuple[Callable[[onnx.ModelProto], None], str]]:
    def rename_output(model: onnx.ModelProto) -> None:
        model.graph.output[0].name = "latent"

    def wrong_shape(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 47

    def wrong_latent(model: onnx.ModelProto) -> None:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7

    def no_number(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "dec_b":
                values = np.full(48, np.nan, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, "dec_b"))

    def one_part(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                if name == "latent_in":
                    node.input[place] = "latent_out"

    return {
        "output": (rename_output, "'latent' of its network is of shape .* expected nothing"),
        "shape": (wrong_shape, r"is of shape \(1, 47, 8, 8\), expected float32 of \(1, 48, 8, 8\)"),
        "latent": (wrong_latent, "'latent_out' of its network"),
        "nan": (no_number, "weight 'dec_b' holds numbers that are not finite"),
        "parts": (one_part, "encoder and decoder are not two parts"),
    }


@pytest.mark.parametrize("which", wrong_networks())
def test_a_wrong_network_is_named_when_it_is_loaded_to_run(folder: Path, which: str) -> None:
    spoil, why = wrong_networks()[which]
    model, values = parts()
    spoil(model)
    path = put(folder, with_description(model, values))
    loaded = load_runnable(folder)
    with pytest.raises(BottleneckError, match=why) as named:
        bottleneck_codecs(loaded.card, loaded.engine)
    assert str(path) in str(named.value)


def test_a_file_that_changed_since_it_was_read_is_named(folder: Path) -> None:
    path = put(folder, with_description(*parts()))
    loaded = load_runnable(folder)
    path.write_bytes(path.read_bytes() + bytes([0x72, 2, 0x0A, 0]))
    with pytest.raises(BottleneckError, match="was changed while it was loaded"):
        bottleneck_codecs(loaded.card, loaded.engine)
    path.unlink()
    with pytest.raises(BottleneckError, match="cannot be read"):
        bottleneck_codecs(loaded.card, loaded.engine)


def test_too_many_files_and_too_many_points_are_refused(folder: Path) -> None:
    model, values = parts()
    values |= {"points": 32 * values["points"][:1], "losses": {}}
    for number in range(17):
        name = f"p{number}"
        put(folder, with_description(model, {**values, "name": name}), name)
        if number == 6:
            with pytest.raises(ModelFolderError, match="224 points, at most 200"):
                read_card(folder)
    with pytest.raises(ModelFolderError, match="17 bottlenecks, at most 16"):
        read_card(folder)


def test_bottlenecks_of_a_former_model_go_with_it(folder: Path) -> None:
    path = put(folder, with_description(*parts()))
    card = read_card(folder)

    def written(labels: tuple[str, ...]) -> None:
        write_model_folder(
            folder,
            network=onnx.load(folder / "model.onnx"),
            dag=card.dag,
            name=card.name,
            task=card.task,
            labels=labels,
            input_spec=card.input_spec,
            exit_quality=card.exit_quality,
            provenance={},
            architecture=card.architecture,
        )

    written(card.labels)
    assert path.exists()
    written(tuple(f"{label}!" for label in card.labels))
    assert not path.exists()
