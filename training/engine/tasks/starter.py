"""The task `starter`: a policy from nothing but a grammar, which gives it a tokenizer and demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.engine.checkpoint import Checkpoints
from training.engine.files import whole_folder
from training.engine.memory import peak_memory
from training.engine.modelfiles import save_policy, weights_sha256
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.runfolder import RunFolder
from training.engine.spec import Spec
from training.engine.starter.grammar import conversations
from training.engine.starter.policy import conversation_trees, random_policy
from training.engine.starter.tokenizer import train_tokenizer
from training.engine.stop import Stop
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree

# Steps that two cores do in a second. The number of steps comes from the spec and never from the clock, so that the
# same spec makes the same policy on a slower machine too.
STEPS_PER_SECOND = 7
PROMPTS_PER_STEP = 8
ANSWERS = 3
VOCABULARY = 2048
TOKENIZER_CONVERSATIONS = 3000
HELD_OUT = 128


def run(spec: Spec, folder: RunFolder, *, stop: Stop) -> dict[str, Any]:
    """Train the starter policy, going on from the checkpoint; leaves `model/`, returns result.json's content."""
    seed, steps = spec.config["seed"], spec.config["seconds"] * STEPS_PER_SECOND
    checkpoints = Checkpoints(folder.checkpoint)
    done = checkpoints.step()
    folder.progress.rewind(done)

    def say(fraction: float, message: str, step: int = done, metrics: Mapping[str, float] | None = None) -> None:
        folder.progress.report(step=step, steps=steps, fraction=fraction, message=message, metrics=metrics)

    say(0.0, "Making up conversations for the tokenizer.")
    # Three streams of conversations, so that neither the tokenizer nor the training has seen the held-out ones drawn.
    words = conversations(seed=3 * seed, count=TOKENIZER_CONVERSATIONS, answers=ANSWERS)
    tokenizer = train_tokenizer(words, vocabulary=VOCABULARY)
    stop.check()
    say(0.02, f"Making up {steps * PROMPTS_PER_STEP} conversations to learn from.")
    drawn = conversations(seed=3 * seed + 1, count=steps * PROMPTS_PER_STEP, answers=ANSWERS)
    trees = conversation_trees(drawn, tokenizer)
    stop.check()

    def report(step: int, total: int, metrics: Mapping[str, float]) -> None:
        say(0.05 + 0.93 * step / total, f"Learning to answer: step {step} of {total}.", step, metrics)

    model = random_policy(tokenizer, seed=seed)
    trainer = Trainer(
        model=model.train(),
        objective=make_objective("sft"),
        examples=Examples(trees),
        settings=_settings(seed),
        pad_id=tokenizer.pad_token_id,
        report=report,
        checkpoints=checkpoints,
        stop=stop,
        bad_batch=folder.path / "bad_batch.json",
    )
    trainer.resume()
    totals = asdict(trainer.train())
    say(0.98, "Measuring on conversations that were held out.", steps)
    held_out = conversation_trees(conversations(seed=3 * seed + 2, count=HELD_OUT), tokenizer)
    loss = _loss(trainer.passes, held_out)
    with whole_folder(folder.model) as partial:
        save_policy(model, tokenizer, partial)
    return {
        "method": "sft",
        "steps": totals.pop("step"),
        **totals,
        "peak_memory_bytes": peak_memory(trainer.passes.device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "eval": {"test": {"loss": loss, "n": HELD_OUT}},
        "model_sha256": weights_sha256(folder.model),
    }


def _settings(seed: int) -> Settings:
    return Settings(
        seed=seed,
        batch_size=PROMPTS_PER_STEP,
        learning_rate=3e-3,
        warmup=0.05,
        weight_decay=0.01,
        layout="tree",
        checkpoint_seconds=30,
    )


def _loss(passes: Passes, trees: Sequence[PromptTree]) -> float:
    """Mean negative log-likelihood per token of the trees' completions."""
    total = sum(float(passes.logps(trees[start : start + 16]).sum()) for start in range(0, len(trees), 16))
    return -total / sum(len(completion) for tree in trees for completion in tree.completions)
