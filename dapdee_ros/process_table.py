"""Which processes run on which side, and with which parameters, for every way to start them.

No ROS in here and no ``launch``: the launch files turn the rows into actions, a program without
``launch`` into commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dapdee_ros.engines.engine import EDGE_ENGINES, ENGINES
from dapdee_ros.sealing.configured import DOMAIN_VARIABLE, KEY_VARIABLE

RELAYED = ("head_tensor", "edge_result", "probe", "probe_echo")
"""Topics that cross the link, and that the emulator therefore relays."""

FAR_PREFIX = "emulated"
"""Prefix of the topics on the edge's side of an emulated link."""


class ArgumentError(ValueError):
    """An invalid value of an argument; the message says what was expected."""


@dataclass(frozen=True)
class Argument:
    """An argument for starting a side.

    Attributes:
        name: its name, and the name of the parameters it sets.
        description: human-readable description.
        kind: str, int, float, or list for comma-separated names.
        default: its value as text. Empty: not set, and the parameter files apply.
        choices: the allowed values; any if empty.
        of_parameter: whether it sets parameters of nodes (otherwise it selects what is started).
    """

    name: str
    description: str
    kind: type = str
    default: str = ""
    choices: tuple[str, ...] = ()
    of_parameter: bool = True

    def read(self, text: str) -> Any:
        """The parsed value, or None if it is left to the parameter files.

        Raises:
            ArgumentError: if it is none of the choices, or not a number where one is expected.
        """
        if self.choices and text not in self.choices:
            raise ArgumentError(
                f"{self.name} is {text!r}, expected one of {', '.join(self.choices)}"
            )
        if text == "":
            return None
        if {*self.choices} - {""} == {"true", "false"}:
            return text == "true"
        if self.kind is list:
            return [name.strip() for name in text.split(",")]
        try:
            return self.kind(text)
        except ValueError:
            wanted = "a whole number" if self.kind is int else "a number"
            raise ArgumentError(f"{self.name} is {text!r}, expected {wanted}") from None


def _switch(name: str, default: str, description: str) -> Argument:
    return Argument(
        name, description, default=default, choices=("true", "false"), of_parameter=False
    )


DEFAULT_MODEL = "roadscenes-det"
DEFAULT_SOURCE = "roadscenes"
"""Frames that suit the default model."""

MODEL = Argument("model", "Model: an installed one's name, or a folder; the same everywhere.")
ENGINE = Argument(
    "engine",
    "What computes the network: onnxruntime, or torch, which must be installed for it.",
    choices=("", *ENGINES),
)
THREADS = Argument("threads", "Inference threads; 0: half of the cores.", int)
SIM_TIME = Argument(
    "use_sim_time",
    "Take the time in headers from /clock, as for a bag that is played with --clock. Timers keep "
    "running when it stops.",
    choices=("", "true", "false"),
)
SERVERS = Argument(
    "servers",
    "Names of the edge servers that the car may use, the favourite first, such as edge1,edge2. "
    "Empty: one edge server, without a name.",
    list,
)
LINK_KEY = Argument(
    "link_key",
    "Key that seals the link between car and edge, the same on both sides: a key file, a key's "
    "name (dapdee key new), or none. Empty: the only one in $ROS_HOME/dapdee/keys, if there is "
    "one.",
    of_parameter=False,
)
LINK_DOMAIN = Argument(
    "link_domain",
    "ROS domain of the sealed link, the same on both sides. Empty: ROS_DOMAIN_ID plus one.",
    int,
    of_parameter=False,
)
OF_EVERY_NODE = (SIM_TIME.name,)
"""Parameters that every node of every process takes."""

