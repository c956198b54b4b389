"""A candidate table on disk: one JSON file with the prices and all that they are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dapdee_ros.codecs.bottleneck.file import is_point
from dapdee_ros.exits.exposure import NOT_ATTACKED, Exposures
from dapdee_ros.files import write_whole
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.planning.candidates import Candidates, CostBasis, exposures_of
from dapdee_ros.planning.codec_cost import CodecCost, GateOption, MeasuredCodec, TensorCost
from dapdee_ros.planning.errors import TableError
from dapdee_ros.planning.table import CandidateTable

FORMAT = 3


def save_table(table: CandidateTable, path: str | Path) -> None:
    """Write a table as JSON, with the model id and all that its prices are made of.

    A reader never sees half a file.
    """
    c = table.candidates
    basis = table.basis
    data = {
        "format": FORMAT,
        "model_id": table.model_id,
        "exact_up_to": table.exact_up_to if math.isfinite(table.exact_up_to) else None,
        "model_dag": basis.dag.to_dict(),
        "cut_dag": None if table.dag is basis.dag else table.dag.to_dict(),
        "car_s": basis.car_s.tolist(),
        "edge_s": basis.edge_s.tolist(),
        "car_cut_s": basis.car_cut_s.tolist(),
        "edge_cut_s": basis.edge_cut_s.tolist(),
        "exit_quality": list(basis.exit_quality),
        "quality_name": basis.quality_name,
        "exposures": basis.exposures.to_dict(table.model_id),
        "gates": [list(option) for option in basis.gates],
        "codecs": [_codec_values(table, codec) for codec in basis.codecs],
        "candidates": {
            "exits": c.exits.tolist(),
            "codecs": c.codecs.tolist(),
            "gates": c.gates.tolist(),
            "quality": c.quality.tolist(),
            "worst": c.worst.tolist(),
            "expected": c.expected.tolist(),
            "heads": [np.packbits(row).tobytes().hex() for row in c.heads],
            "boundaries": [np.flatnonzero(row).tolist() for row in c.boundaries],
        },
    }
    write_whole(Path(path), json.dumps(data, separators=(",", ":")))


def load_table(path: str | Path, model_id: str | None = None) -> CandidateTable:
    """Read a table that ``save_table`` wrote.

    Raises:
        TableError: if it cannot be read, is torn, or belongs to another model than asked for.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise TableError(
                f"{path} has format {data['format']}, this version reads {FORMAT}: build it again"
            )
        found = str(data["model_id"])
        if model_id is not None and model_id != found:
            raise TableError(f"{path} is the table of model {found}, asked for was {model_id}")
        dag = ModelDag.from_dict(data["model_dag"])
        cut_dag = dag if data["cut_dag"] is None else ModelDag.from_dict(data["cut_dag"])
        basis = CostBasis(
            dag,
            np.array(data["car_s"], np.float64),
            np.array(data["edge_s"], np.float64),
            tuple(_codec_from(values) for values in data["codecs"]),
            tuple(float(a) for a in data["exit_quality"]),
            tuple(GateOption(*option) for option in data["gates"]),
            str(data["quality_name"]),
            np.array(data["car_cut_s"], np.float64),
            np.array(data["edge_cut_s"], np.float64),
            Exposures.from_dict(data["exposures"], found, [node.name for node in dag.nodes])
            if "exposures" in data
            else NOT_ATTACKED,
        )
        candidates = _candidates_from(data["candidates"], cut_dag, basis)
        columns = (basis.car_s, basis.edge_s, basis.car_cut_s, basis.edge_cut_s)
        if any(len(column) != len(dag.nodes) for column in columns):
            raise TableError(f"{path} has not one time for each node")
        exact_up_to = math.inf if data["exact_up_to"] is None else float(data["exact_up_to"])
    except (TableError, GraphError):
        raise
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise TableError(
            f"cannot read a candidate table from {path}: {type(error).__name__}: {error}"
        ) from error
    return CandidateTable(basis, found, candidates, cut_dag, exact_up_to)


def _codec_values(table: CandidateTable, codec: CodecCost) -> dict[str, Any]:
    """A codec as numbers: what it says about every tensor and every candidate's boundary."""
    costs = {node.name: codec.tensor(node) for node in table.basis.dag.nodes}
    number = table.basis.codecs.index(codec)
    c = table.candidates
    names = [node.name for node in table.dag.nodes]
    losses = []
    for row in np.flatnonzero(c.codecs == number):
        boundary = tuple(names[i] for i in np.flatnonzero(c.boundaries[row]))
        exit_number = int(c.exits[row])
        losses.append([exit_number, list(boundary), codec.quality_loss(exit_number, boundary)])
    alike = {loss for _, _, loss in losses}
    # A bottleneck codes no boundary but its own.
    one = len(alike) == 1 and not is_point(codec.name)
    return {
        "name": codec.name,
        "tensors": {name: list(cost) for name, cost in costs.items() if cost is not None},
        "losses": [] if one else losses,
        "default_loss": alike.pop() if one else None,
        "byte_quantiles": list(getattr(codec, "byte_quantiles", ())),
    }


def _codec_from(values: Mapping[str, Any]) -> MeasuredCodec:
    return MeasuredCodec(
        str(values["name"]),
        {str(name): TensorCost(*map(float, cost)) for name, cost in values["tensors"].items()},
        {(int(n), tuple(boundary)): float(loss) for n, boundary, loss in values["losses"]},
        None if values["default_loss"] is None else float(values["default_loss"]),
        tuple(float(value) for value in values.get("byte_quantiles", ())),
    )


def _candidates_from(values: Mapping[str, Any], dag: ModelDag, basis: CostBasis) -> Candidates:
    count, nodes = len(values["exits"]), len(dag.nodes)
    boundaries = np.zeros((count, nodes), bool)
    for row, sent in enumerate(values["boundaries"]):
        boundaries[row, sent] = True
    packed = np.array([list(bytes.fromhex(row)) for row in values["heads"]], np.uint8)
    codecs = np.array(values["codecs"], np.intp)
    exposure = np.zeros(count)
    for number in np.unique(codecs):
        rows = codecs == number
        name = basis.codecs[number].name if number >= 0 else ""
        exposure[rows] = exposures_of(basis.exposures, dag, boundaries[rows], name)
    candidates = Candidates(
        exits=np.array(values["exits"], np.intp),
        heads=np.unpackbits(packed, axis=1)[:, :nodes].astype(bool),
        boundaries=boundaries,
        codecs=codecs,
        gates=np.array(values["gates"], np.intp),
        worst=np.array(values["worst"], np.float64),
        expected=np.array(values["expected"], np.float64),
        quality=np.array(values["quality"], np.float64),
        exposure=exposure,
    )
    whole = (4, count)
    if candidates.worst.shape != whole or candidates.expected.shape != whole:
        raise TableError(f"costs have shape {candidates.worst.shape}, expected {whole}")
    return candidates
