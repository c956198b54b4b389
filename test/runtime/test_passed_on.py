"""A camera's JPEG that is passed on to the edge as it came: the same answers, nothing lost."""

from __future__ import annotations

import time
import zipfile
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.colour_detector import colour_detector, painted
from support.shared_data import shared
from support.split_pair import Pair

from dapdee_ros.cli.main import main
from dapdee_ros.codecs import TensorSpec
from dapdee_ros.codecs.camera_file import CAMERA, camera_file_fault
from dapdee_ros.codecs.picture_file import read_picture
from dapdee_ros.core.frames import FramePlan, FrameResult, HeadFrame, Place, Status
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.runtime.finishing import FrameRefused, check_frame
from dapdee_ros.runtime.head import FrameError, HeadRuntime, HeadSettings
from dapdee_ros.runtime.network_input import network_input
from dapdee_ros.runtime.passed_on import passed_on_spec
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

WAIT_S = 60.0
# In pixels of 480x640: cells of the network's grid.
BLOCKS = {(256, 112, 320, 176): 0, (512, 240, 576, 304): 2}
PLAN = FramePlan(1, 1, ("image",), CAMERA, predicted_remote_s=0.1)


def jpeg(image: np.ndarray, *options: int) -> array[int]:
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), list(options))[1]
    return array("B", data.tobytes())


def photo() -> array[int]:
    return jpeg(painted((480, 640), BLOCKS))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> SplitNetwork:
    """Of 320x320 pixels, letterboxed."""
    folder: Path = colour_detector(tmp_path_factory.mktemp("model"))
    return SplitNetwork(load_runnable(folder, "onnxruntime"))


def file_of(context: Any) -> array[int] | None:
    """As the node has it: a context is a file, or an image that came as pixels."""
    if not isinstance(context, array) or camera_file_fault(np.frombuffer(context, np.uint8)):
        return None
    return context


class Loader:
    """Decodes images, and counts."""

    def __init__(self, network: SplitNetwork) -> None:
        self._spec = network.card.input_spec
        self.calls = 0

    def __call__(self, context: Any) -> np.ndarray:
        self.calls += 1
        try:
            pixels = isinstance(context, np.ndarray)
            rgb = context if pixels else read_picture(np.frombuffer(context, np.uint8))
            return network_input(rgb, self._spec)
        except ValueError as error:
            raise FrameError(str(error)) from error


@pytest.fixture
def loader(network: SplitNetwork) -> Loader:
    return Loader(network)


def follow(head: HeadRuntime, plan: FramePlan) -> None:
    """Have a plan followed from now on: its parts are compiled in the background."""
    head.set_plan(plan)
    end_s = time.monotonic() + WAIT_S
    while head.plan.epoch != plan.epoch and time.monotonic() < end_s:
        time.sleep(0.01)


@pytest.fixture
def pair(network: SplitNetwork, loader: Loader) -> Iterator[Pair]:
    made: list[Pair] = []
    tail = TailRuntime(network, lambda answer: made[0].head.answer(answer))
    head = HeadRuntime(
        network,
        load=loader,
        send=lambda frame: made[0].send(frame),
        publish=lambda result: made[0].results.put(result),
        session=1,
        settings=HeadSettings(deadline_s=5.0),
        file_of=file_of,
    )
    made.append(Pair(head, tail))
    made[0].wire = tail.submit
    tail.start()
    head.start()
    follow(head, PLAN)
    yield made[0]
    head.stop()
    tail.stop()


def result_of(pair: Pair, context: Any) -> FrameResult:
    pair.head.accept(context)
    return pair.results.get(timeout=WAIT_S)


def found_in(network: SplitNetwork, context: Any) -> Any:
    """What the whole network says where it is decoded on the car."""
    outputs = network.dag.exit_outputs(1)
    given = {network.dag.input: Loader(network)(context)}
    return network.decode(network.engine.run(given, outputs), 1)


@pytest.mark.parametrize(
    "file",
    [
        photo(),
        jpeg(painted((480, 640), BLOCKS), cv2.IMWRITE_JPEG_QUALITY, 40),
        jpeg(painted((320, 320), {(32, 32, 64, 64): 1})),
        jpeg(np.full((1, 1, 3), 250, np.uint8)),
        array("B", cv2.imencode(".jpg", np.full((60, 40), 200, np.uint8))[1].tobytes()),
    ],
    ids=["photo", "low quality", "own size", "one pixel", "grey"],
)
def test_the_answer_is_that_of_a_car_that_decodes(
    pair: Pair, network: SplitNetwork, loader: Loader, file: array[int]
) -> None:
    result = result_of(pair, file)
    assert result.place is Place.EDGE
    assert result.answer == found_in(network, file)
    assert (result.sent_bytes, loader.calls) == (len(file), 0)
    assert np.isnan(result.car_slowdown)
    (frame,) = pair.sent
    assert (frame.codec, frame.data) == (CAMERA, file)


def test_the_photo_s_blocks_are_found(network: SplitNetwork) -> None:
    assert sorted(found_in(network, photo()).class_ids.tolist()) == [0, 2]


def test_without_an_answer_the_car_decodes_the_file_that_it_kept(
    pair: Pair, network: SplitNetwork, loader: Loader
) -> None:
    pair.wire = None
    pair.head.settings = HeadSettings(deadline_s=0.3)
    result = result_of(pair, photo())
    assert (result.place, loader.calls) == (Place.CAR_FALLBACK, 1)
    assert result.answer == found_in(network, photo())
    assert pair.head.load_s > 0


