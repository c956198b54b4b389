"""Train a policy for fleets by reinforcement learning (PPO of stable-baselines3).

Fleets are drawn as `dapdee fleet simulate` draws them: of a SCENARIO as docs/fleet.md describes it,
or without one those of Ma et al.'s comparison, of several networks. The folder named by --out holds
policy.onnx (the best so far by fleets that are not trained with), the learning curve (curve.json,
curve.png) and the checkpoint. Run again with the same options, an interrupted training resumes
where it stopped, and with more --steps a finished one goes on; Ctrl-C saves first.

  dapdee fleet train-ppo --out my_policy
  dapdee fleet simulate --policy ppo:my_policy/policy.onnx --policy exact
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.cli.stopping import Stopper
from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from dapdee_ros.planning.fleet.fleet import Fleet
    from dapdee_ros.reinforcement.ppo_training import PpoTraining

_STEPS = 10_000_000
_FLEETS = 48
_HELD_OUT_SEEDS = range(1_000, 1_010)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("scenario", metavar="SCENARIO", nargs="?", type=Path, help="YAML file to draw fleets from")
    add("--out", required=True, type=Path, help="the folder to write to")
    add("--steps", type=int, default=_STEPS, help=f"decisions in all (default {_STEPS})")
    add("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    add("--fleets", type=int, default=_FLEETS, help=f"fleets to learn from (default {_FLEETS})")
    add("--fewest-cars", type=int, default=5, help="of an episode (default 5)")
    add("--most-cars", type=int, default=50, help="of an episode (default 50)")
    add("--threads", type=int, default=1, help="CPU threads of torch (default 1)")
    add("--restart", action="store_true", help="forget the checkpoint in --out")


def run(args: argparse.Namespace) -> int:
    """Train, resume a training, or say what prevents it."""
    from dapdee_ros.cli.optional_packages import require_charts, require_reinforcement
    from dapdee_ros.files import require_folder

    for option, least in (("steps", 1), ("fleets", 1), ("fewest_cars", 1), ("threads", 1)):
        if getattr(args, option) < least:
            name = option.replace("_", "-")
            raise CommandError(f"--{name} is {getattr(args, option)}; expected {least} or more")
    if args.seed < 0 or args.most_cars < args.fewest_cars:
        raise CommandError(
            f"--seed is {args.seed}, --fewest-cars {args.fewest_cars}, --most-cars "
            f"{args.most_cars}; expected a seed of 0 or more and no fewer most than fewest cars"
        )
    require_reinforcement("training a policy for fleets")
    require_charts("the learning curve")
    import torch

    from dapdee_ros.reinforcement.ppo_training import PpoOptions, PpoTraining
    from dapdee_ros.training.checkpoint import CHECKPOINT_FILE, CheckpointError

    torch.set_num_threads(args.threads)
    require_folder(args.out)
    if args.restart:
        (args.out / CHECKPOINT_FILE).unlink(missing_ok=True)
    fleets, held_out = _fleets(args)
    options = PpoOptions(seed=args.seed, fewest_cars=args.fewest_cars, most_cars=args.most_cars)
    try:
        training = PpoTraining(fleets, held_out, options, args.out)
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    if training.steps:
        print(f"resuming at step {training.steps}", file=sys.stderr)
    done = _train(training, args.steps)
    if training.points:
        _show(training, args.out)
    if not done:
        print(f"saved {training.checkpoint}; the same command resumes there", file=sys.stderr)
    return 0 if done else 130


def _fleets(args: argparse.Namespace) -> tuple[list[Fleet], list[Fleet]]:
    """To learn from, and to judge with."""
    from tqdm import tqdm

    from dapdee_ros.simulation.fleet.ma_comparison import (
        drawn_fleet,
        held_out_scenarios,
        ma_model,
        varied_scenarios,
    )
    from dapdee_ros.simulation.fleet.members import bundled_model
    from dapdee_ros.simulation.fleet.scenario_file import read_scenario

    load = ma_model
    if args.scenario is None:
        learn = varied_scenarios(args.fleets, args.most_cars, args.seed)
        judge = held_out_scenarios()
    else:
        load = bundled_model
        scenario = read_scenario(args.scenario)
        first = 1_000_000 * (args.seed + 1)
        learn = [replace(scenario, seed=first + number) for number in range(args.fleets)]
        judge = [replace(scenario, seed=seed) for seed in _HELD_OUT_SEEDS]
    with tqdm(total=len(learn) + len(judge), desc="fleets", unit="fleet", leave=False) as bar:
        found = []
        for scenario in (*learn, *judge):
            fleet = drawn_fleet(scenario, load=load)
            # Whose deadline is kept depends on all cars; the cost to learn from has none.
            found.append(fleet.without_deadlines(range(len(fleet.cars))))
            bar.update()
    return found[: len(learn)], found[len(learn) :]


def _train(training: PpoTraining, steps: int) -> bool:
    """Run the training with a progress bar; False if it was stopped before its end."""
    from tqdm import tqdm

    with (
        Stopper() as stopper,
        tqdm(total=steps, initial=training.steps, unit="step", unit_scale=True) as bar,
    ):

        def tell(at: int) -> None:
            bar.update(at - bar.n)
            if training.points:
                last = training.points[-1]
                bar.set_postfix_str(f"cost {last.over_price:+.2%} of price's", refresh=False)

        return training.run(steps, lambda: stopper.asked, tell)


def _show(training: PpoTraining, folder: Path) -> None:
    from dapdee_ros.reinforcement.curve import draw_curves
    from dapdee_ros.reinforcement.ppo_training import POLICY_FILE

    draw_curves({"": training.points}, folder / "curve.png")
    best = training.best
    assert best is not None
    print(f"{folder / POLICY_FILE}: held-out fleets cost {best.over_price:+.2%} beside by price")
    figures = {
        "steps": training.steps,
        "seconds": round(training.seconds, 1),
        "best_at_step": best.steps,
        "over_price": round(best.over_price, 5),
    }
    print(json.dumps(figures))
