"""The viewer's process, its page and its image over real DDS and HTTP."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns
from dapdee_ros.msg import InferenceResult, LinkQuality, PartitionPlan, SceneTruth
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.images import image_to_rgb, rgb_to_image

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = pytest.mark.ros


class Drive:
    """The other nodes of a run, as the viewer sees them: real topics, one frame a step."""

    def __init__(self, ros: RosWorld, period_s: float = 0.05) -> None:
        self._signs = RoadSigns(4, (64, 64))
        node = ros.node("drive")
        self._images = node.create_publisher(Image, "image_raw", qos.IMAGE)
        self._truths = node.create_publisher(SceneTruth, "truth", qos.RESULT)
        self._results = node.create_publisher(InferenceResult, "inference", qos.RESULT)
        self._plans = node.create_publisher(PartitionPlan, "plan", qos.LATCHED)
        self._links = node.create_publisher(LinkQuality, "link_quality", qos.STATE)
        self.node, self.sent, self.wrong, self.connected = node, 0, False, True
        self._plans.publish(PartitionPlan(epoch=3, reason="a test", deadline_s=0.25))
        self._timer = node.create_timer(period_s, self.step)

    def ready(self) -> bool:
        return self._results.get_subscription_count() > 0

    def step(self) -> None:
        self.sent += 1
        frame = self._signs.frame(self.sent)
        stamp = Time(sec=self.sent)
        truth = SceneTruth(class_id=frame.label, label=LABELS[frame.label])
        truth.header.stamp = stamp
        self._truths.publish(truth)
        self._images.publish(rgb_to_image(frame.image, stamp, "front"))
        result = InferenceResult(status=InferenceResult.STATUS_OK, score=0.75, exit=2)
        result.header.stamp = stamp
        result.label = "no such sign" if self.wrong else truth.label
        result.place = InferenceResult.PLACE_EDGE
        result.boundary, result.codec, result.sent_bytes = ["layer1.0.relu"], "u8", 4096
        result.head_s, result.transfer_s, result.tail_s, result.latency_s = 0.02, 0.03, 0.01, 0.06
        self._results.publish(result)
        link = LinkQuality(uplink_bps=5.85e6, rtt_s=math.nan, connected=self.connected)
        self._links.publish(link)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 65000)


def start_viewer(ros: RosWorld, **parameters: Any) -> tuple[Program, int]:
    parameters.setdefault("http_port", free_port())
    viewer = ros.start("viewer", parameters)
    said = ros.spin_until(lambda: re.search(r"live view: http://localhost:(\d+)", viewer.output()))
    return viewer, int(said.group(1))


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get_spinning(ros: RosWorld, port: int, path: str) -> tuple[int, bytes]:
    """As ``get``, while the test's nodes go on."""
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(get(port, path)))
    asking.start()
    ros.spin_until(lambda: not asking.is_alive(), what=f"answer to {path}")
    asking.join()
    return answers[0]


def status_of(port: int) -> dict[str, Any]:
    return json.loads(get(port, "/status.json")[1])


def decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture[..., ::-1]


def test_page_numbers_and_pictures(ros: RosWorld, tmp_path: Path) -> None:
    viewer, port = start_viewer(ros, snapshot_path=str(tmp_path / "run" / "last.png"))
    drive = Drive(ros)
    ros.spin_until(lambda: sum(status_of(port)["places"].values()) >= 10)
    drive.wrong, drive.connected = True, False
    ros.spin_until(lambda: (status := status_of(port))["judged"] - status["right"] >= 3)
    status = status_of(port)
    answer = status["answer"]
    assert answer["label"] == "no such sign" and answer["right"] is False
    assert answer["truth"] in LABELS
    assert (answer["place"], answer["codec"], answer["sent_bytes"]) == ("edge", "u8", 4096)
    assert answer["latency_s"] == pytest.approx(0.06)
    assert answer["car_share"] is None  # no model was given
    assert status["places"]["car"] == 0 and status["missed"] == 0
    assert status["deadline_s"] == 0.25 and status["plan"] == "plan 3: a test"
    assert status["link"]["uplink_bps"] == 5.85e6
    assert status["link"]["rtt_s"] is None and status["link"]["connected"] is False
    assert {point["connected"] for point in status["link"]["history"]} == {True, False}

    code, page = get(port, "/")
    assert code == 200 and b"/scene.mjpg" in page and b"/status.json" in page
    assert get(port, "/etc/passwd")[0] == 404

    code, jpeg = get_spinning(ros, port, "/snapshot.jpg")
    assert code == 200 and decoded(jpeg).shape == (480, 800, 3)
    # A wrong answer has a red bar over the scene.
    red, green, blue = decoded(jpeg)[1, 5:470].mean(axis=0)
    assert red > 200 and green < 130 and blue < 130

    assert viewer.stop() == 0
    assert "Traceback" not in viewer.output()
    last = cv2.imread(str(tmp_path / "run" / "last.png"))
    assert last is not None and last.shape == (480, 800, 3)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.png"]


