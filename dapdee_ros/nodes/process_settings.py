"""What of the processes can be set, beside the rules' own settings in ``core/``."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import setting, setting_like
from dapdee_ros.datasets.frame_sources import SOURCES
from dapdee_ros.runtime.slow_runner import MOST_SLOWDOWN

USUAL_RATE_HZ = 10.0
MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class ModelSettings:
    """Of a process that computes: head and edge."""

    model: str = setting(
        "roadsigns",
        "Model to run: the name of one that is installed, or the path of a model folder. "
        "Car and edge need the same one.",
        on_configure=True,
        note="a name, or a model folder; the same for head, manager and edge",
    )
    autostart: bool = setting(True, "Configure and activate without being told to.")
    threads: int = setting(
        0,
        "Threads that compute the network; 0 takes half of the cores.",
        bounds=(0, 256),
        on_configure=True,
        note="inference threads; 0: half of the cores",
    )
    reliable: bool = setting(
        True,
        "Send tensors reliably, so that lost packets are sent again; false: best effort. Both "
        "sides must agree.",
        note="send lost packets of a tensor again; the same on both sides",
    )
    emulated_slowdown: float = setting(
        1.0,
        "Emulate a processor so many times slower than this one, by waiting after every "
        "computation; 1 is off. For trying things without the slow machine.",
        bounds=(1.0, MOST_SLOWDOWN),
        on_configure=True,
        note="emulate a processor so many times slower; 1: off",
    )


@dataclass(frozen=True)
class HeadNodeSettings:
    """Of the head's process, beside ``ModelSettings`` and ``HeadSettings``."""

    keep_raw_on_car: bool = setting(
        False,
        "Refuse every plan that sends the image itself, or a tensor that it could be computed "
        "back from, whoever made it.",
        note="refuse every plan that sends the image itself, whoever made it",
    )
    quality_floor: float = setting(
        0.0,
        "Refuse every plan whose quality, by the model's calibration, is less or not known.",
        bounds=(0.0, 1.0),
        note="refuse every plan whose quality is less",
    )
    image_reliability: str = setting(
        "auto",
        "How images are subscribed to: reliable (lost parts are sent again; a best-effort "
        "publisher is not heard), best_effort, or auto: as their publishers offer them.",
        choices=("auto", "reliable", "best_effort"),
        note="auto: as the images' publishers offer them; reliable, best_effort",
    )
    ledger_period_s: float = setting(
        1.0,
        "Seconds between two publications of the frame ledger.",
        unit="s",
        bounds=(0.1, 60.0),
    )


@dataclass(frozen=True)
class ServedCars:
    """Of what runs on the edge server."""

    cars: tuple[str, ...] = setting(
        ("",),
        "Namespaces of the cars to serve, such as ['car1', 'car2']; an empty one is the node's "
        "own. With a sealed link every car has a key of its own (docs/security.md).",
        note='namespaces of the cars to serve, such as [car1, car2]; "": the edge\'s own',
    )


@dataclass(frozen=True)
class ManagerNodeSettings:
    """Of the partition manager, beside ``PlanningSettings``."""

    model: str = setting(
        "roadsigns",
        "Model to plan for: a name, or a model folder's path.",
        note="a name, or a model folder; as head and edge have it",
    )
    codecs: tuple[str, ...] = setting(
        ("f32", "f16", "u8", "u8z", "u4z", "jpeg"),
        "Codecs that a plan may use for what it sends. Other than f32 they are used only where "
        "the model's calibration says what they cost.",
        note="what may be sent with; see dapdee calibrate",
    )


@dataclass(frozen=True)
class LoadMonitorSettings:
    """Of a load monitor."""

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
        True, "Answers come reliably; as set for head and edge.", note="as set for head and edge"
    )


