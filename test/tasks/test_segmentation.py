"""Class maps: what a segmenter's output says, and what cannot be an answer."""

from __future__ import annotations

import zlib
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.codecs.class_maps import (
    MOST_BYTES,
    MOST_CELLS,
    ClassMapError,
    deflated_map,
    inflated_map,
)
from dapdee_ros.datasets.frame_source import UNLABELLED, Truth
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.runtime.network_input import network_input, placement
from dapdee_ros.tasks.options import OptionError
from dapdee_ros.tasks.segment_decoders import expected_iou
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter
from dapdee_ros.tasks.task import NO_ANSWER
from dapdee_ros.tasks.truth import truth_fields

LABELS = ("road", "car", "person")
SIZE = (8, 12)
RNG = np.random.default_rng(4)
SCORES = RNG.normal(size=(1, 3, 4, 6)).astype(np.float32)


def segmenter(shape: tuple[int, ...], size: tuple[int, int] = SIZE, **options: Any) -> Segmenter:
    return Segmenter(LABELS, {"name": "segmentation", **options}, [[shape]], size)


def of(*class_ids: int) -> ClassMap:
    """A map of one row."""
    return ClassMap(np.array([class_ids]))


def message(task: Segmenter, answer: ClassMap | None, *, over_link: bool) -> Any:
    """What a message that holds an answer looks like."""
    fields = {**NO_ANSWER, **task.fields(answer)}
    found = fields.pop("class_map")
    data = array("B", deflated_map(found) if over_link and found.size else b"")
    rows = np.zeros((0, 0), np.uint8) if over_link else found
    height, width = rows.shape
    image = SimpleNamespace(height=height, width=width, step=width, data=array("B", rows.tobytes()))
    return SimpleNamespace(**fields, class_map=image, deflated_class_map=data)


def test_the_highest_of_interpolated_scores_wins() -> None:
    torch = pytest.importorskip("torch")
    task = segmenter(SCORES.shape)
    answer = task.decode([SCORES], 1)
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(SCORES), SIZE, mode="bilinear", align_corners=False
    )
    np.testing.assert_array_equal(answer.class_ids, whole[0].argmax(0).numpy())
    assert answer.class_ids.dtype == np.uint8 and not answer.class_ids.flags.writeable
    assert 0 < task.confidence(answer) < 1


def test_channels_may_be_last_and_probabilities_come_as_they_are() -> None:
    wanted = segmenter(SCORES.shape, cell_px=2).decode([SCORES], 1)
    last = SCORES.transpose(0, 2, 3, 1)
    assert segmenter(last.shape, cell_px=2).decode([last], 1) == wanted
    chances = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    found = segmenter(SCORES.shape, cell_px=2, decoder="probabilities").decode([chances], 1)
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
    assert found.score == pytest.approx(wanted.score, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 1, 4, 6), (1, 4, 6, 1)])
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_network_may_compare_the_scores_itself(shape: tuple[int, ...], dtype: type) -> None:
    ids = SCORES.argmax(1).astype(dtype)
    task = segmenter(shape, decoder="class_ids")
    answer = task.decode([ids.reshape(shape)], 1)
    np.testing.assert_array_equal(answer.class_ids, ids[0].repeat(2, 0).repeat(2, 1))
    assert task.confidence(answer) == 0
    ids[0, 0, 0], ids[0, 0, 2] = 900, -3
    if dtype == np.float32:
        ids[0, 0, 4] = np.nan
    assert not task.misfit(task.decode([ids.reshape(shape)], 1))


def test_scores_that_are_no_numbers_are_no_classes() -> None:
    scores = SCORES.copy()
    scores[0, 1] = np.nan
    scores[0, 2, 0, 0] = np.inf
    task = segmenter(scores.shape, cell_px=2)
    answer = task.decode([scores], 1)
    assert not task.misfit(answer)
    assert answer.class_ids[0, 0] == 2 and 1 not in answer.class_ids


