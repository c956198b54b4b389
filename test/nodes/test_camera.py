"""The camera's process over real DDS."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, ListParameters, SetParameters
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from dapdee_ros.datasets.roadscenes import CLASSES, SURFACES, RoadScenes
from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns
from dapdee_ros.msg import SceneTruth
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import compressed_to_rgb, image_to_rgb
from dapdee_ros.nodes.topics import message_layout
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.tasks.truth import true_class_map

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros]


def cpu_seconds(program: Program) -> float:
    fields = Path(f"/proc/{program.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.alone
def test_rendered_signs_with_their_truth_at_the_rate_in_little_memory(ros: RosWorld) -> None:
    images = ros.collect(Image, "image_raw", qos.IMAGE)
    truths = ros.collect(SceneTruth, "truth", qos.RESULT)
    camera = ros.start("camera", {"seed": 3, "rate_hz": 20.0, "frame_id": "front"})
    ros.spin_until(lambda: len(images) >= 5 and len(truths) >= 5)
    images.clear()
    used_s, since_s = cpu_seconds(camera), time.monotonic()
    ros.spin_until(lambda: len(images) >= 60)
    load = (cpu_seconds(camera) - used_s) / (time.monotonic() - since_s)
    # A busy machine may skip a tick, but ten of them that it kept take ten periods, however long
    # rendering took.
    stamps = np.array(
        [truth.header.stamp.sec + truth.header.stamp.nanosec / 1e9 for truth in truths]
    )
    assert (stamps[10:] - stamps[:-10]).min() < 0.515
    assert stamps[-1] - stamps[0] > 0.05 * (len(stamps) - 1) - 0.15
    truth_of = {(t.header.stamp.sec, t.header.stamp.nanosec): t for t in truths}
    signs = RoadSigns(3, (128, 128))
    scenes = {signs.frame(index).image.tobytes(): signs.frame(index).label for index in range(140)}
    pairs = [(truth_of.get((i.header.stamp.sec, i.header.stamp.nanosec)), i) for i in images]
    known = [(truth, image) for truth, image in pairs if truth is not None]
    assert len(known) >= 0.9 * len(images)  # the last truth may still be on its way
    for truth, image in known:
        assert image.header.frame_id == truth.header.frame_id == "front"
        assert truth.class_id == scenes[image_to_rgb(image).tobytes()]
        assert truth.label == LABELS[truth.class_id]
    assert camera.memory_bytes() < 130e6
    assert load < 0.5  # of one core at 20 frames/s
    assert camera.stop() == 0
    assert "Traceback" not in camera.output()


def test_rendered_scenes_come_with_all_that_is_known_of_them(ros: RosWorld) -> None:
    images = ros.collect(Image, "image_raw", qos.IMAGE)
    truths = ros.collect(SceneTruth, "truth", qos.RESULT)
    ros.start("camera", {"source": "roadscenes", "seed": 3, "width": 96, "rate_hz": 0.0})
    ros.spin_until(lambda: len(images) >= 6 and len(truths) >= 6, 60.0, "frames")
    scenes = RoadScenes(3, (96, 96))
    expected = {
        scenes.frame(index).image.tobytes(): scenes.frame(index) for index in range(len(truths))
    }
    truth_of = {(t.header.stamp.sec, t.header.stamp.nanosec): t for t in truths}
    detector = Detector(CLASSES, {"decoder": "yolo"}, [[(1, 5, 5 + len(CLASSES))]], (96, 96))
    seen = 0
    for image in images:
        truth = truth_of.get((image.header.stamp.sec, image.header.stamp.nanosec))
        scene = expected.get(image_to_rgb(image).tobytes())
        if truth is None or scene is None:
            continue  # the last of either may still be on its way
        assert truth.class_id == -1 and truth.objects_known
        shown = detector.truth_in(truth)
        assert shown is not None
        assert [tuple(box) for box in shown.boxes] == [o.box for o in scene.objects]
        assert shown.class_ids.tolist() == [o.label for o in scene.objects]
        np.testing.assert_array_equal(true_class_map(truth, SURFACES), scene.class_map)
        message_layout(SceneTruth).check(bytes(serialize_message(truth)))
        seen += 1
    assert seen >= 4


def test_pictures_end_the_process_where_asked(ros: RosWorld, tmp_path: Path) -> None:
    for place, name in enumerate(("stop", "yield")):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for number in range(3):
            picture = np.full((20, 30, 3), 40 * place + number, np.uint8)
            cv2.imwrite(str(tmp_path / "signs" / name / f"{number}.png"), picture)
    camera = ros.start(
        "camera",
        {
            "source": "images",
            "path": str(tmp_path / "signs"),
            "labels": ["yield", "stop"],
            "rate_hz": 10.0,
            "loop": False,
            "exit_at_end": True,
            "height": 10,
        },
        "-r",
        "__ns:=/cars/seven",
    )
    node = ros.node("reader")
    ros.spin_until(lambda: node.count_publishers("cars/seven/image_raw") == 1)
    ros.spin_for(0.8)  # longer than all frames together take
    assert camera.process.poll() is None, "it did not wait for a reader"
    truths = ros.collect(SceneTruth, "cars/seven/truth", qos.RESULT, node)
    images = ros.collect(Image, "cars/seven/image_raw", qos.IMAGE, node)
    ros.spin_until(lambda: camera.process.poll() is not None)
    assert camera.wait() == 0
    assert "the source has ended after 6 frames" in camera.output()
    # The one end may know of the other a little before that knows of it.
    assert 4 <= len(images) <= 6 and 4 <= len(truths) <= 6
    assert {(image.width, image.height) for image in images} == {(15, 10)}
    for truth in truths:
        assert truth.label == ("yield", "stop")[truth.class_id]


def test_video_keeps_its_rate_and_the_node_stays_at_its_end(ros: RosWorld, tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 16))
    for grey in range(25):
        writer.write(np.full((16, 32, 3), 8 * grey, np.uint8))
    writer.release()
    images = ros.collect(Image, "image_raw", qos.IMAGE)
    camera = ros.start(
        "camera", {"source": "video", "path": str(path), "rate_hz": 0.0, "loop": False}
    )
    ros.spin_until(lambda: "has ended after 25 frames" in camera.output())
    assert "at 25 frames/s" in camera.output()
    assert images and image_to_rgb(images[-1])[0, 0, 0] == pytest.approx(192, abs=3)
    assert camera.process.poll() is None
    assert camera.stop() == 0


def request(ros: RosWorld, kind: Any, service: str, **fields: Any) -> Any:
    client = ros.node("asking").create_client(kind, f"camera/{service}")
    ros.spin_until(client.service_is_ready)
    return ros.call(client, kind.Request(**fields))


def test_parameters_are_described_and_the_rate_can_be_set(ros: RosWorld) -> None:
    images = ros.collect(Image, "image_raw", qos.IMAGE)
    ros.start("camera", {"rate_hz": 1.0, "width": 32})
    names = [
        name
        for name in request(ros, ListParameters, "list_parameters").result.names
        if name not in ("use_sim_time", "start_type_description_service")
    ]
    described = request(ros, DescribeParameters, "describe_parameters", names=names).descriptors
    assert {"source", "rate_hz", "path", "device", "labels"} <= {d.name for d in described}
    assert all(descriptor.description for descriptor in described)

    def set_rate(rate_hz: float) -> Any:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=rate_hz)
        parameters = [Parameter(name="rate_hz", value=value)]
        return request(ros, SetParameters, "set_parameters", parameters=parameters).results[0]

    assert not set_rate(1000.0).successful
    assert set_rate(50.0).successful
    images.clear()
    ros.spin_until(lambda: len(images) >= 20, timeout_s=8.0)


def test_the_first_frame_waits_for_a_subscriber_and_then_warms_up(ros: RosWorld) -> None:
    camera = ros.start("camera", {"rate_hz": 20.0, "warm_up_s": 2.0, "image_transport": "raw"})
    ros.spin_until(lambda: "frames/s" in camera.output())
    ros.spin_for(2.5)  # nobody has subscribed: the time has not begun
    images, since_s = ros.collect(Image, "image_raw", qos.IMAGE), time.monotonic()
    ros.spin_until(lambda: len(images) >= 5)
    assert time.monotonic() - since_s > 1.9


def test_without_a_source_nothing_is_published(ros: RosWorld) -> None:
    camera = ros.start("camera", {"source": "none"})
    ros.spin_until(lambda: "another driver" in camera.output())
    assert ros.node("looking").count_publishers("image_raw") == 0
    assert camera.stop() == 0


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"source": "device", "device": "/dev/video97"}, "no camera /dev/video97"),
        ({"source": "images", "path": "/dev/null/signs"}, "no folder /dev/null/signs"),
        (
            {"source": "radar"},
            "expected one of roadsigns, roadscenes, device, video, images, yolo, coco, none",
        ),
    ],
)
def test_wrong_parameters_end_it_with_a_reason(
    ros: RosWorld, parameters: dict[str, Any], says: str
) -> None:
    camera = ros.start("camera", parameters)
    assert camera.wait() == 2
    assert says in camera.output() and "Traceback" not in camera.output()


def test_jpegs_of_a_folder_are_published_as_they_are(ros: RosWorld, tmp_path: Path) -> None:
    files = [
        cv2.imencode(".jpg", np.full((24, 32, 3), 40 * k, np.uint8))[1].tobytes() for k in range(4)
    ]
    for number, data in enumerate(files):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    images = ros.collect(CompressedImage, "image_raw/compressed", qos.IMAGE)
    options = {"source": "images", "path": str(tmp_path), "image_transport": "compressed"}
    ros.start("camera", {**options, "rate_hz": 20.0, "frame_id": "front"})
    ros.spin_until(lambda: len(images) >= 6, 60.0, "files")
    assert {bytes(image.data) for image in images} <= set(files)
    assert len({bytes(image.data) for image in images}) >= 2
    assert images[0].header.frame_id == "front" and "jpeg" in images[0].format


def test_what_has_no_file_is_encoded(ros: RosWorld) -> None:
    images = ros.collect(CompressedImage, "image_raw/compressed", qos.IMAGE)
    ros.start("camera", {"seed": 3, "rate_hz": 20.0, "image_transport": "compressed"})
    ros.spin_until(lambda: images, 60.0, "a JPEG")
    found = compressed_to_rgb(images[0]).astype(int)
    signs = RoadSigns(3, (128, 128))
    apart = sorted(np.abs(signs.frame(k).image.astype(int) - found).mean() for k in range(200))
    assert apart[0] < 10 and apart[0] < apart[1] / 2
