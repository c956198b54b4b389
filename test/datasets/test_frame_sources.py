"""Frame sources on real files, real decoders and a real network camera."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from dapdee_ros.datasets.camera_device import DeviceSource
from dapdee_ros.datasets.frame_source import FrameSource, SourceError
from dapdee_ros.datasets.frame_sources import SOURCES, open_source
from dapdee_ros.datasets.roadscenes import CLASSES, SURFACES, RoadScenes
from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns


def write_picture(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 12)
) -> None:
    path.parent.mkdir(exist_ok=True)
    picture = np.full((8, 12, 3), colour[::-1], np.uint8)
    assert cv2.imwrite(str(path), picture)


def write_video(path: Path, greys: list[int], rate_hz: float = 12.5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, (32, 16))
    assert writer.isOpened()
    for grey in greys:
        writer.write(np.full((16, 32, 3), grey, np.uint8))
    writer.release()
    return path


def colours(source: FrameSource, count: int | None = None) -> list[tuple[int, ...]]:
    frames = [frame for frame in islice(source, count) if frame is not None]
    return [tuple(int(value) for value in frame.image[2, 2]) for frame in frames]


def test_rendered_signs_are_those_of_the_seed_with_their_labels() -> None:
    source = open_source("roadsigns", seed=5, size=(32, 48))
    assert source.labels == LABELS and source.rate_hz is None
    signs = RoadSigns(5, (32, 48))
    for index, frame in enumerate(islice(source, 4)):
        assert frame is not None
        np.testing.assert_array_equal(frame.image, signs.frame(index).image)
        assert frame.truth is not None and frame.truth.label == signs.frame(index).label


@pytest.mark.parametrize(
    ("size", "shape"), [((0, 0), (128, 128, 3)), ((40, 0), (40, 40, 3)), ((0, 50), (50, 50, 3))]
)
def test_rendered_size_follows(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    frame = next(open_source("roadsigns", size=size))
    assert frame is not None and frame.image.shape == shape


def test_rendered_scenes_are_a_drive_with_their_objects_and_class_map() -> None:
    source = open_source("roadscenes", seed=5, size=(96, 128))
    assert source.labels == CLASSES and source.surfaces == SURFACES and source.rate_hz == 10
    scenes = RoadScenes(5, (96, 128))
    for index, frame in enumerate(islice(source, 5)):
        expected = scenes.frame(index)
        assert frame is not None and frame.truth is not None and frame.truth.label is None
        np.testing.assert_array_equal(frame.image, expected.image)
        np.testing.assert_array_equal(frame.truth.class_map, expected.class_map)
        boxes = np.array(frame.truth.boxes)
        assert [tuple(box) for box in boxes] == [o.box for o in expected.objects]
        assert list(frame.truth.box_labels) == [o.label for o in expected.objects]
    usual = next(open_source("roadscenes"))
    assert usual is not None and usual.image.shape == (320, 320, 3)
    with pytest.raises(SourceError, match="road scenes: frames must be at least 64 pixels"):
        open_source("roadscenes", size=(32, 32))


def test_rendered_camera_needs_no_opencv() -> None:
    program = (
        "import sys; from dapdee_ros.datasets.frame_sources import open_source;"
        "next(open_source('roadsigns'));"
        "sys.exit(sum(name in sys.modules for name in ('cv2', 'torch', 'matplotlib', 'rclpy')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_video_gives_its_frames_and_rate_and_ends(tmp_path: Path) -> None:
    greys = [10, 90, 170, 250]
    source = open_source("video", path=str(write_video(tmp_path / "drive.avi", greys)))
    assert source.rate_hz == pytest.approx(12.5)
    seen = colours(source)
    source.close()
    assert np.abs(np.array(seen) - np.array(greys)[:, None]).max() <= 3


def test_video_loops_and_is_resized(tmp_path: Path) -> None:
    path = write_video(tmp_path / "drive.avi", [20, 220])
    source = open_source("video", path=str(path), loop=True, size=(8, 0))
    frames = [frame for frame in islice(source, 5) if frame is not None]
    source.close()
    assert [frame.image.shape for frame in frames] == [(8, 16, 3)] * 5
    assert [int(frame.image.mean()) > 120 for frame in frames] == [False, True, False, True, False]


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        write_picture(tmp_path / f"frame{number}.png", (number, 100, 200))
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_source("images", path=str(tmp_path))
    assert colours(source) == [(1, 100, 200), (2, 100, 200), (10, 100, 200)]
    assert source.labels == ()


def labelled(folder: Path) -> Path:
    for place, name in enumerate(("stop", "yield")):
        for number in range(6):
            write_picture(folder / name / f"{number}.png", (place, number, 50))
    return folder


def test_class_folders_label_their_pictures_in_a_drawn_order(tmp_path: Path) -> None:
    folder = str(labelled(tmp_path))
    source = open_source("images", path=folder, seed=1)
    assert source.labels == ("stop", "yield")
    frames = [frame for frame in source if frame is not None]
    shown = [frame.truth.label if frame.truth else None for frame in frames]
    assert shown == [int(frame.image[0, 0, 0]) for frame in frames]
    assert sorted(label or 0 for label in shown) == [0] * 6 + [1] * 6
    # Mixed, the same for the same seed, another for another.
    order = colours(open_source("images", path=folder, seed=1))
    assert order == [tuple(frame.image[2, 2]) for frame in frames]
    assert order != sorted(order)
    assert order != colours(open_source("images", path=folder, seed=2))


def test_given_labels_number_the_classes(tmp_path: Path) -> None:
    labels = ["background", "yield", "stop"]
    source = open_source("images", path=str(labelled(tmp_path)), labels=labels)
    assert source.labels == tuple(labels)
    pairs = {
        (frame.truth.label if frame.truth else None, int(frame.image[0, 0, 0]))
        for frame in source
        if frame is not None
    }
    assert pairs == {(2, 0), (1, 1)}


def test_broken_picture_is_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_picture(tmp_path / "1.png", (1, 1, 1))
    (tmp_path / "2.png").write_bytes(b"\x89PNG torn")
    (tmp_path / "3.png").write_bytes(b"")
    write_picture(tmp_path / "4.png", (4, 4, 4))
    source = open_source("images", path=str(tmp_path), loop=True)
    assert [colour[0] for colour in colours(source, 5)] == [1, 4, 1, 4, 1]
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2 and "2.png" in warnings[0] and "3.png" in warnings[1]


def test_nothing_but_broken_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"torn")
    source = open_source("images", path=str(tmp_path), loop=True)
    with pytest.raises(SourceError, match="none of the images"):
        next(source)


def a_text_file(folder: Path) -> str:
    (folder / "film.mp4").write_text("not a film")
    return str(folder / "film.mp4")


def beside_each_other(folder: Path) -> str:
    write_picture(folder / "1.png", (1, 1, 1))
    return str(labelled(folder))


@pytest.mark.parametrize(
    ("kind", "path", "says"),
    [
        ("video", lambda folder: "", "needs a path: that of the video file"),
        ("video", lambda folder: str(folder / "none.mp4"), "no video file .*none.mp4"),
        ("video", lambda folder: str(folder), "no video file"),
        ("video", a_text_file, "cannot be read as a video"),
        ("images", lambda folder: "", "needs a path: that of the folder"),
        ("images", lambda folder: str(folder / "none"), "no folder .*none"),
        ("images", str, "no images in .*one folder per class"),
        ("images", beside_each_other, "beside class folders"),
        ("radar", str, "expected one of " + ", ".join(SOURCES)),
    ],
)
def test_what_cannot_be_opened_is_refused_in_words(
    tmp_path: Path, kind: str, path: Callable[[Path], str], says: str
) -> None:
    with pytest.raises(SourceError, match=says):
        open_source(kind, path=path(tmp_path))


def test_class_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\['yield'\] that are not among the labels"):
        open_source("images", path=str(labelled(tmp_path)), labels=["stop"])


@pytest.mark.parametrize(("seed", "size"), [(-1, (0, 0)), (1, (8, 8))])
def test_impossible_scenes_are_refused(seed: int, size: tuple[int, int]) -> None:
    with pytest.raises(SourceError, match="road signs: "):
        open_source("roadsigns", seed=seed, size=size)


def test_missing_camera_is_named_with_those_that_exist() -> None:
    with pytest.raises(SourceError, match=r"no camera /dev/video97: .*/dev/video") as refused:
        open_source("device", device="97")
    for path in Path("/dev").glob("video*"):
        assert str(path) in str(refused.value)


def test_file_that_is_no_camera_is_refused(tmp_path: Path) -> None:
    (tmp_path / "video0").write_text("")
    with pytest.raises(SourceError, match="delivers no image"):
        open_source("device", device=str(tmp_path / "video0"))


class NetworkCamera:
    """A real network camera: JPEG images over HTTP, each slightly brighter, until it is off."""

    def __init__(self, port: int = 0) -> None:
        camera = self
        self.grey = 0
        self.off = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while not camera.off.wait(0.005):
                    camera.grey = (camera.grey + 1) % 250
                    picture = np.full((24, 32, 3), camera.grey, np.uint8)
                    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                    try:
                        self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
                    except OSError:
                        return

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def switch_off(self) -> None:
        self.off.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def network_camera() -> Iterator[list[NetworkCamera]]:
    cameras = [NetworkCamera()]
    yield cameras
    cameras[-1].switch_off()


def next_frame(source: DeviceSource, timeout_s: float = 10.0) -> int:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if (frame := next(source)) is not None:
            assert frame.truth is None
            return int(frame.image.mean())
        time.sleep(0.005)
    raise AssertionError(f"no new frame within {timeout_s} s")


def test_camera_gives_the_newest_frame_and_comes_back(
    network_camera: list[NetworkCamera], caplog: pytest.LogCaptureFixture
) -> None:
    camera = network_camera[0]
    address = f"http://127.0.0.1:{camera.port}/stream.mjpg"
    source = DeviceSource(address, retry_s=0.1)
    try:
        next_frame(source)
        before = camera.grey
        time.sleep(0.3)  # a reader slower than the camera
        lag = (camera.grey - next_frame(source)) % 250
        assert (camera.grey - before) % 250 > 20
        assert lag < 20, "the frames have queued"
        camera.switch_off()
        for _ in range(100):
            if next(source) is None:
                break
            time.sleep(0.05)
        time.sleep(0.05)
        assert next(source) is None
        network_camera.append(NetworkCamera(camera.port))
        for _ in range(3):
            next_frame(source)
    finally:
        source.close()
    told = [record.getMessage() for record in caplog.records]
    assert any("has vanished" in line for line in told)
    assert any("is back" in line for line in told)
    assert not any(thread.name == "camera" for thread in threading.enumerate())


def test_a_network_camera_s_jpegs_are_taken_as_they_are(
    network_camera: list[NetworkCamera],
) -> None:
    source = DeviceSource(f"http://127.0.0.1:{network_camera[0].port}/s.mjpg", files=True)
    try:
        assert source.description.endswith("32x24, JPEG")
        before = next_frame(source)
        end = time.monotonic() + 10
        while (frame := next(source)) is None and time.monotonic() < end:
            time.sleep(0.005)
        assert frame is not None and frame.file is not None
        grey = int(frame.image.mean())
        assert grey != before
        picture = np.full((24, 32, 3), grey, np.uint8)
        assert frame.file == cv2.imencode(".jpg", picture)[1].tobytes()
    finally:
        source.close()


def test_a_folder_s_jpegs_are_handed_on_where_they_hold_the_frame(tmp_path: Path) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (24, 32, 3), np.uint8)
    plain = cv2.imencode(".jpg", picture)[1].tobytes()
    # EXIF says that it has to be turned by 180 degrees, which no size tells.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + plain[2:]
    progressive = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    png = cv2.imencode(".png", picture)[1].tobytes()
    for name, data in (("1.jpg", plain), ("2.jpg", turned), ("3.jpg", progressive), ("4.png", png)):
        (tmp_path / name).write_bytes(data)
    given = open_source("images", path=str(tmp_path), files=True)
    assert [frame.file for frame in given if frame] == [plain, None, None, None]
    for options in ({}, {"files": True, "size": (12, 16)}):
        frames = open_source("images", path=str(tmp_path), **options)  # type: ignore[arg-type]
        assert not any(frame.file for frame in frames if frame)