def test_the_score_is_the_mean_iou_that_can_be_expected() -> None:
    chances = RNG.dirichlet((0.3, 0.3, 0.3), (40, 50)).astype(np.float32).transpose(2, 0, 1)
    named = chances.argmax(0)
    drawn = (RNG.random((400, 1, 40, 50)) > np.cumsum(chances, 0)[None]).sum(1)
    shares = []
    for truth in drawn:
        both = [((truth == c) & (named == c)).sum() for c in range(3)]
        either = [((truth == c) | (named == c)).sum() for c in range(3)]
        shares.append(np.mean(np.array(both) / either))
    assert expected_iou(chances) == pytest.approx(np.mean(shares), abs=0.005)
    sure = np.zeros((3, 2, 2), np.float32)
    sure[1] = 1
    assert expected_iou(sure) == 1


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox_corner"])
@pytest.mark.parametrize("source", [(48, 64), (7, 3), (1, 1), (8, 12)])
@pytest.mark.parametrize("cell_px", [1, 4])
def test_every_pixel_of_the_image_has_the_class_of_its_cell(
    resize: str, source: tuple[int, int], cell_px: int
) -> None:
    spec = InputSpec((64, 96), (0.0,) * 3, (1.0,) * 3, resize)
    task = segmenter((1, 3, 64, 96), spec.size, cell_px=cell_px)
    answer = ClassMap(RNG.integers(0, 3, task.map_size), 0.5)
    placed = placement(source, spec)
    moved = task.in_source(answer, placed.to_source)
    assert moved.class_ids.shape == source and moved.score == 0.5
    for y in range(source[0]):
        for x in range(source[1]):
            row = (placed.top + (y + 0.5) * placed.height / source[0]) / cell_px
            column = (placed.left + (x + 0.5) * placed.width / source[1]) / cell_px
            if min(row % 1, column % 1, -row % 1, -column % 1) > 1e-4:  # not on a border
                assert moved.class_ids[y, x] == answer.class_ids[int(row), int(column)]


def test_a_map_of_the_image_lies_where_the_image_does() -> None:
    rgb = np.zeros((480, 640, 3), np.uint8)
    rgb[100:300, 50:] = 255
    spec = InputSpec((320, 320), (0.0,) * 3, (1.0,) * 3, "letterbox")
    seen = (network_input(rgb, spec)[0, :, :, 0] > 128).astype(np.uint8)
    task = segmenter((1, 3, 320, 320), spec.size)
    moved = task.in_source(ClassMap(seen), placement((480, 640), spec).to_source)
    np.testing.assert_array_equal(moved.class_ids, rgb[:, :, 0] > 0)


@pytest.mark.parametrize("over_link", [True, False])
def test_messages_hold_the_map(over_link: bool) -> None:
    task = segmenter(SCORES.shape)
    answer = ClassMap(RNG.integers(1, 3, SIZE), 0.25)
    came = message(task, answer, over_link=over_link)
    assert task.answer_in(came) == answer and not task.misfit(answer)
    assert came.class_id == answer.commonest()
    assert came.label == LABELS[came.class_id]
    nothing = message(task, None, over_link=over_link)
    assert task.answer_in(nothing) is None and nothing.class_id == task.record(None) == -1
    assert task.misfit(None) == "it holds no class map of 8x12 cells"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"nonsense", "no deflated class map"),
        (deflated_map(np.zeros((8, 12), np.uint8))[:-2], "do not hold exactly 8x12"),
        (deflated_map(np.zeros((8, 12), np.uint8)) + b"x", "do not hold exactly 8x12"),
        (deflated_map(np.zeros((8, 11), np.uint8)), "do not hold exactly 8x12"),
        (deflated_map(np.zeros((1024, 1024), np.uint8)), "do not hold exactly 8x12"),
    ],
)
def test_bytes_that_hold_no_map_are_no_answer(data: bytes, why: str) -> None:
    with pytest.raises(ClassMapError, match=why):
        inflated_map(data, SIZE)
    task = segmenter(SCORES.shape)
    came = message(task, None, over_link=True)
    came.deflated_class_map = array("B", data)
    assert "no class map of 8x12" in task.misfit(task.answer_in(came))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), zipped=st.booleans())
