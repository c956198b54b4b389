"""Learned bottlenecks: small encoders, nested channels, priors, trainings that resume."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from dapdee_ros.codecs.bottleneck.file import (
    LATENT_IN,
    LATENT_OUT,
    RESTORED,
    BottleneckError,
    is_name,
    read_bottleneck,
)
from dapdee_ros.codecs.bottleneck.message import decode_latent, encode_latent
from dapdee_ros.codecs.bottleneck.range_coder import TOTAL
from dapdee_ros.datasets.sources import RenderedSigns
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.codec_calibration import boundaries_to_measure
from dapdee_ros.exits.model_folder import load_model, load_traced
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.training.bottlenecks.calibration import count_priors, measure_points, symbols_at
from dapdee_ros.training.bottlenecks.coding import (
    MOST_SHARE,
    Decoder,
    Encoder,
    flops_of,
    latent_grid,
    make_encoder,
)
from dapdee_ros.training.bottlenecks.components import patches_of, principal_components
from dapdee_ros.training.bottlenecks.distillation import boxes_error, classes_error
from dapdee_ros.training.bottlenecks.frozen import (
    FrozenNetwork,
    TracedNetwork,
    deeper_tensors,
    exits_behind,
)
from dapdee_ros.training.bottlenecks.judging import comparisons
from dapdee_ros.training.bottlenecks.points import Point, quantised, rate_weights, usual_points
from dapdee_ros.training.bottlenecks.prior import (
    LearnedPrior,
    clipped,
    coded_bits,
    counted_prior,
)
from dapdee_ros.training.bottlenecks.task import BOTTLENECK_RECIPE, BottleneckTraining
from dapdee_ros.training.bottlenecks.trainee import Design, Trainee, can_have_bottleneck
from dapdee_ros.training.bottlenecks.writing import (
    Trained,
    settle,
    start_from,
    write_bottleneck,
)
from dapdee_ros.training.checkpoint import CHECKPOINT_FILE, CheckpointError
from dapdee_ros.training.training import Training

pytestmark = pytest.mark.training

ROADSIGNS = find_model("roadsigns")
BOUNDARY = ("backbone.stage2.neck.2",)
RECIPE = replace(BOTTLENECK_RECIPE, epochs=2, batch_size=4, bf16=False)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # several wait for each other on a busy machine


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return TracedNetwork(*load_traced(ROADSIGNS))


@pytest.fixture(scope="module")
def signs() -> RenderedSigns:
    return RenderedSigns(frames_per_epoch=64, held_out_frames=40)


def trainee_of(network: FrozenNetwork, channels: int = 16, rate_weight: float = 0.2) -> Trainee:
    torch.manual_seed(0)
    return Trainee(network, Design(BOUNDARY, usual_points(channels), channels, rate_weight))


def images(count: int) -> torch.Tensor:
    return torch.from_numpy(RenderedSigns(frames_per_epoch=count).train(0).images)


# The frozen network -------------------------------------------------------------------------------


def test_a_part_computes_batches_as_the_runner_does_frame_by_frame(network: FrozenNetwork) -> None:
    dag = network.dag
    outputs = [dag.exit_sink(number) for number in range(2, 6)]
    frames = images(3)
    boundary = network.part([dag.input], BOUNDARY)(frames)
    together = network.part(BOUNDARY, outputs)(*boundary)
    runner = load_model(ROADSIGNS).runner
    for place in range(3):
        alone = runner.run({dag.input: frames[place : place + 1]}, outputs)
        for name, rows in zip(outputs, together, strict=True):
            torch.testing.assert_close(
                rows[place : place + 1], alone[name].clone(), rtol=1e-4, atol=1e-4
            )


def test_gradients_reach_the_boundary_and_no_weight(network: FrozenNetwork) -> None:
    sink = network.dag.exit_sink(5)
    boundary = torch.rand(2, *network.dag.by_name[BOUNDARY[0]].shape[1:], requires_grad=True)
    rest = network.part(BOUNDARY, [sink])
    rest(boundary)[0].sum().backward()
    assert boundary.grad is not None and boundary.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in rest.parameters())


def test_a_boundary_that_is_none_says_what_would_have_to_be_sent(network: FrozenNetwork) -> None:
    assert exits_behind(network.dag, BOUNDARY) == (2, 3, 4, 5)
    with pytest.raises(GraphError, match="has to send"):
        exits_behind(network.dag, ["backbone.stage2.blocks.0.first.2"])
    with pytest.raises(GraphError, match=r"no node 'backbone\.stage9'.*backbone\.stem"):
        exits_behind(network.dag, ["backbone.stage9"])
    with pytest.raises(GraphError, match=r"nothing is left|has to send"):
        exits_behind(network.dag, [network.dag.exit_sink(5)])


def test_deeper_tensors_lie_between_boundary_and_output(network: FrozenNetwork) -> None:
    found = deeper_tensors(network.dag, BOUNDARY, 5, 4)
    order = [node.name for node in network.dag.nodes]
    assert len(found) == 4 and found == sorted(found, key=order.index)
    assert order.index(found[0]) > order.index(BOUNDARY[0])


# Encoder and decoder ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["roadsigns", "vgg16-cifar10", "alexnet-cifar10"])
def test_no_encoder_takes_more_than_a_tenth_of_its_head(model: str) -> None:
    card, _ = load_traced(find_model(model))
    tried = 0
    for name in list(boundaries_to_measure(card.dag))[1:]:
        shape = card.dag.by_name[name].shape
        if not can_have_bottleneck(card, (name,), 16):
            continue
        head = sum(card.dag.by_name[node].flops for node in card.dag.ancestors((name,)))
        encoder = make_encoder([shape], 16, latent_grid([shape], card.input_size), head)
        encoder.fold()
        assert 0 < flops_of(encoder, [torch.zeros(shape)]) <= MOST_SHARE * head
        tried += 1
    assert tried >= 3


def test_a_head_too_small_for_any_encoder_is_refused_with_figures() -> None:
    with pytest.raises(BottleneckError, match=r"more than 10%.*later boundary"):
        make_encoder([(1, 80, 40, 40)], 32, (20, 20), 1_000_000)


def test_the_latent_has_cells_of_16_pixels_unless_the_boundary_is_coarser() -> None:
    assert latent_grid([(1, 80, 40, 40)], (320, 320)) == (20, 20)
    assert latent_grid([(1, 40, 80, 80)], (320, 320)) == (20, 20)
    assert latent_grid([(1, 9, 10, 10)], (320, 320)) == (10, 10)
    assert latent_grid([(1, 40, 80, 80), (1, 80, 40, 40)], (320, 320)) == (20, 20)
    with pytest.raises(BottleneckError, match="no feature map"):
        latent_grid([(1, 512)], (32, 32))
    with pytest.raises(BottleneckError, match="powers of two apart"):
        latent_grid([(1, 8, 30, 30), (1, 8, 20, 20)], (320, 320))


def test_folding_changes_no_result_and_can_be_undone() -> None:
    torch.manual_seed(0)
    shapes = [(1, 6, 16, 16), (1, 10, 8, 8)]
    encoder, decoder = Encoder(shapes, 8, (4, 4), 16, 2), Decoder(shapes, 8, (4, 4))
    for number, shape in enumerate(shapes):
        spread = torch.rand(1, shape[1], 1, 1) + 0.1
        getattr(encoder, f"scale{number}").copy_(spread)
        getattr(decoder, f"scale{number}").copy_(spread)
        getattr(decoder, f"offset{number}").copy_(torch.rand(1, shape[1], 1, 1))
    boundary, latent = [torch.rand(2, *shape[1:]) for shape in shapes], torch.randn(2, 8, 4, 4)
    for undone in (False, True):
        before = (encoder(boundary), *decoder(latent))
        for part in (encoder, decoder):
            part.unfold() if undone else part.fold()
        for was, now in zip(before, (encoder(boundary), *decoder(latent)), strict=True):
            torch.testing.assert_close(now, was, rtol=1e-4, atol=1e-4)


def test_a_boundary_with_negative_values_is_restored_with_them_and_stored_in_finite_numbers() -> (
    None
):
    torch.manual_seed(0)
    decoder = Decoder([(1, 6, 8, 8), (1, 6, 8, 8)], 8, (4, 4))
    decoder.get_buffer("least1").zero_()  # as measured on one that holds none
    with torch.no_grad():
        signed, rectified = decoder(torch.randn(4, 8, 4, 4))
    assert float(signed.min()) < 0 <= float(rectified.min())
    assert all(torch.isfinite(tensor).all() for tensor in decoder.state_dict().values())


def test_the_first_weights_restore_all_that_so_many_principal_components_hold() -> None:
    torch.manual_seed(0)
    shapes, grid = [(1, 3, 8, 8), (1, 2, 4, 4)], (4, 4)
    boundary = [torch.randn(6, *shape[1:]).cumsum(1) for shape in shapes]
    left = []
    for channels in (2, 8, 14):
        encoder, decoder = Encoder(shapes, channels, grid, 8, 3), Decoder(shapes, channels, grid)
        components = principal_components(patches_of(boundary, grid), channels)
        encoder.start_linear(components.encode, components.bias)
        decoder.start_linear(components.decode)
        with torch.no_grad():
            latent = encoder(boundary)
            restored = decoder(latent)
        spreads = latent.std((0, 2, 3))
        assert (spreads.diff() <= 1e-5).all(), "the first channels say most"
        torch.testing.assert_close(latent.mean((0, 2, 3)), torch.zeros(channels), atol=1e-4, rtol=0)
        # The decoder's offsets, here 0, are the means of the channels.
        centred = [t - t.mean((0, 2, 3), keepdim=True) for t in boundary]
        left.append(
            sum(float((a - b).square().sum()) for a, b in zip(restored, centred, strict=True))
        )
    whole = sum(float(t.square().sum()) for t in centred)
    assert left[0] > left[1] > left[2] and left[2] < 0.05 * whole


def test_components_are_those_that_the_gradients_say_matter() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4000, 6) * torch.tensor([2.0, 1.8, 1.5, 1.2, 1.0, 0.9])
    # The loudest direction does not matter at all, the last two do.
    gradients = torch.randn(4000, 6) * torch.tensor([1e-4, 0.1, 0.1, 0.1, 20.0, 20.0])
    plain, weighted = (principal_components(rows, 2, g) for g in (None, gradients))
    assert plain.encode[0].abs().argmax() == 0 and plain.encode[1].abs().argmax() == 1
    assert {4, 5} == set(weighted.encode.abs().argmax(1).tolist())
    torch.testing.assert_close(
        weighted.encode @ weighted.decode.t(), torch.eye(2), atol=1e-4, rtol=0
    )


# Points and priors --------------------------------------------------------------------------------


def test_points_are_nested_and_rise_in_bytes() -> None:
    points = usual_points(32)
    assert len(points) >= 5
    assert [p.channels for p in points] == sorted(p.channels for p in points)
    assert [p.step for p in points] == sorted((p.step for p in points), reverse=True)
    weights = rate_weights(points)
    assert weights[-1] == 1 and weights == sorted(weights, reverse=True)


def test_a_point_of_fewer_channels_sends_a_prefix_of_the_others() -> None:
    latent = 5 * torch.randn(2, 8, 4, 4)
    few, all_of_them = symbols_at(latent, Point(3, 2.0)), symbols_at(latent, Point(8, 2.0))
    assert (few == all_of_them[:, :3]).all()
    other = latent.clone()
    other[:, 3:] = 99.0
    count, step = torch.tensor([3, 3]), torch.tensor([2.0, 2.0])
    got = quantised(latent, count, step)
    assert (got == quantised(other, count, step)).all() and (got[:, 3:] == 0).all()
    assert np.allclose(got[:, :3].numpy(), 2.0 * few)


def test_the_quantiser_passes_gradients_on_of_what_is_sent() -> None:
    latent = torch.randn(1, 4, 2, 2, requires_grad=True)
    quantised(latent, torch.tensor([2]), torch.tensor([1.5])).sum().backward()
    assert latent.grad is not None
    assert (latent.grad[:, :2] == 1).all() and (latent.grad[:, 2:] == 0).all()


def test_the_learned_prior_is_a_distribution_over_symbols() -> None:
    torch.manual_seed(0)
    prior = LearnedPrior(2)
    for step in (0.5, 1.0, 3.0):
        grid = torch.arange(-127, 128).float() * step
        latent = grid.view(1, 1, 1, -1).expand(1, 2, 1, -1).contiguous()
        total = prior.probability(latent, torch.tensor([step])).sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-3, atol=1e-3)


def test_counted_priors_are_whole_frequencies_that_cost_little_more_than_the_entropy() -> None:
    draws = np.random.default_rng(0)
    symbols = np.clip(np.rint(draws.normal(0, 3, 20_000)), -127, 127).astype(np.int64)
    prior = counted_prior(symbols)
    lowest, frequencies = prior[0], np.array(prior[1:])
    assert frequencies.sum() == TOTAL and frequencies.min() >= 1
    assert lowest == symbols.min() - 1 and lowest + len(frequencies) - 1 == symbols.max() + 1
    _, counts = np.unique(symbols, return_counts=True)
    share = counts / counts.sum()
    entropy = -(share * np.log2(share)).sum() * len(symbols)
    assert entropy <= coded_bits(prior, symbols).sum() <= 1.01 * entropy
    assert clipped(prior, np.array([-100, 100])).tolist() == [symbols.min() - 1, symbols.max() + 1]


@pytest.mark.parametrize("value", [0, -127, 127])
def test_a_channel_that_says_nothing_costs_almost_nothing(value: int) -> None:
    prior = counted_prior(np.full(40_000, value))
    assert sum(prior[1:]) == TOTAL and prior[0] >= -127 and prior[0] + len(prior) - 2 <= 127
    assert coded_bits(prior, np.full(400, value)).sum() < 8


# Errors that are learned from ---------------------------------------------------------------------


def test_a_row_counts_as_much_as_the_frozen_network_is_sure_of_it() -> None:
    right = torch.zeros(1, 2, 8)
    right[0, 0, 4:6] = 0.99
    moved_sure, moved_unsure = right.clone(), right.clone()
    moved_sure[0, 0, 0] += 1.0
    moved_unsure[0, 1, 0] += 1.0
    assert float(boxes_error(right, right)) == pytest.approx(0, abs=1e-6)
    assert float(boxes_error(moved_unsure, right)) < 0.01 * float(boxes_error(moved_sure, right))
    false_alarm = right.clone()
    false_alarm[0, 1, 4] = 0.9
    assert float(boxes_error(false_alarm, right)) > 0.5


def test_classes_of_maps_are_compared_pixel_by_pixel() -> None:
    right = torch.randn(2, 3, 4, 4)
    assert torch.allclose(classes_error(right, right), torch.zeros(2), atol=1e-6)
    assert classes_error(right.flip(1), right).shape == (2,)
    assert classes_error(right[:, :, 0, 0], right[:, :, 0, 0]).shape == (2,)


# Training -----------------------------------------------------------------------------------------


def training_of(
    network: FrozenNetwork, signs: RenderedSigns, out: Path, **identity: object
) -> Training[Trainee]:
    trainee = trainee_of(network)
    task = BottleneckTraining(trainee, signs.train(0), RECIPE, None)
    trainee.measure(task.first_frames())
    return Training(trainee, task, RECIPE, out, identity)


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(
    network: FrozenNetwork, signs: RenderedSigns, tmp_path: Path
) -> None:
    whole = training_of(network, signs, tmp_path / "whole")
    losses = [step.loss for step in whole.run()]
    assert losses[-1] < losses[0]
    broken = training_of(network, signs, tmp_path / "broken")
    assert sum(1 for _ in broken.run(lambda: broken.step == 67)) == 67
    again = training_of(network, signs, tmp_path / "broken")
    assert again.step == 67
    assert [step.loss for step in again.run()] == losses[67:]
    for name, tensor in whole.trained().state_dict().items():
        assert torch.equal(tensor, again.trained().state_dict()[name]), name
    with pytest.raises(CheckpointError, match=r"of another training.*boundary"):
        training_of(network, signs, tmp_path / "broken", boundary="another")
    (tmp_path / "broken" / CHECKPOINT_FILE).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="cannot be read"):
        training_of(network, signs, tmp_path / "broken")


def test_the_file_computes_what_was_trained_and_is_started_from(
    network: FrozenNetwork, signs: RenderedSigns, tmp_path: Path
) -> None:
    trainee = trainee_of(network)
    frames = signs.held_out()
    trainee.measure(torch.from_numpy(frames.images))
    settle(trainee)
    points = trainee.design.points
    priors = count_priors(trainee, frames, points)
    from dapdee_ros.tasks.task import task_of

    compare = comparisons(task_of(network.card), frames.labels.tolist())
    measured = measure_points(trainee, frames, points, priors, compare)
    assert all(math.isfinite(one.mean_bytes) and one.mean_bytes > 12 for one in measured)
    assert measured[0].mean_bytes < measured[-1].mean_bytes
    for one in measured:
        for exit_number, (plain, coded) in one.qualities.items():
            assert coded == pytest.approx(plain - one.changes[exit_number].lost)
    path = tmp_path / "stage2.onnx"
    trained = [Trained(p, prior) for p, prior in zip(points, priors, strict=True)]
    written = write_bottleneck(path, trainee, network.card, trained, {}, {"made": "here"})
    boundary, _ = trainee.teacher(torch.from_numpy(frames.images))
    with torch.inference_mode():
        latents = trainee.encoder(boundary).numpy()
    for point, one in zip(written.points, measured, strict=True):
        messages = [encode_latent(written, point, latent[None]) for latent in latents]
        # What was measured is what crosses the link.
        assert np.mean(list(map(len, messages))) == pytest.approx(one.mean_bytes, abs=1)
        got = decode_latent(written, point, np.frombuffer(messages[0], np.uint8))
        sent, step = latents[:1, : point.channels], point.step
        assert (got[:, point.channels :] == 0).all()
        assert np.abs(got[:, : point.channels] - sent).max() <= step * 1.01 or one is measured[0]
    model = onnx.load_model(path)
    assert [t.name for t in model.graph.input] == [*BOUNDARY, LATENT_IN]
    assert [t.name for t in model.graph.output] == [LATENT_OUT, RESTORED + BOUNDARY[0]]
    kernels = [t for t in model.graph.initializer if len(t.dims) > 1]
    assert {t.data_type for t in kernels} == {onnx.TensorProto.FLOAT16}
    other = trainee_of(network)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1.0)
    other.measure(torch.from_numpy(frames.images))
    assert written.id == read_bottleneck(path).id
    start_from(written, other)
    other.encoder.fold()
    torch.testing.assert_close(
        other.encoder(boundary), trainee.encoder(boundary), rtol=1e-3, atol=1e-3
    )
    with pytest.raises(BottleneckError, match="does not fit"):
        start_from(written, trainee_of(network, channels=8))


def test_names_are_small_letters_digits_and_hyphens() -> None:
    assert is_name("stage2-2_add") and is_name("a")
    assert not any(map(is_name, ("", "2a", "A", "a.b", "a@1", "a" * 29, "a/b")))
