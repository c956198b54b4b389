"""The processes' settings, in addition to those of the rules in ``core/``."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.core.fair_queue import SHARE_BOUNDS
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import setting, setting_like
from dapdee_ros.datasets.frame_sources import SOURCES
from dapdee_ros.process_table import DEFAULT_MODEL, DEFAULT_SOURCE
from dapdee_ros.tasks.detection import SCORE

USUAL_RATE_HZ = 10.0
MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class HeadNodeSettings:
    """Settings of the head's process, in addition to ``ModelSettings`` and ``HeadSettings``."""

    keep_raw_on_car: bool = setting(
        False,
        "Refuse every plan that sends the image itself, or a tensor from which it could be "
        "reconstructed, whoever made the plan.",
        note="refuse every plan that sends the image itself, whoever made the plan",
    )
    keep_raw_on_car_ssim: float = setting(
        1.0,
        "With keep_raw_on_car: refuse every plan, too, that sends what an attack restored "
        "the image with a higher structural similarity than this, nor what nobody has attacked "
        "(`dapdee privacy`). 1: only the image itself, and what may hold all of it, stay.",
        bounds=(0.0, 1.0),
        note="with it: the highest similarity with which an attack may restore the image",
    )
    quality_floor: float = setting(
        0.0,
        "Refuse every plan whose quality, by the model's calibration, is lower or unknown.",
        bounds=(0.0, 1.0),
        note="refuse every plan whose quality is lower",
    )
    image_reliability: str = setting(
        "auto",
        "QoS of the image subscription: reliable (lost fragments are resent; incompatible with a "
        "best-effort publisher), best_effort, or auto: as the publishers offer.",
        choices=("auto", "reliable", "best_effort"),
        note="auto: as the images' publishers offer; reliable, best_effort",
    )
    image_transport: str = setting(
        "auto",
        "Where images come from: raw (image_raw), compressed (image_raw/compressed, JPEG or PNG: "
        "a JPEG can be passed on to the edge as it is), or auto: image_raw if it is published.",
        choices=("auto", "raw", "compressed"),
        note="raw: image_raw; compressed: image_raw/compressed; auto: image_raw if published",
    )
    vision_classes: str = setting(
        "number",
        "What detections and classification (vision_msgs) call a class: its number, which "
        "label_info translates, or its name.",
        choices=("number", "name"),
        note="what detections and classification call a class: number (see label_info) or name",
    )
    ledger_period_s: float = setting(
        1.0,
        "Seconds between two publications of the frame ledger.",
        unit="s",
        bounds=(0.1, 60.0),
    )


@dataclass(frozen=True)
class EdgeSettings:
    """Settings of the edge's inference node, in addition to ``ModelSettings``."""

    shares: tuple[str, ...] = setting(
        ("",),
        "Cars' shares of the edge's time while they want more than there is, relative to each "
        "other, such as ['car1=2', 'car2=0.5']; a car that is not named has 1. From "
        f"{SHARE_BOUNDS[0]:g} to {SHARE_BOUNDS[1]:g}. What a car leaves, the others use.",
        live=True,
        note="shares of the edge's time, such as [car1=2, car2=0.5]; not named: 1",
    )
    drain: bool = setting(
        False,
        "Take no more frames, as before maintenance: cars are told, move to another server or "
        "finish their frames themselves, and lose none.",
        live=True,
        note="take no more frames, as before maintenance",
    )
    queue_frames: int = setting(
        1,
        "Most frames of one car that may wait; the one that is due first is computed first, and of "
        "more the oldest is refused as busy. 1: only the newest waits.",
        bounds=(1, 16),
        on_configure=True,
        note="most frames of one car that wait; 1: only the newest",
    )
    queue_bytes: int = setting(
        268_435_456,
        "Most bytes of frames that wait, of all cars together; beyond, the car that holds the most "
        "for its share loses frames.",
        unit="bytes",
        bounds=(1_000_000, 2**40),
        on_configure=True,
        note="most bytes of frames that wait, of all cars together",
    )
    most_batch: int = setting(
        8,
        "Most frames that are computed together, of one car or several, where frames that need the "
        "same part of the network wait and the edge has measured that it pays; 2, 4, 8 or more by "
        "powers of two. 1: none.",
        bounds=(1, 64),
        on_configure=True,
        note="most frames computed together, where that pays; 1: none",
    )


