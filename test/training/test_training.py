from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dapdee_ros.datasets.sources import StoredImages
from dapdee_ros.datasets.split import Split
from dapdee_ros.exits.model_folder import (
    architecture_of,
    build_multi_exit,
    load_model,
    save_model,
)
from dapdee_ros.training.checkpoint import CheckpointError
from dapdee_ros.training.classification import (
    ClassificationTraining,
    augment,
    cut_mix,
    cut_out,
    exit_accuracies,
    shrink,
)
from dapdee_ros.training.recipe import Recipe, frame_scale, one_cycle
from dapdee_ros.training.small_maps import SmallMapConv2d
from dapdee_ros.training.training import Training

pytestmark = pytest.mark.training


def _colours() -> StoredImages:
    """Three classes of noisy grey frames that differ in which channel is bright."""
    draws = np.random.default_rng(0)
    splits = []
    for count in (48, 24):
        labels = draws.integers(0, 3, count)
        images = draws.integers(0, 120, (count, 32, 32, 3))
        images[np.arange(count), :, :, labels] += 80
        splits.append(Split(images.astype(np.uint8), labels, f"{count} grey frames"))
    return StoredImages(splits[0], splits[1], ("r", "g", "b"), flip=True)


def _training(out: Path, **changes: object) -> Training:
    recipe = Recipe(**{"epochs": 3, "batch_size": 16, "uncertainty": True, **changes})  # type: ignore[arg-type]
    torch.manual_seed(recipe.seed)
    # This network has dropout, so that a resumed training must also find its random numbers again.
    taps = ("stage1.neck.2", "stage3.neck.2")
    architecture = architecture_of("roadsigns", 3, {"width": 0.25}, taps, 8, 2)
    source = _colours()
    model = build_multi_exit(architecture, source.size, source.mean, source.std)
    task = ClassificationTraining(source, recipe, model.exits)
    return Training(model, task, recipe, out, {"data": "colours"})


def _after(steps: int) -> Callable[[], bool]:
    left = [steps]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    return stop


@pytest.mark.parametrize(
    ("optimiser", "bf16", "cycles"), [("sgd", True, 3), ("sgd", True, 1), ("adamw", False, 1)]
)
def test_stopped_twice_and_resumed_ends_with_the_same_weights(
    tmp_path: Path, optimiser: str, bf16: bool, cycles: int
) -> None:
    options = {
        "optimiser": optimiser,
        "bf16": bf16,
        "learning_rate": 0.01,
        "cutmix": 0.5,
        "cycles": cycles,
    }
    whole = _training(tmp_path / "whole", **options)
    last = list(whole.run())[-1]
    assert last.step == last.steps == 9
    for steps in (2, 5):  # in the middle of the first epoch, then at the end of the second
        part = _training(tmp_path / "parts", **options)
        for _ in part.run(_after(steps)):
            pass
    assert part.step == 7
    rest = _training(tmp_path / "parts", **options)
    assert rest.step == 7
    again = list(rest.run())[-1]
    assert again == last
    expected, came = whole.trained().state_dict(), rest.trained().state_dict()
    assert all(torch.equal(expected[name], came[name]) for name in expected)


def test_the_weights_at_the_ends_of_cycles_are_averaged(tmp_path: Path) -> None:
    unseen = _training(tmp_path / "unseen", cycles=3, bf16=False)
    list(unseen.run())
    looked_at = _training(tmp_path / "looked_at", cycles=3, bf16=False)
    states, rates = [], []
    for at in looked_at.run():
        assert (looked_at.present() is looked_at.model) == (at.step < 3)
        rates.append(looked_at.optimiser.param_groups[0]["lr"])
        if at.step % 3 == 0:
            states.append({k: v.clone() for k, v in looked_at.model.named_parameters()})
    assert len(states) == 3
    assert rates == rates[:3] * 3 and rates[2] < 1e-3 * rates[1]
    trained = looked_at.trained()
    for name, parameter in trained.named_parameters():
        mean = torch.stack([state[name] for state in states]).mean(0)
        assert torch.allclose(parameter, mean, atol=1e-6), name
        assert not torch.equal(parameter, states[-1][name]), name
    # To look on the way does not change where a training goes, though this network has dropout.
    expected, came = unseen.trained().state_dict(), trained.state_dict()
    assert all(torch.equal(expected[name], came[name]) for name in expected)


def test_the_exits_alone_leave_the_backbone_as_it_is(tmp_path: Path) -> None:
    training = _training(tmp_path, exits_only=True, uncertainty=False, learning_rate=0.02)
    before = {k: v.clone() for k, v in training.model.state_dict().items()}
    steps = []
    for at in training.run():
        steps.append(at)
        # To look at the network in the middle of an epoch must not wake the backbone.
        exit_accuracies(training.model, _colours().held_out())
    after = training.trained().state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("branches.") for name in changed)
    assert any("running_mean" in name for name in changed)
    assert steps[-1].loss < steps[0].loss


def test_a_kill_between_checkpoints_goes_back_to_the_last(tmp_path: Path) -> None:
    whole = _training(tmp_path / "whole")
    list(whole.run())
    killed = _training(tmp_path / "killed")
    steps = killed.run()
    for _ in range(5):  # three steps make an epoch; the two after it are lost
        next(steps)
    del steps
    resumed = _training(tmp_path / "killed")
    assert resumed.step == 3
    list(resumed.run())
    expected, came = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(expected[name], came[name]) for name in expected)


def test_it_learns(tmp_path: Path) -> None:
    training = _training(tmp_path, epochs=10, learning_rate=0.02, uncertainty=False)
    steps = list(training.run())
    assert steps[-1].loss < steps[0].loss
    assert min(exit_accuracies(training.model, _colours().held_out())) > 0.9


