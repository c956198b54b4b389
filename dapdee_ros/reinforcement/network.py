"""The networks that learn: the same weights for each of a car's plans, whatever their number."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from dapdee_ros.planning.fleet.in_turn import CAR_FEATURES, PLAN_FEATURES, WEIGHTS
from dapdee_ros.planning.fleet.short_list import LENGTH

NEVER = -1e9
"""Score of a plan that is not there."""


def _parts(seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Observations ``(n, size)`` in parts: of the car ``(n, 1, CAR_FEATURES)``, of its plans
    ``(n, LENGTH, PLAN_FEATURES)``, and which of them are there, ``(n, LENGTH, 1)``.
    """
    plans = seen[:, CAR_FEATURES:].reshape(-1, LENGTH, PLAN_FEATURES)
    return seen[:, None, :CAR_FEATURES], plans, plans[..., -1:]


class _Plans(nn.Module):
    """Features of every plan, ``(n, LENGTH, width)``, and their mean, ``(n, 1, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.plan = nn.Linear(PLAN_FEATURES, width)
        self.car = nn.Linear(CAR_FEATURES, width, bias=False)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        car, plans, there = _parts(seen)
        each = torch.relu(self.plan(plans) + self.car(car))
        mean = (each * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True)
        return each, mean


class Actor(nn.Module):
    """Scores of all actions, ``(n, LENGTH * weights)``, for observations ``(n, size)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.plans = _Plans(width)
        self.each = nn.Linear(width, width)
        self.mean = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, len(WEIGHTS))
        # At first every action is about as likely as any other.
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)

    def forward(self, seen: Tensor) -> Tensor:
        """The scores."""
        each, mean = self.plans(seen)
        scores = self.score(torch.relu(self.each(each) + self.mean(mean)))
        *_, there = _parts(seen)
        return scores.masked_fill(there < 0.5, NEVER).flatten(1)


class _Critic(nn.Module):
    """What the value of a state is computed from, ``(n, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.plans = _Plans(width)
        self.rest = nn.Linear(width, width)

    def forward(self, seen: Tensor) -> Tensor:
        _, mean = self.plans(seen)
        return torch.relu(self.rest(mean[:, 0]))


class _ActorAndCritic(nn.Module):
    """Both, as stable-baselines3 calls them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = LENGTH * len(WEIGHTS), width
        self.actor, self.critic = Actor(width), _Critic(width)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self.actor(seen), self.critic(seen)

    def forward_actor(self, seen: Tensor) -> Tensor:
        return self.actor(seen)

    def forward_critic(self, seen: Tensor) -> Tensor:
        return self.critic(seen)


class TurnsPolicy(ActorCriticPolicy):  # type: ignore[misc,unused-ignore]
    """The policy of stable-baselines3 with these networks."""

    def __init__(self, *args: Any, width: int = 64, **kwargs: Any) -> None:
        """As the base class; ``width`` is that of the networks' layers."""
        self._width = width
        super().__init__(*args, ortho_init=False, **kwargs)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = _ActorAndCritic(self._width)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        # The actor's scores are those of the actions already.
        self.action_net = nn.Identity()
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    @property
    def actor(self) -> Actor:
        """The part that decides."""
        actor: Actor = self.mlp_extractor.actor
        return actor