def test_where_the_window_is_full_the_car_decodes_at_once(
    pair: Pair, network: SplitNetwork, loader: Loader
) -> None:
    pair.wire = None
    pair.head.settings = HeadSettings(deadline_s=2.0, max_in_flight=1)
    follow(pair.head, replace(PLAN, epoch=2))
    pair.head.accept(photo())
    while not pair.sent:
        time.sleep(0.01)
    result = result_of(pair, photo())
    assert (result.number, result.place) == (2, Place.CAR_FALLBACK)
    assert result.answer == found_in(network, photo())


def test_an_image_that_came_as_pixels_is_coded_on_the_car(
    pair: Pair, network: SplitNetwork, loader: Loader
) -> None:
    result = result_of(pair, painted((480, 640), BLOCKS))
    assert (result.place, result.sent_codec, loader.calls) == (Place.EDGE, "jpeg", 1)
    assert pair.sent[0].codec == "jpeg"
    assert sorted(result.answer.class_ids.tolist()) == [0, 2]


def test_a_png_is_decoded_on_the_car(pair: Pair, loader: Loader) -> None:
    png = array("B", cv2.imencode(".png", painted((480, 640), {})[..., ::-1])[1].tobytes())
    assert (result_of(pair, png).sent_codec, loader.calls) == ("jpeg", 1)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_file_that_was_cut_off_ends_as_a_bad_image(pair: Pair, share: float) -> None:
    file = photo()
    pair.head.accept(file[: int(share * len(file))])
    assert result_of(pair, photo()).number == 2
    ledger = pair.head.ledger()
    assert (ledger.accepted, ledger.results, ledger.drops) == (2, 1, 1)
    (reason,) = ledger.reasons
    assert "bad image" in reason
    assert len(pair.sent) == 1


def test_what_only_the_decoder_finds_wrong_is_lost_to_nobody(pair: Pair) -> None:
    """Headers and end are there, and rubbish between them."""
    file = photo()
    header = file[:200]
    pair.head.accept(header + array("B", b"\xff\xd8\xff\xd9"))
    pair.head.accept(photo())
    results = [pair.results.get(timeout=WAIT_S)]
    ledger = pair.head.ledger()
    assert ledger.accepted == 2 == ledger.results + ledger.drops + ledger.in_flight
    assert results


# --- what the edge refuses ------------------------------------------------------------------------


def frame_of(network: SplitNetwork, data: array[int], **changes: Any) -> HeadFrame:
    node = network.dag.nodes[0]
    given = {
        "specs": [passed_on_spec(node.name, node.shape, data)],
        "data": data,
        "codec": CAMERA,
        **changes,
    }
    return HeadFrame(1, 1, 0.0, network.card.model_id, 1, **given)


def declaring(height: int, width: int) -> array[int]:
    """A photo whose frame header declares other sides."""
    data = photo()
    at = data.tobytes().index(b"\xff\xc0")
    data[at + 5 : at + 9] = array("B", [height >> 8, height & 255, width >> 8, width & 255])
    return data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (declaring(60_000, 60_000), "60000x60000 pixels, expected at most"),
        (declaring(0, 640), "0 pixels|no JPEG"),
        (photo()[:-400], "cut off"),
        (array("B"), "no JPEG"),
        (array("B", b"\x89PNG\r\n\x1a\n" + bytes(40)), "no JPEG"),
        (jpeg(painted((64, 64), {}), cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "no baseline JPEG"),
    ],
    ids=["bomb", "no height", "cut off", "empty", "png", "progressive"],
)
def test_the_edge_refuses_files_that_it_should_not_decode(
    network: SplitNetwork, data: array[int], why: str
) -> None:
    with pytest.raises(FrameRefused, match=why) as refused:
        check_frame(network, frame_of(network, data))
    assert refused.value.status is Status.BAD_TENSOR


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"shape": (1, 2, 2, 3)}, "came as"),
        ({"dtype": "float32"}, "came as"),
        ({"offset": 1}, "came as"),
        ({"length": 9}, "came as"),
        ({"scale": array("f", [1.0])}, "came as"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_edge_refuses_descriptions_that_do_not_fit(
    network: SplitNetwork, change: dict[str, Any], why: str
) -> None:
    node, data = network.dag.nodes[0], photo()
    spec = replace(passed_on_spec(node.name, node.shape, data), **change)
    with pytest.raises(FrameRefused, match=why):
        check_frame(network, frame_of(network, data, specs=[spec]))


def test_only_the_input_can_be_a_file(network: SplitNetwork) -> None:
    inner = network.dag.nodes[1]
    with pytest.raises(GraphError, match="the camera's own file in place of the input"):
        network.head_program(replace(PLAN, boundary=(inner.name,)))
    spec = TensorSpec(inner.name, "uint8", inner.shape, (), (), 0, 4)
    frame = frame_of(network, array("B", b"abcd"), specs=[spec])
    with pytest.raises(FrameRefused, match="codes the model's input"):
        check_frame(network, frame)


def test_a_photo_s_boxes_are_the_same_wherever_it_is_decoded(tmp_path: Path) -> None:
    out = tmp_path / "yolox"
    options = ["--decoder", "yolox", "--labels", "coco", "--out", str(out)]
    assert main(["import", str(shared("yolox_nano.onnx")), *options]) == 0
    model = load_runnable(out, "onnxruntime")
    network = SplitNetwork(model)
    outputs = network.dag.exit_outputs(1)
    with zipfile.ZipFile(shared("coco-sample.zip")) as images:
        names = [name for name in images.namelist() if name.endswith(".jpg")][:8]
        files = [array("B", images.read(name)) for name in names]
    found = 0
    for file in files:
        program, passed = check_frame(network, frame_of(network, file))
        (given,) = passed.values()
        assert np.array_equal(given, Loader(network)(file))
        answer = network.decode(network.engine.run(passed, program.outputs), 1)
        assert answer == found_in(network, file)
        found += len(answer)
    assert program.outputs == outputs and found > 8
