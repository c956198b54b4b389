"""Start a training with the weights of models that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dapdee_ros.exits.card import ModelCard, ModelFolderError
from dapdee_ros.exits.model_folder import COUNTER, architecture_in, load_module, load_weights
from dapdee_ros.exits.multi_exit import MultiExit
from dapdee_ros.exits.networks import Network

# What the names of the weights of exits before the deepest begin with, their place following.
_BRANCHES = "branches."

# Networks of different builders have a backbone in common if it makes up this share of the weights.
_SHARED_AT_LEAST = 0.3


def start_from(
    folders: Sequence[Path | str], model: Network, architecture: Mapping[str, Any]
) -> list[ModelCard]:
    """Put the weights of stored models into a network of the same layers, to train it further.

    Arguments of the builder, such as a dropout, may differ, as long as the layers are the same.
    The exits may sit elsewhere: one at a node that carries an exit in both, of the same branch,
    starts with that one's weights, any other with fresh ones.

    One model with another builder gives its backbone, which is each weight of the same name and
    shape: a segmenter starts with what a detector has learnt to see in the same scenes.

    Several models have their weights averaged (M. Wortsman et al., "Model soups: averaging weights
    of multiple fine-tuned models improves accuracy without increasing inference time", ICML 2022).
    That only helps with models that were trained from one another or from a common one.

    Raises:
        ModelFolderError: if a folder cannot be loaded, or its network is another.
    """
    if len(folders) == 1 and (card := _backbone_of_another(folders[0], model, architecture)):
        return [card]
    built = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if name.startswith(_BRANCHES) and not name.endswith(COUNTER)
    }
    cards = []
    given: dict[str, list[Tensor]] = {}
    for folder in folders:
        card, stored = load_module(folder, with_calibration=False)
        its = architecture_in(card)
        for key in ("builder", "classes"):
            if its[key] != architecture[key]:
                raise ModelFolderError(
                    f"{card.path} cannot be started from: its {key} is {its[key]}, "
                    f"here it is {architecture[key]}"
                )
        if isinstance(model, MultiExit) and isinstance(stored, MultiExit):
            own = _weights_for(model, stored, its["branch"] == architecture["branch"])
        else:
            own = {k: v for k, v in stored.state_dict().items() if not k.endswith(COUNTER)}
        # One at a time, so that a message names the folder that does not fit.
        load_weights(model, {**built, **own}, str(card.path))
        for name, tensor in own.items():
            given.setdefault(name, []).append(tensor)
        cards.append(card)
    mean = {name: torch.stack(tensors).mean(0) for name, tensors in given.items()}
    load_weights(model, {**built, **mean}, " and ".join(str(card.path) for card in cards))
    return cards


def _backbone_of_another(
    folder: Path | str, model: Network, architecture: Mapping[str, Any]
) -> ModelCard | None:
    """Start with the backbone of a model of another builder; None where the builder is the same."""
    card, stored = load_module(folder, with_calibration=False)
    builder = architecture_in(card)["builder"]
    if builder == architecture["builder"]:
        return None
    own = model.state_dict()
    shared = {
        name: tensor
        for name, tensor in stored.state_dict().items()
        if name in own and own[name].shape == tensor.shape and not name.endswith(COUNTER)
    }
    weights = sum(tensor.numel() for tensor in shared.values())
    if weights < _SHARED_AT_LEAST * sum(tensor.numel() for tensor in own.values()):
        raise ModelFolderError(
            f"{card.path} cannot be started from: its builder is {builder}, here it is "
            f"{architecture['builder']}, and their backbones differ"
        )
    rest = {n: t for n, t in own.items() if n not in shared and not n.endswith(COUNTER)}
    load_weights(model, {**rest, **shared}, str(card.path))
    return card


def _weights_for(model: MultiExit, stored: MultiExit, same_branch: bool) -> dict[str, Tensor]:
    """What ``stored`` has for ``model``, by the names it has there."""
    own = {}
    for key, tensor in stored.state_dict().items():
        name = key
        if key.startswith(_BRANCHES):
            place, _, rest = key.removeprefix(_BRANCHES).partition(".")
            tap = stored.taps[int(place)]
            if not (same_branch and tap in model.taps):
                continue
            name = f"{_BRANCHES}{model.taps.index(tap)}.{rest}"
        if not name.endswith(COUNTER):
            own[name] = tensor
    return own