@dataclass(frozen=True)
class ManagerNodeSettings:
    """Settings of the partition manager, in addition to ``PlanningSettings``."""

    model: str = setting(
        DEFAULT_MODEL,
        "Model to plan for: a name, or a model folder's path.",
        note="a name, or a model folder; the same for head, manager and edge",
    )
    codecs: tuple[str, ...] = setting(
        ("f32", "f16", "u8", "u8z", "u4z", "jpeg", "camera", "bottlenecks"),
        "Codecs that a plan may use. All but f32 and camera are used only where the model's "
        "calibration has measured what they lose; camera passes a camera's own JPEG on to the "
        "edge without decoding it on the car, where images come as such; bottlenecks stands for "
        "all points of all bottlenecks that car and edge have of the model.",
        note="codecs that plans may use; see dapdee calibrate and docs/bottlenecks.md",
    )


@dataclass(frozen=True)
class LoadMonitorSettings:
    """Settings of a load monitor."""

    machine: str = setting(
        "car",
        "Which side of the link this machine is on: it publishes <machine>/load.",
        choices=("car", "edge"),
        note="which side of the link this machine is on",
    )
    period_s: float = setting(
        1.0, "Seconds between two measurements.", unit="s", bounds=(0.1, 60.0)
    )
    reliable: bool = setting(
        True, "Reliable QoS for answers; as set for head and edge.", note="as set for head and edge"
    )


@dataclass(frozen=True)
class CameraSettings:
    """Settings of the camera."""

    source: str = setting(
        DEFAULT_SOURCE,
        "Where frames come from; with none, another driver publishes image_raw.",
        choices=(*SOURCES, "none"),
        note="roadscenes, roadsigns, device, video, images, yolo, coco (labelled images), none",
    )
    rate_hz: float = setting(
        USUAL_RATE_HZ,
        f"Frames per second. 0: the source's own rate, or {USUAL_RATE_HZ:g} if it has none.",
        unit="Hz",
        bounds=(0.0, 240.0),
        live=True,
        note="frames per second; 0: the source's own",
    )
    width: int = setting(
        0,
        "Width of the frames in pixels. 0: the source's own, or in proportion to the height.",
        unit="pixels",
        bounds=(0, 7680),
        note="pixels; 0: the source's own (roadsigns: 128x128, roadscenes: 320x320)",
    )
    height: int = setting(
        0,
        "Height of the frames in pixels. 0: the source's own, or in proportion to the width.",
        unit="pixels",
        bounds=(0, 4320),
        note="likewise",
    )
    path: str = setting(
        "",
        "File of source video; folder of source images; folder or file of a data set in YOLO's or "
        "COCO's layout, for sources yolo and coco.",
        note="of source video, images, yolo or coco",
    )
    device: str = setting(
        "/dev/video0",
        "Camera of source device: its path, its number, or the http:// or rtsp:// address of a "
        "network camera.",
        note="camera of source device: path, number in quotes, or http:// or rtsp:// address",
    )
    loop: bool = setting(True, "Restart a video, folder or data set at its end.")
    image_transport: str = setting(
        "raw",
        "What is published: raw (pixels on image_raw), or compressed (JPEGs on "
        "image_raw/compressed: a camera's or folder's own as they are, else encoded here).",
        choices=("raw", "compressed"),
        note="raw: pixels on image_raw; compressed: JPEGs on image_raw/compressed",
    )
    wait_for_subscriber: bool = setting(
        True,
        "Publish nothing until there is a subscription to image_raw, so that the first frames "
        "are not lost while the network is still loading.",
        note="publish nothing until there is a subscription to image_raw",
    )
    warm_up_s: float = setting(
        0.0,
        "Seconds from then until the first frame, in which nodes that have just started may find "
        "each other.",
        unit="s",
        bounds=(0.0, 60.0),
        note="seconds from then until the first frame",
    )
    exit_at_end: bool = setting(False, "End the process when a source without loop ends.")
    # The default model was trained on the scenes of seed 1 and is evaluated on others.
    seed: int = setting(
        7,
        "Seed of sources roadsigns and roadscenes, and of the order of labelled images.",
        bounds=(0, MOST_SEED),
        note="of the rendered scenes, and of the order of labelled images",
    )
    labels: tuple[str, ...] = setting(
        ("",),
        "Class folders of source images, in the order of their class numbers. Empty: by name.",
        note='class folders in the order of their class numbers; [""]: by name',
    )
    frame_id: str = setting("camera", "Coordinate frame in the images' headers.")