def test_bytes_that_hypothesis_thinks_up(data: bytes, zipped: bool) -> None:
    given_bytes = zlib.compress(data) if zipped else data
    task = segmenter(SCORES.shape)
    came = message(task, None, over_link=True)
    came.score, came.deflated_class_map = 0.5, array("B", given_bytes)
    answer = task.answer_in(came) if given_bytes else None
    if not task.misfit(answer):
        assert answer is not None and answer.class_ids.tobytes() == data
        assert set(data) <= {0, 1, 2} and len(data) == SIZE[0] * SIZE[1]


def test_any_map_that_may_cross_the_link_fits_its_field() -> None:
    noise = RNG.integers(0, 256, (1024, 1024), np.uint8)
    assert noise.size == MOST_CELLS
    assert all(len(deflated_map(noise, level)) <= MOST_BYTES for level in range(1, 10))


@pytest.mark.parametrize(("step", "n_bytes"), [(12, 95), (11, 96), (0, 0), (2**31, 96)])
def test_an_image_that_contradicts_itself_is_no_answer(step: int, n_bytes: int) -> None:
    task = segmenter(SCORES.shape)
    came = message(task, ClassMap(np.zeros(SIZE)), over_link=False)
    came.class_map.step, came.class_map.data = step, array("B", bytes(n_bytes))
    assert task.misfit(task.answer_in(came))


@pytest.mark.parametrize(
    ("class_ids", "score", "why"),
    [
        (np.full(SIZE, 3), 0.5, "not among the 3"),
        (np.full(SIZE, 255), 0.5, "not among the 3"),
        (np.zeros((12, 8)), 0.5, "no class map of 8x12"),
        (np.zeros(SIZE), np.nan, "no share"),
        (np.zeros(SIZE), -0.1, "no share"),
        (np.zeros(SIZE), 1.5, "no share"),
    ],
)
def test_answers_that_cannot_be_are_named(class_ids: Any, score: float, why: str) -> None:
    assert why in segmenter(SCORES.shape).misfit(ClassMap(class_ids, score))