CAR_ARGUMENTS = (
    MODEL,
    Argument(
        "source",
        "Where frames come from: roadsigns or roadscenes (rendered), device (V4L2), video, images, "
        "yolo or coco (labelled images in these layouts), or none if another driver publishes "
        "image_raw.",
        choices=(
            "",
            "roadsigns",
            "roadscenes",
            "device",
            "video",
            "images",
            "yolo",
            "coco",
            "none",
        ),
    ),
    Argument("path", "File of source video, folder of source images, yolo or coco."),
    Argument("device", "Camera of source device: its path, its number or its http:// address."),
    Argument("rate_hz", "Frames per second of the camera node.", float),
    Argument("deadline_s", "Seconds from an image to its result.", float),
    Argument(
        "keep_raw_on_car",
        "The image itself never leaves the car: the manager does not plan to send it, and the "
        "head refuses plans that would.",
        choices=("", "true", "false"),
    ),
    Argument(
        "policy",
        "Policy that plans: exact, dapdee, dads, neurosurgeon, edgent, eddi, branchynet, "
        "edge-only, "
        "device-only, or package.module:Class of your own.",
    ),
    Argument(
        "pinned_plan",
        "A fixed plan to use instead of deciding, such as 'exit=4 boundary=image codec=f32'; "
        "without boundary the car finishes alone.",
    ),
    ENGINE,
    THREADS,
    Argument("emulated_slowdown", "Emulate a car this many times slower than this machine.", float),
    Argument(
        "link",
        "Emulated radio link: none (the real network), cat1, 3g, 4g, wifi, a rate such as 8.5mbit, "
        "drive, steps:5.85@0,1.1@10, or a trace file in Mahimahi's format. Its time 0 is the "
        "first result; until then it keeps its initial rate.",
        default="none",
    ),
    _switch(
        "edge",
        "true",
        "Start the edge's nodes here as well, those of every server; false if another machine runs "
        "edge.launch.py.",
    ),
    SERVERS,
    _switch("viewer", "false", "Start the live view here as well."),
    Argument("http_port", "Port of the live view; 0: topic only.", int),
    LINK_KEY,
    LINK_DOMAIN,
    SIM_TIME,
)
"""The arguments of the car's side."""

CARS = Argument(
    "cars",
    "Namespaces of the cars to serve, such as car1,car2. Empty: the edge's own namespace.",
    list,
)

EDGE_ARGUMENTS = (
    MODEL,
    Argument(
        "engine",
        "What computes the network: onnxruntime, torch, or ray: replicas on a Ray cluster.",
        choices=("", *EDGE_ENGINES),
    ),
    Argument(
        "ray",
        "The Ray cluster, as host:port of its head, or auto; implies engine ray. Empty: with that "
        "engine, one is started here.",
    ),
    Argument("ray_replicas", "Replicas of the network on the Ray cluster, at least.", int),
    THREADS,
    CARS,
    _switch(
        "fleet",
        "false",
        "Start the fleet node here as well: prices of this edge server and of radio cells for the "
        "cars (docs/fleet.md). One for all cars.",
    ),
    Argument(
        "server",
        "Name of this edge server, where cars use several: as in their argument servers.",
    ),
    _switch(
        "emulated_link",
        "false",
        "Use the topics behind the link emulator that the car's side started on this machine.",
    ),
    LINK_KEY,
    LINK_DOMAIN,
    SIM_TIME,
)
"""The arguments of the edge server's side."""


FLEET_ARGUMENTS = (CARS, SERVERS, LINK_KEY, LINK_DOMAIN, SIM_TIME)
"""The arguments of a fleet node that runs by itself."""


@dataclass(frozen=True)
class ProcessRow:
    """One process of the system.

    Attributes:
        executable: what ``ros2 run dapdee_ros`` starts.
        nodes: names of its nodes.
        takes: arguments that it takes as parameters.
        config: its parameter file in ``config/``, without the suffix; None: the executable's name.
        takers: the nodes among them that take these arguments; all if empty.
        fixed: parameters that are not arguments.
        name: new name for its only node, or None.
        far: whether it is on the far side of the link.
        required: whether the other processes are useless without it.
    """

    executable: str
    nodes: tuple[str, ...]
    takes: tuple[str, ...]
    config: str | None = None
    takers: tuple[str, ...] = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    name: str | None = None
    far: bool = False
    required: bool = True


CAMERA = ProcessRow("camera", ("camera",), ("source", "path", "device", "rate_hz"))
HEAD = ProcessRow(
    "head",
    ("head",),
    ("model", "deadline_s", "keep_raw_on_car", "engine", "threads", "emulated_slowdown", "servers"),
)
MANAGER = ProcessRow(
    "manager",
    ("partition_manager", "link_monitor", "load_monitor"),
    ("model", "deadline_s", "keep_raw_on_car", "policy", "pinned_plan", "servers"),
    takers=("partition_manager", "link_monitor"),
)
LINK_EMULATOR = ProcessRow(
    "link_emulator", ("link_emulator",), ("link", "servers"), fixed=(("far_prefix", FAR_PREFIX),)
)
VIEWER = ProcessRow("viewer", ("viewer",), ("model", "deadline_s", "http_port"), required=False)
_EDGE_TAKES = ("model", "engine", "threads", "ray", "ray_replicas", "cars", "server")
EDGE = ProcessRow("edge", ("edge",), _EDGE_TAKES, far=True)
EDGE_LOAD_MONITOR = ProcessRow(
    "load_monitor",
    ("edge_load_monitor",),
    ("cars", "server"),
    config="edge",
    fixed=(("machine", "edge"),),
    name="edge_load_monitor",
    far=True,
)
FLEET = ProcessRow("fleet", ("fleet",), ("cars", "servers"), required=False)
ROWS = (HEAD, EDGE, MANAGER, CAMERA, LINK_EMULATOR, EDGE_LOAD_MONITOR, FLEET, VIEWER)
"""All processes; the slowest to start come first."""

