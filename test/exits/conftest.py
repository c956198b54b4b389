from pathlib import Path

import pytest
import torch

from dapdee_ros.exits.card import ModelCard
from dapdee_ros.exits.model_folder import architecture_of, build_multi_exit, save_model

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """A small untrained network in a model folder; don't write into it."""
    torch.manual_seed(3)
    architecture = architecture_of(
        "roadsigns", 4, {"width": 0.25}, ("stage1.neck.2", "stage3.neck.2"), 8, 2
    )
    model = build_multi_exit(architecture, (64, 64), MEAN, STD)
    folder: Path = tmp_path_factory.mktemp("models") / "small"
    return save_model(
        folder,
        model,
        name="small",
        architecture=architecture,
        labels=("a", "b", "c", "d"),
        mean=MEAN,
        std=STD,
        exit_quality=(0.25, 0.25, 0.25),
        quality_data="nothing: untrained",
        provenance={"command": "none"},
    )
