"""Writes model folders as the first versions did: weights without operators."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from dapdee_ros.exits.calibration import calibrate
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.exits.gates import Calibration
from dapdee_ros.exits.model_folder import load_module

FORMER = {"quality": "accuracy", "exit_quality": "exit_accuracy"}


def write_format_1(folder: Path, card: ModelCard, *, calibrated: bool = True) -> Calibration:
    """A model as a folder of format 1, under the names of the first version; its calibration."""
    _, module = load_module(card.path)
    state = {k: v for k, v in module.state_dict().items() if "num_batches" not in k}
    weights = save({k: v.half() if v.ndim > 1 else v for k, v in state.items()})
    digest = hashlib.sha256(weights).hexdigest()
    spec = card.input_spec
    structure = {
        "architecture": card.architecture,
        "labels": card.labels,
        "input_size": spec.size,
        "mean": spec.mean,
        "std": spec.std,
        "weights": digest,
    }
    canonical = json.dumps(structure, sort_keys=True, separators=(",", ":"))
    model_id = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    values = {
        "format": 1,
        "name": card.name,
        "model_id": model_id,
        "architecture": card.architecture,
        "input": {"size": spec.size, "mean": spec.mean, "std": spec.std},
        "labels": card.labels,
        "accuracy": {"exits": card.exit_quality, "data": card.quality_data},
        "weights": {"sha256": digest, "bytes": len(weights)},
        "provenance": card.provenance,
    }
    draws = torch.Generator().manual_seed(0)
    exits, classes = len(card.dag.exits), len(card.labels)
    calibration = calibrate(
        [torch.randn(50, classes, generator=draws).numpy() for _ in range(exits)],
        torch.randint(0, classes, (50,), generator=draws).numpy(),
        model_id=model_id,
        data="noise",
    )
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(weights)
    nodes = [
        {**n.to_dict(), "dtype": n.dtype, "output_bytes": n.output_bytes} for n in card.dag.nodes
    ]
    graph = {**card.dag.to_dict(), "nodes": nodes}
    (folder / "graph.json").write_text(json.dumps(graph))
    (folder / "model.json").write_text(json.dumps(values))
    if calibrated:
        (folder / "calibration.json").write_text(json.dumps(_former(calibration.to_dict())))
    return calibration


def _former(values: Any) -> Any:
    if isinstance(values, dict):
        return {FORMER.get(name, name): _former(value) for name, value in values.items()}
    return values