@dataclass(frozen=True)
class LinkEmulatorSettings:
    """Settings of the emulated link."""

    link: str = setting(
        "drive",
        "The link: cat1, 3g, 4g, wifi; a rate such as 8.5mbit; drive or drive:seed=7 (a "
        "synthetic drive with handovers and a tunnel); steps:5.85@0,1.1@10,0@20 (Mbit/s at "
        "seconds); or the path of a trace in Mahimahi's format. Its time 0 is the first result; "
        "until then it keeps its initial rate.",
        note="cat1, 3g, 4g, wifi, 8.5mbit, drive, steps:5.85@0,1.1@10, or a trace file; its time 0 "
        "is the first result",
    )
    downlink: str = setting(
        "",
        "The downlink, in the same format as link; empty: as the uplink.",
        note="empty: as the uplink",
    )
    delay_s: float = setting(
        0.01,
        "Propagation delay of each direction, in seconds.",
        unit="s",
        bounds=(0.0, 10.0),
    )
    queue_bytes: int = setting(
        100_000,
        "Bytes that may be queued in each direction; what does not fit is dropped.",
        unit="bytes",
        bounds=(1500, 100_000_000),
        note="bytes that may be queued in each direction; more is dropped",
    )
    loss_ratio: float = setting(
        0.0, "Share of messages that are lost in transit.", bounds=(0.0, 1.0)
    )
    seed: int = setting(0, "Seed of the random losses.", bounds=(0, MOST_SEED))
    far_prefix: str = setting("emulated", "Prefix of the topics on the edge's side of the link.")
    reliable: bool = setting(
        True, "Relay tensors reliably; as set for head and edge.", note="as set for head and edge"
    )


@dataclass(frozen=True)
class ViewerSettings:
    """Settings of the live view."""

    http_port: int = setting(
        8080,
        "Port of the live view's page; if it is taken, one of the next 20. 0: none.",
        bounds=(0, 65535),
        note="port of the page; if it is taken, one of the next 20; 0: none",
    )
    http_host: str = setting(
        "127.0.0.1",
        "Address to serve the page at. 0.0.0.0 shows it to the whole network: anyone there "
        "sees what the camera sees.",
        note="0.0.0.0 shows it to the whole network",
    )
    model: str = setting(
        "",
        "Model of the run, by name or folder, to show its cut, name its classes and judge its "
        "answers. Empty: unknown.",
        note="to show the cut, name classes and judge answers",
    )
    deadline_s: float = setting_like(
        PlanningSettings,
        "deadline_s",
        "Deadline in seconds to show until a plan has one.",
        live=False,
        note="shown until a plan has one",
    )
    max_rate_hz: float = setting(
        15.0,
        "Most images drawn per second.",
        unit="Hz",
        bounds=(0.2, 120.0),
    )
    least_score: float = setting(
        SCORE,
        "Boxes with a lower score are not drawn; they count for the quality all the same.",
        bounds=(0.0, 1.0),
        live=True,
        note="boxes with a lower score are not drawn",
    )
    snapshot_path: str = setting(
        "",
        "PNG file to which the last image is written at the end. Empty: none.",
        note="PNG file for the last image",
    )


@dataclass(frozen=True)
class RunRecorderSettings:
    """Settings of the run recorder."""

    path: str = setting("runs/run.json", "File to write the log to.")
    model: str = setting(DEFAULT_MODEL, "Model of the run, for its class names.")
    settings: str = setting("{}", "The run's settings, as a JSON object, to store in the log.")
    seconds: float = setting(
        0.0,
        "Seconds after the first result at which the process ends; 0: on a signal.",
        unit="s",
        bounds=(0.0, 1e6),
    )
    print_status: bool = setting(False, "Print a status line every second.")
    started_s: float = setting(
        0.0, "Monotonic clock at the start of the run, in seconds; 0: now.", unit="s"
    )
