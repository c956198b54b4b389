import pytest
import torch
from torch.nn import functional

from dapdee_ros.training.losses import JointLoss, rising_weights


def _batch(exits: int = 3) -> tuple[list[torch.Tensor], torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    logits = [torch.randn(8, 4, generator=draws, requires_grad=True) for _ in range(exits)]
    return logits, torch.randint(0, 4, (8,), generator=draws)


def test_weighted_sum_of_cross_entropies() -> None:
    logits, labels = _batch()
    expected = sum(
        w * functional.cross_entropy(row, labels, label_smoothing=0.1)
        for w, row in zip((0.5, 0.0, 2.0), logits, strict=True)
    )
    came = JointLoss((0.5, 0.0, 2.0), label_smoothing=0.1)(logits, labels)
    assert torch.allclose(came, torch.as_tensor(expected))


def test_a_weight_of_zero_leaves_an_exit_out() -> None:
    logits, labels = _batch()
    JointLoss((0.0, 0.0, 1.0), distillation=1.0)(logits, labels).backward()
    assert logits[0].grad is None
    assert logits[2].grad is not None


def test_learned_weights_settle_where_the_loss_says() -> None:
    logits, labels = _batch(2)
    loss = JointLoss((1.0, 1.0), uncertainty=True)
    assert loss.log_variance is not None
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        loss([row.detach() for row in logits], labels).backward()
        optimiser.step()
    # exp(-s) L + s / 2 is lowest where s = log(2 L).
    for s, row in zip(loss.log_variance, logits, strict=True):
        assert float(s.detach()) == pytest.approx(
            float(torch.log(2 * functional.cross_entropy(row.detach(), labels))), abs=1e-3
        )


def test_distillation_pulls_early_exits_to_the_deepest_and_not_the_other_way() -> None:
    gradients = []
    for distillation in (0.0, 1.0):
        logits, labels = _batch(2)
        loss = JointLoss((1.0, 0.5), distillation=distillation)(logits, labels)
        gradients.append(torch.autograd.grad(loss, logits))
    (early, deepest), (pulled, teacher) = gradients
    assert torch.allclose(teacher, deepest)
    assert not torch.allclose(pulled, early)
    same = [logits[1].detach(), logits[1].detach()]
    assert torch.allclose(
        JointLoss((1.0, 1.0), distillation=5.0)(same, labels),
        JointLoss((1.0, 1.0))(same, labels),
        atol=1e-5,
    )


def test_rising_weights() -> None:
    assert rising_weights(1) == (1.0,)
    assert rising_weights(3) == (0.3, 0.65, 1.0)