def read_parts(stream: Any, count: int) -> list[bytes]:
    """The JPEGs of an MJPEG stream."""
    parts: list[bytes] = []
    length = 0
    while len(parts) < count:
        line = stream.readline()
        assert line, "the stream has ended"
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        elif line == b"\r\n" and length:
            parts.append(stream.read(length))
            length = 0
    return parts


@pytest.mark.parametrize("path", ["/scene.mjpg", "/stream.mjpg"])
def test_stream_moves_and_does_not_hold_up_the_end(ros: RosWorld, path: str) -> None:
    viewer, port = start_viewer(ros)
    drive = Drive(ros)
    # Until the viewer has found it there is but one picture to send.
    ros.spin_until(drive.ready)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    stream = connection.getresponse()
    assert stream.getheader("Content-Type", "").startswith("multipart/x-mixed-replace")
    parts: list[bytes] = []
    reading = threading.Thread(target=lambda: parts.extend(read_parts(stream, 5)))
    reading.start()
    ros.spin_until(lambda: not reading.is_alive())
    pictures = [decoded(part) for part in parts]
    assert {picture.shape for picture in pictures} == {
        (480, 480 if path == "/scene.mjpg" else 800, 3)
    }
    assert len(set(parts)) == 5
    assert viewer.stop() == 0  # with the stream still open
    connection.close()


def test_annotated_is_drawn_only_for_those_who_listen(ros: RosWorld) -> None:
    start_viewer(ros)
    drive = Drive(ros)
    node = drive.node
    ros.spin_until(drive.ready)
    ros.spin_for(0.6)
    # Nobody looks: the viewer does not even read the camera's images.
    assert node.count_subscribers("image_raw") == 0
    listener = ros.node("listener")
    pictures: list[Image] = []
    subscription = listener.create_subscription(Image, "annotated", pictures.append, qos.IMAGE)
    ros.spin_until(lambda: len(pictures) >= 4)
    assert {(p.width, p.height, p.encoding) for p in pictures} == {(800, 480, "rgb8")}
    assert pictures[-1].header.frame_id == "front"
    # It shows the image that the answer belongs to.
    shown = image_to_rgb(pictures[-1])[30:300, :480].astype(float)
    image = RoadSigns(4, (64, 64)).frame(pictures[-1].header.stamp.sec).image
    expected = cv2.resize(image, (480, 480), interpolation=cv2.INTER_CUBIC)[30:300].astype(float)
    assert np.abs(shown - expected).mean() < 3
    assert node.count_subscribers("image_raw") == 1
    listener.destroy_subscription(subscription)
    ros.spin_until(lambda: node.count_subscribers("image_raw") == 0)


def test_next_port_is_taken_if_the_first_is_not_free(ros: RosWorld) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        wanted = other.getsockname()[1]
        viewer, port = start_viewer(ros, http_port=wanted)
        assert wanted < port <= wanted + 20
        assert f"port {wanted} is taken" in viewer.output()
        assert status_of(port)["answer"] is None


def test_without_a_page_nothing_listens_and_nothing_is_written(
    ros: RosWorld, tmp_path: Path
) -> None:
    viewer = ros.start("viewer", {"http_port": 0, "snapshot_path": str(tmp_path / "last.png")})
    node = ros.node("looking")
    ros.spin_until(lambda: node.count_publishers("annotated") == 1)
    ros.spin_for(0.3)
    assert viewer.stop() == 0
    assert "live view" not in viewer.output()
    assert "last.png is not written" in viewer.output()
    assert not (tmp_path / "last.png").exists()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"model": "no_such_model"}, "no_such_model"),
        ({"snapshot_path": "/proc/none/last.png"}, "cannot write /proc/none"),
        ({"http_host": "203.0.113.7"}, "must be an address of this machine"),
    ],
)
def test_wrong_parameters_end_it_with_a_reason(
    ros: RosWorld, parameters: dict[str, Any], says: str
) -> None:
    viewer = ros.start("viewer", {"http_port": free_port(), **parameters})
    assert viewer.wait() == 2
    assert says in viewer.output() and "Traceback" not in viewer.output()


def test_image_that_cannot_be_read_is_told_once(ros: RosWorld) -> None:
    viewer, port = start_viewer(ros)
    node = ros.node("camera")
    images = node.create_publisher(Image, "image_raw", qos.IMAGE)
    listening = ros.collect(Image, "annotated", qos.IMAGE)
    ros.spin_until(lambda: images.get_subscription_count() > 0)
    for _ in range(5):
        images.publish(Image(encoding="rgb9", width=4, height=4))
        ros.spin_for(0.05)
    ros.spin_until(lambda: "rgb9" in viewer.output())
    listening.clear()
    ros.spin_until(lambda: listening)  # it lives on
    assert viewer.output().count("not shown: ") == 1
    assert status_of(port)["answer"] is None
