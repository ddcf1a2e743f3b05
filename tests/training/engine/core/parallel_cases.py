"""Training runs that must come out the same in one process and in two; `python -m` this is one of the two."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.training.engine.core.helpers import random_trees
from training.engine.adapters import add_adapters
from training.engine.baselines import mismatched_trees
from training.engine.batch import make_batch
from training.engine.checkpoint import Checkpoints
from training.engine.errors import Cancelled, EngineError
from training.engine.evaluation import evaluate
from training.engine.modelfiles import load_policy, load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.parallel import World, leave, unshard
from training.engine.scorer import score
from training.engine.stop import Stop
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree

SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 5, "learning_rate": 1e-3, "token_budget": 60, "layout": "tree"}


def trees(completions: int) -> list[PromptTree]:
    targets = {"weight": 1.5, "p": 0.9, "margin": None, "label": True}
    return [
        PromptTree(tree.row, tree.prompt, tree.completions, targets | {"label": tree.row % 2 == 0})
        for tree in random_trees(13, completions, seed=9)
    ]


def trainer(folder: Path, method: str, world: World, *, adapters: bool = False, **more: Any) -> Trainer:
    """A trainer over thirteen trees: no number of processes divides them."""
    changes = {name: more.pop(name) for name in list(more) if name in Settings.__dataclass_fields__}
    learnt = trees(1 if method == "kto" else 2)
    if method == "bradley_terry":
        model: Any = load_reward(folder)[0]
    else:
        model = load_policy(folder)[0]
        if adapters:
            add_adapters(model, rank=2, alpha=4.0)
    reference, mismatched, far = None, None, None
    if method != "bradley_terry":
        with torch.no_grad():
            known = score(model, make_batch(learnt, layout="tree", pad_id=0)).logp
            reference = list(known.split([len(tree.completions) for tree in learnt]))
            if method == "kto":
                mismatched = mismatched_trees(learnt, max_length=100)
                far = [None if one is None else torch.full((1,), -90.0 - one.row) for one in mismatched]
    return Trainer(
        model=model,
        objective=make_objective(method),
        examples=Examples(learnt, reference, mismatched, far),
        settings=Settings(**SETTINGS | changes),
        pad_id=0,
        world=world,
        **more,
    )


def weights(one: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in one.model.state_dict().items()}


def trained(folder: Path, method: str, world: World, **more: Any) -> dict[str, torch.Tensor]:
    found = trainer(folder, method, world, **more)
    totals = found.train()
    unshard(found.passes.unit)
    figures = torch.tensor([totals.loss_first or 0.0, totals.loss_last or 0.0, float(totals.tokens)])
    return weights(found) | {"figures": figures}


def evaluated(folder: Path, world: World) -> dict[str, torch.Tensor]:
    """Held-out figures, also those that are made of single examples."""
    one = trainer(folder, "bradley_terry", world)
    figures = evaluate(one.passes, one.examples)
    longer = figures.pop("slices")["chosen_longer"]
    return {name: torch.tensor(float(value)) for name, value in {**figures, **longer}.items()}


class StopAt(Stop):
    """A wish to stop that only one process hears, at its third step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def __call__(self, step: int, *_: Any) -> None:
        self.requested = step == self.steps


def resumed(folder: Path, world: World, kept: Path, **more: Any) -> dict[str, torch.Tensor]:
    """Weights of a run that was stopped after its third step, in the middle of an epoch, and taken up again."""
    stop = StopAt(3 if world.rank == world.size - 1 else 0)
    checkpoints = Checkpoints(kept, writes=world.main)
    first = trainer(folder, "dpo", world, stop=stop, report=stop, checkpoints=checkpoints, **more)
    try:
        first.train()
    except Cancelled:
        world.gathered(None)  # the checkpoint is on disk before anyone reads it
    second = trainer(folder, "dpo", world, checkpoints=checkpoints, **more)
    assert second.resume() == 3
    second.train()
    unshard(second.passes.unit)
    return weights(second)


def broken(folder: Path, world: World, kept: Path) -> dict[str, torch.Tensor]:
    """What a run leaves that meets NaN in one tree, which only one process sees."""
    one = trainer(folder, "dpo", world, bad_batch=kept / f"bad-{world.size}-{world.rank}.json")
    assert one.examples.reference is not None
    one.examples.reference[4].fill_(float("nan"))
    try:
        one.train()
    except EngineError as error:
        return {"step": torch.tensor(float(one.totals.step)), "row": torch.tensor(float(error.row or -1))}
    return {}


CASES: dict[str, Callable[[Path, World, Path], dict[str, torch.Tensor]]] = {
    "dpo": lambda folder, world, kept: trained(folder, "dpo", world),
    "kto": lambda folder, world, kept: trained(folder, "kto", world),
    "aot": lambda folder, world, kept: trained(folder, "aot", world),
    "bradley_terry": lambda folder, world, kept: trained(folder, "bradley_terry", world),
    "adapters": lambda folder, world, kept: trained(folder, "dpo", world, adapters=True),
    "bfloat16": lambda folder, world, kept: trained(folder, "dpo", world, dtype="bfloat16"),
    "resumed": lambda folder, world, kept: resumed(folder, world, kept / f"plain-{world.size}"),
    "broken": broken,
    "evaluated": lambda folder, world, kept: evaluated(folder, world),
    "sharded dpo": lambda folder, world, kept: trained(folder, "dpo", world, shard=world.size > 1),
    "sharded kto": lambda folder, world, kept: trained(folder, "kto", world, shard=world.size > 1),
    "sharded bradley_terry": lambda folder, world, kept: trained(folder, "bradley_terry", world, shard=world.size > 1),
    "sharded adapters": lambda folder, world, kept: trained(folder, "dpo", world, adapters=True, shard=world.size > 1),
    "sharded resumed": lambda folder, world, kept: resumed(
        folder, world, kept / f"sharded-{world.size}", shard=world.size > 1
    ),
}


def main(folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    world = World.join(torch.device("cpu"))
    for name, case in CASES.items():
        found = case(folder, world, out)
        save_file({key: value.contiguous() for key, value in found.items()}, out / f"{name}-{world.rank}.safetensors")
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