REQUIRED = frozenset(row.executable for row in ROWS if row.required) | {"run_recorder"}
"""Executables that a run cannot do without: if one fails for good, all end."""


@dataclass(frozen=True)
class ProcessStart:
    """A process to start.

    Attributes:
        row: its row in the table.
        parameters: values by name, for ``row.takers``; they override the parameter files.
        remaps: topics to rename.
        of: the edge server that it is a process of, if that has a name.
    """

    row: ProcessRow
    parameters: dict[str, Any]
    remaps: dict[str, str]
    of: str = ""

    @property
    def name(self) -> str:
        """What it is called among all that are started: the executable, and whose it is."""
        return f"{self.row.executable}_{self.of}" if self.of else self.row.executable

    @property
    def node_name(self) -> str | None:
        """New name for its only node, or None."""
        own = self.row.name or self.row.executable
        return f"{own}_{self.of}" if self.of else self.row.name


def car_side(values: Mapping[str, Any]) -> list[ProcessStart]:
    """The processes that run on the car.

    Args:
        values: parsed values of ``CAR_ARGUMENTS`` by name; None or absent: not set.
    """
    emulated = values.get("link") not in (None, "none")
    wanted = {
        LINK_EMULATOR: emulated,
        VIEWER: bool(values.get("viewer")),
        EDGE: bool(values.get("edge")),
        EDGE_LOAD_MONITOR: bool(values.get("edge")),
        FLEET: False,
    }
    rows = [row for row in ROWS if wanted.get(row, True)]
    servers = [name for name in values.get("servers") or () if name]
    if not servers:
        return _starts(rows, values, emulated)
    starts = _starts([row for row in rows if not row.far], values, emulated)
    for server in servers:
        of_server = {**values, "server": server}
        starts += _starts([row for row in rows if row.far], of_server, emulated)
    return starts


def edge_side(values: Mapping[str, Any]) -> list[ProcessStart]:
    """The processes that run on the edge server.

    Args:
        values: parsed values of ``EDGE_ARGUMENTS`` by name; None or absent: not set.
    """
    starts = _starts([EDGE, EDGE_LOAD_MONITOR], values, bool(values.get("emulated_link")))
    if values.get("fleet"):
        server = values.get("server")
        starts += fleet_side({**values, "servers": [server] if server else None})
    return starts


def fleet_side(values: Mapping[str, Any]) -> list[ProcessStart]:
    """A fleet node by itself.

    Args:
        values: parsed values of ``FLEET_ARGUMENTS`` by name; None or absent: not set.
    """
    return _starts([FLEET], values, False)


def link_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables for every process of a side: how its link is sealed.

    Args:
        values: parsed values of ``CAR_ARGUMENTS`` or ``EDGE_ARGUMENTS`` by name.
    """
    chosen = {KEY_VARIABLE: values.get("link_key"), DOMAIN_VARIABLE: values.get("link_domain")}
    return {name: str(value) for name, value in chosen.items() if value is not None}


def _starts(
    rows: list[ProcessRow], values: Mapping[str, Any], emulated: bool
) -> list[ProcessStart]:
    server = values.get("server") or ""
    return [
        ProcessStart(
            row,
            {
                **{
                    name: values[name]
                    for name in (*row.takes, *OF_EVERY_NODE)
                    if values.get(name) is not None
                },
                **dict(row.fixed),
            },
            _far_topics(f"{server}/" if server else "") if row.far and emulated else {},
            server if row.far else "",
        )
        for row in rows
    ]


def _far_topics(below: str) -> dict[str, str]:
    """The relayed topics' names on the far side of an emulated link; of a server below its name."""
    return {f"{below}{topic}": f"{below}{FAR_PREFIX}/{topic}" for topic in RELAYED}