@pytest.mark.parametrize(
    ("options", "shapes", "why"),
    [
        ({"decoder": "heat"}, [(1, 3, 4, 6)], "no decoder 'heat'; choose from logits, prob"),
        ({"decoder": 3}, [(1, 3, 4, 6)], "no decoder '3'"),
        ({}, [(1, 4, 4, 6)], r"with 3 classes reads \(1, 3, rows, columns\) or .* check --labels"),
        ({}, [(1, 3)], "the output has the shape"),
        ({}, [(1, 3, 4, 6), (1, 3, 4, 6)], "reads one output, the exit has 2"),
        ({"decoder": "class_ids"}, [(1, 3, 4, 6)], r"reads \(1, rows, columns\)"),
        ({"cell_px": 5}, [(1, 3, 4, 6)], "'cell_px' is 5, expected a whole number that divides"),
        ({"cell_px": 0.5}, [(1, 3, 4, 6)], "expected a whole number"),
        ({"cell_px": 0}, [(1, 3, 4, 6)], "expected a number above 0"),
        ({"speed": 1}, [(1, 3, 4, 6)], r"no options \['speed'\]"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(
    options: dict[str, Any], shapes: list[tuple[int, ...]], why: str
) -> None:
    with pytest.raises(OptionError, match=why):
        Segmenter(LABELS, options, [shapes], SIZE)


def test_a_map_must_fit_the_link_and_its_numbers_a_byte() -> None:
    with pytest.raises(OptionError, match=r"2048x1024 cells is too large .* choose a larger"):
        segmenter((1, 3, 8, 8), (2048, 1024))
    assert segmenter((1, 3, 8, 8), (2048, 1024), cell_px=2).map_size == (1024, 512)
    with pytest.raises(OptionError, match="names of 1 to 255 classes"):
        Segmenter([str(n) for n in range(256)], {}, [[(1, 256, 8, 8)]], SIZE)


def test_the_mean_iou_is_that_of_all_pixels_together() -> None:
    task = segmenter(SCORES.shape)
    evaluator = task.evaluator()
    assert np.isnan(evaluator.quality()) and evaluator.frames == 0
    truths = RNG.integers(0, 2, (5, 8, 12))  # of two of the three classes
    answers = np.where(RNG.random(truths.shape) < 0.7, truths, RNG.integers(0, 3, truths.shape))
    truths = np.where(RNG.random(truths.shape) < 0.2, UNLABELLED, truths)
    for answer, truth in zip(answers, truths, strict=True):
        evaluator.add(ClassMap(answer), ClassMap(truth))
    evaluator.add(None, ClassMap(truths[0]))
    known = truths != UNLABELLED
    wanted = [
        ((truths == c) & (answers == c)).sum() / ((truths == c) | (answers == c) & known).sum()
        for c in (0, 1)
    ]
    assert evaluator.frames == 5
    assert evaluator.quality() == pytest.approx(np.mean(wanted))
    figures = evaluator.figures()
    assert list(figures) == [task.quality_name, "IoU road", "IoU car", "IoU person"]
    assert [figures["IoU road"], figures["IoU car"]] == pytest.approx(wanted)
    assert np.isnan(figures["IoU person"])


def test_a_coarse_map_is_judged_by_the_pixels_in_its_cells() -> None:
    task = segmenter(SCORES.shape, cell_px=4)
    fine = RNG.integers(0, 3, (8, 12))
    answer = RNG.integers(0, 3, (2, 3))
    coarse, whole = task.evaluator(), task.evaluator()
    coarse.add(ClassMap(answer), ClassMap(fine))
    whole.add(ClassMap(answer.repeat(4, 0).repeat(4, 1)), ClassMap(fine))
    assert coarse.figures() == whole.figures()
    odd = task.evaluator()
    odd.add(ClassMap(np.array([[0, 1]])), ClassMap(np.array([[0, 0, 1]])))  # the middle: either
    assert odd.frames == 1


def test_a_truth_of_other_classes_is_an_error_and_such_an_answer_is_wrong() -> None:
    evaluator = segmenter(SCORES.shape).evaluator()
    with pytest.raises(ValueError, match="names the class 7, the model knows 0 to 2"):
        evaluator.add(of(0, 1), of(0, 7))
    evaluator.add(of(0, 200), of(0, 0))
    assert evaluator.quality() == 0.5 and evaluator.frames == 1
    evaluator.add(of(0), of(UNLABELLED))
    assert evaluator.quality() == 0.5


def test_the_truth_comes_in_the_model_s_own_classes() -> None:
    fields = truth_fields(
        Truth(class_map=np.array([[0, 1], [2, 2]], np.uint8)), (), ("car", "sky", "road")
    )
    shown = segmenter(SCORES.shape).truth_in(SimpleNamespace(**fields))
    assert shown is not None
    assert shown.class_ids.tolist() == [[1, UNLABELLED], [0, 0]]
    fields = truth_fields(Truth(class_map=np.zeros((2, 2), np.uint8)), (), ("sky",))
    assert segmenter(SCORES.shape).truth_in(SimpleNamespace(**fields)) is None


def test_a_map_cannot_be_changed_and_has_two_sides() -> None:
    class_ids = np.zeros((2, 2), np.uint8)
    answer = ClassMap(class_ids)
    class_ids[:] = 1
    assert answer == ClassMap(np.zeros((2, 2))) and hash(answer) == hash(ClassMap(np.zeros((2, 2))))
    assert answer != ClassMap(np.ones((2, 2))) and answer != ClassMap(np.zeros((2, 2)), 0.5)
    with pytest.raises(ValueError, match="rows and columns"):
        ClassMap(np.zeros((0, 2)))
    assert ClassMap(np.full((2, 2), 255)).commonest() == -1
