"""Networks whose blocks were measured on a real Raspberry Pi 4: every policy that fits a chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dapdee_ros.experiment.matrix import LINKS, Cell, run_cell
from dapdee_ros.experiment.subjects import Subject
from dapdee_ros.simulation.block_chain import BlockTimes, chain_problem

NETWORKS = ("vgg16", "resnet50", "mobilenetv2", "inception_v3")
CAR = "raspberry_pi_4"
EDGES = ("edge_i5_2500", "pc_6700k_cpu")
CHAIN_CODECS = ("raw", "f32", "u8")
RIVALS = ("device-only", "edge-only", "neurosurgeon", "dads", "edgent", "eddi", "dapdee")
_NO_CODEC_NEEDED = ("device-only",)


def chain_subject(times: BlockTimes, network: str, edge: str, car: str = CAR) -> Subject:
    """A network measured elsewhere, to experiment with."""
    problems = {codec: chain_problem(times, network, car, edge, codec) for codec in CHAIN_CODECS}
    return Subject(f"{network}, {car} beside {edge}", problems, None, "")


def run_chains(
    times: BlockTimes,
    loads: Sequence[str] = ("light", "heavy"),
    networks: Sequence[str] = NETWORKS,
    edges: Sequence[str] = EDGES,
    links: Sequence[str] = LINKS,
    told: Callable[[Cell], None] = lambda cell: None,
) -> list[Cell]:
    """All cells of these networks; ``told`` is called with each when it is done."""
    cells = []
    for network in networks:
        for edge in edges:
            subject = chain_subject(times, network, edge)
            for load in loads:
                for link in links:
                    for codec in CHAIN_CODECS:
                        cells.append(run_cell(subject, link, load, codec, chain_policies(codec)))
                        told(cells[-1])
    return cells


def chain_policies(codec: str) -> list[str]:
    """The rivals' names, with the codec where they would send float32 otherwise."""
    plain = codec != "u8"
    return [n if plain or n in _NO_CODEC_NEEDED else f"{n}+{codec}" for n in RIVALS]