@dataclass(frozen=True)
class CameraSettings:
    """Of the camera."""

    source: str = setting(
        "roadsigns",
        "Where frames come from; with none, another driver publishes image_raw.",
        choices=(*SOURCES, "none"),
        note="roadsigns, device, video, images, or none (another driver publishes image_raw)",
    )
    rate_hz: float = setting(
        USUAL_RATE_HZ,
        f"Frames per second. 0: the source's own rate, or {USUAL_RATE_HZ:g} where it has none.",
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
        note="pixels; 0: the source's own (roadsigns: 128x128)",
    )
    height: int = setting(
        0,
        "Height of the frames in pixels. 0: the source's own, or in proportion to the width.",
        unit="pixels",
        bounds=(0, 4320),
        note="likewise",
    )
    path: str = setting("", "File of source video, folder of source images.")
    device: str = setting(
        "/dev/video0",
        "Camera of source device: its path, its number, or the http:// or rtsp:// address of a "
        "network camera.",
        note="camera of source device: path, number in quotes, or http:// or rtsp:// address",
    )
    loop: bool = setting(True, "Begin a video or folder again at its end.")
    wait_for_subscriber: bool = setting(
        True,
        "Publish nothing until somebody subscribes to image_raw, so that the first frames are "
        "not lost on a network that is still loading.",
        note="publish nothing until somebody subscribes to image_raw",
    )
    exit_at_end: bool = setting(False, "End the process when a source without loop ends.")
    # The default model was trained on the scenes of seed 1 and is judged by others.
    seed: int = setting(
        7,
        "Seed of source roadsigns, and of the order of labelled images.",
        bounds=(0, MOST_SEED),
        note="of the rendered scenes, and of the order of labelled images",
    )
    labels: tuple[str, ...] = setting(
        ("",),
        "Class folders of source images in the order that numbers them. Empty: by name.",
        note='class folders in the order that numbers them; [""]: by name',
    )
    frame_id: str = setting("camera", "Coordinate frame in the images' headers.")


@dataclass(frozen=True)
class LinkEmulatorSettings:
    """Of the emulated link."""

    link: str = setting(
        "drive",
        "The link: cat1, 3g, 4g, wifi; a rate such as 8.5mbit; drive or drive:seed=7 (a "
        "synthetic drive with handovers and a tunnel); steps:5.85@0,1.1@10,0@20 (Mbit/s at "
        "seconds); or the path of a trace in Mahimahi's format. Its time 0 is the first "
        "result; until then it stays as it begins.",
        note="cat1, 3g, 4g, wifi, 8.5mbit, drive, steps:5.85@0,1.1@10, or a trace file; its time 0 "
        "is the first result",
    )
    downlink: str = setting(
        "",
        "The way back, in the same words as link; empty: as the uplink.",
        note="the way back; empty: as the uplink",
    )
    delay_s: float = setting(
        0.01,
        "Propagation delay of each direction, in seconds.",
        unit="s",
        bounds=(0.0, 10.0),
    )
    queue_bytes: int = setting(
        100_000,
        "Bytes that may wait for the link in each direction; what does not fit is dropped.",
        unit="bytes",
        bounds=(1500, 100_000_000),
        note="what may wait in each direction; more is dropped",
    )
    loss_ratio: float = setting(
        0.0, "Share of the messages that are lost on the way.", bounds=(0.0, 1.0)
    )
    seed: int = setting(0, "Seed of the random losses.", bounds=(0, MOST_SEED))
    far_prefix: str = setting("emulated", "Prefix of the topics on the edge's side of the link.")
    reliable: bool = setting(
        True, "Relay tensors reliably; as set for head and edge.", note="as set for head and edge"
    )


@dataclass(frozen=True)
class ViewerSettings:
    """Of the live picture."""

    http_port: int = setting(
        8080,
        "Port of the page with the live picture; if it is taken one of the next 20. 0: none.",
        bounds=(0, 65535),
        note="the page; if the port is taken one of the next 20; 0: none",
    )
    http_host: str = setting(
        "127.0.0.1",
        "Address to serve the page at. 0.0.0.0 shows it to the whole network: anyone there "
        "sees what the camera sees.",
        note="0.0.0.0 shows it to the whole network",
    )
    model: str = setting(
        "",
        "Model of the run, by name or folder, to show where it is cut. Empty: unknown.",
        note="to show where in the network the cut lies",
    )
    deadline_s: float = setting_like(
        PlanningSettings,
        "deadline_s",
        "Deadline in seconds that is shown until a plan names one.",
        live=False,
        note="shown until a plan names one",
    )
    max_rate_hz: float = setting(
        15.0,
        "Most pictures drawn per second.",
        unit="Hz",
        bounds=(0.2, 120.0),
    )
    snapshot_path: str = setting(
        "",
        "File (PNG) to which the last picture is written at the end. Empty: none.",
        note="PNG file for the last picture",
    )


@dataclass(frozen=True)
class RunRecorderSettings:
    """Of the run recorder."""

    path: str = setting("runs/run.json", "File to write the log to.")
    model: str = setting("roadsigns", "Model of the run, for its class names.")
    settings: str = setting("{}", "What was run, as a JSON object, to be kept with the log.")
    seconds: float = setting(
        0.0,
        "Seconds after the first result at which the process ends; 0: when told to.",
        unit="s",
        bounds=(0.0, 1e6),
    )
    print_status: bool = setting(False, "Print a status line every second.")
    started_s: float = setting(
        0.0, "Monotonic clock at the start of the run, in seconds; 0: now.", unit="s"
    )