def test_a_trained_model_is_stored_with_plain_convolutions(tmp_path: Path) -> None:
    source = _colours()
    # Some of its convolutions have enough channels to be trained as matrix products.
    architecture = architecture_of("alexnet-cifar", 3, {}, ("features.1.1",), 8, 2)
    model = build_multi_exit(architecture, source.size, source.mean, source.std)
    recipe = Recipe(epochs=1, batch_size=48)
    task = ClassificationTraining(source, recipe, model.exits)
    training = Training(model, task, recipe, tmp_path, {})
    assert any(type(module) is SmallMapConv2d for module in model.modules())
    assert len(list(training.run())) == 1
    trained = training.trained()
    assert not any(type(module) is SmallMapConv2d for module in trained.modules())
    save_model(
        tmp_path / "model",
        trained,
        name="colours",
        architecture=architecture,
        labels=source.labels,
        mean=source.mean,
        std=source.std,
        exit_quality=exit_accuracies(trained, source.held_out()),
        quality_data="noise",
        provenance={},
    )
    load_model(tmp_path / "model")


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    next(_training(tmp_path).run(lambda: True))
    training = _training(tmp_path)
    for _ in training.run(lambda: True):
        pass
    with pytest.raises(CheckpointError, match=r"differs in recipe .*'seed': 0.*'seed': 4"):
        _training(tmp_path, seed=4)


def test_a_torn_checkpoint_is_named(tmp_path: Path) -> None:
    for _ in _training(tmp_path).run(lambda: True):
        pass
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        _training(tmp_path)


def test_augmentation_moves_and_mirrors() -> None:
    frames = torch.arange(6 * 5 * 7 * 3, dtype=torch.uint8).reshape(6, 5, 7, 3)
    draws = torch.Generator().manual_seed(1)
    as_it_is = torch.zeros(6, dtype=torch.bool)
    assert torch.equal(augment(frames, 0, as_it_is, draws), frames)
    moved = augment(frames, 1, as_it_is, draws)
    assert not torch.equal(moved, frames)
    for frame, original in zip(moved, frames, strict=True):
        padded = torch.nn.functional.pad(
            original.permute(2, 0, 1).float(), (1, 1, 1, 1), mode="replicate"
        ).permute(1, 2, 0)
        places = [padded[y : y + 5, x : x + 7] for y in range(3) for x in range(3)]
        assert any(torch.equal(frame.float(), place) for place in places)
    every_second = torch.arange(6) % 2 == 0
    mirrored = augment(frames, 0, every_second, draws)
    for frame, original, turned in zip(mirrored, frames, every_second, strict=True):
        assert torch.equal(frame, original.flip(1) if turned else original)


def test_each_frame_is_mirrored_in_every_second_epoch(tmp_path: Path) -> None:
    task = _training(tmp_path).task
    assert isinstance(task, ClassificationTraining)
    every = np.arange(task.source.frames_per_epoch())
    first, second, third = (task._mirrored(every, epoch) for epoch in range(3))
    assert torch.equal(second, ~first) and torch.equal(third, first)
    assert 0.25 < first.float().mean() < 0.75
    task.source.flip = False
    assert not task._mirrored(every, 0).any()


def test_frames_grow_to_their_full_size_while_training() -> None:
    sizes = [round(32 * frame_scale(step, 100, 0.5)) for step in range(100)]
    assert sizes == [16] * 30 + [24] * 30 + [32] * 40
    assert {frame_scale(step, 10, 1.0) for step in range(10)} == {1.0}
    frames = torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8)
    assert shrink(frames, 1.0) is frames
    small = shrink(torch.full((2, 8, 12, 3), 200, dtype=torch.uint8), 0.5)
    assert small.shape == (2, 4, 6, 3) and small.dtype == torch.uint8 and (small == 200).all()


def test_a_square_of_each_frame_is_covered() -> None:
    images = torch.full((64, 12, 10, 3), 9, dtype=torch.uint8)
    fill = torch.tensor([1, 2, 3], dtype=torch.uint8)
    covered = cut_out(images, 4, fill, torch.Generator().manual_seed(0))
    lost = (covered == fill).all(-1)
    assert ((covered == images).all(-1) | lost).all()
    areas = lost.sum((1, 2))
    # At a border part of the square is outside: at least a quarter of it is always in the frame.
    assert areas.max() == 16 and areas.min() >= 4
    # One rectangle each: as many pixels as its rows times its columns.
    assert torch.equal(areas, lost.any(2).sum(1) * lost.any(1).sum(1))
    assert len({tuple(frame.flatten().tolist()) for frame in lost}) > 20
    assert cut_out(images, 0, fill, torch.Generator()) is images


def test_a_box_of_another_frame_brings_its_share_of_the_label() -> None:
    torch.manual_seed(0)
    labels = torch.arange(64) % 3
    images = (10 * labels.to(torch.uint8))[:, None, None, None].expand(64, 12, 10, 3)
    mixed, shares = cut_mix(images, labels, 3)
    assert mixed.shape == images.shape and mixed.dtype == torch.uint8
    assert shares.shape == (64, 3)
    # Each frame shows of every class just as much as its label says.
    for label in range(3):
        area = (mixed[..., 0] == 10 * label).float().mean((1, 2))
        assert torch.allclose(area, shares[:, label], atol=1e-6)
    assert (shares.max(1).values < 1).any()


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [one_cycle(step, 100, 0.5) for step in range(100)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[25] == pytest.approx(0.5)
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] == pytest.approx(0.5 / 250_000)
    assert one_cycle(0, 1, 0.5) > 0
