"""A trained reward model for those who have text: prompts and completions in, rewards and preferences out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.engine.batch import Batch, make_batch
from training.engine.conversations import read_conversation
from training.engine.errors import EngineError
from training.engine.modelfiles import load_reward, model_folder, positions
from training.engine.rendering import ChatRenderer, EncoderRenderer, Rendered
from training.engine.reward.files import read_settings
from training.engine.reward.model import RewardModel
from training.engine.reward.preference import Reading, differences, read
from training.engine.rows import Row
from training.engine.scorer import supports_trees, tree_layout
from training.engine.trees import PromptTree

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Asked = Sequence[tuple[Any, Sequence[str]]]


class Judge:
    """Reads text as the training of its reward model did and answers without gradients, on the CPU.

    ``asked`` are prompts with their completions, any number each. A prompt is a text (one user message) or chat
    messages. Every method gives one answer for each prompt. EngineError for completions that are empty or, with their
    prompt, longer than ``max_length`` (as many tokens as the model has positions for, if left out).
    """

    def __init__(
        self,
        model: RewardModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        token_budget: int = 8192,
    ) -> None:
        self.model = model.eval()
        self._tokenizer = tokenizer
        limit = positions(model.config)
        self._max_length = limit if max_length is None else min(max_length, limit)
        renderer = EncoderRenderer if model.reads_rows else ChatRenderer
        self._renderer: ChatRenderer | EncoderRenderer = renderer(tokenizer, self._max_length)
        layout = "padded" if model.reads_rows or not supports_trees(model) else tree_layout(model)
        self._reading = Reading(layout, int(tokenizer.pad_token_id), token_budget)

    @classmethod
    def load(cls, path: str | Path, *, dtype: str = "float32", device: str = "cpu", **options: Any) -> Judge:
        """The judge from the folder ``model`` of a run; ``options`` are those of the class. EngineError for a folder
        that is no trained reward model, or damaged."""
        folder = model_folder(path)
        if read_settings(folder) is None:
            raise EngineError(
                f"{folder.name} is no trained reward model: its rewards would be drawn at random. Train one first, for "
                "example with bradley_terry.",
                field="model",
            )
        return cls(*load_reward(folder, dtype=dtype, device=device), **options)

    def rewards(self, asked: Asked) -> list[Tensor]:
        """The rewards of the completions, float32 [K]: mean 0 and standard deviation 1 on the held-out data."""
        self._values_single_completions()
        return [self.model.normalised(one).cpu() for one in self._read(asked, lambda batch: self.model(batch))]

    def outputs(self, asked: Asked) -> list[Tensor]:
        """What the rewards are made of, before normalisation, float32 [K, O]: one column for each of
        ``model.outputs.names``, such as aspects, groups of annotators or the heads of an ensemble."""
        self._values_single_completions()
        return [one.cpu() for one in self._read(asked, self._each)]

    @torch.no_grad()
    def preferences(self, asked: Asked) -> list[Tensor]:
        """P(completion i is better than completion j), float32 [K, K], a tie counted as half; ½ on the diagonal.

        Regression teaches no such probabilities: of its models take the rewards.
        """
        found = []
        for gaps in self._differences(asked, self._each):
            win, tie, _ = self.model.outcomes(self.model.outputs.combine(gaps)).unbind(-1)
            found.append((win + tie / 2).cpu())
        return found

    def uncertainties(self, asked: Asked) -> list[Tensor]:
        """The standard deviation of reward i less reward j, float32 [K, K], in the unit of ``rewards`` (of a preference
        model, of its logit): by Laplace where the model was trained with it, else over the heads of an ensemble.

        Of a difference, because all that pairs and lists can tell are differences. EngineError for a model that knows
        nothing of its uncertainty.
        """
        unit = self.model.std if self.model.separator is None else 1.0
        if laplace := self.model.laplace:
            gaps = self._differences(asked, self.model.features)
            found = [laplace.variance(one.flatten(0, 1)).sqrt().unflatten(0, one.shape[:2]) for one in gaps]
            return [one.float().cpu() / unit for one in found]
        if self.model.outputs.kind != "ensemble":
            raise EngineError(
                "This reward model does not know how sure it is; train it with heads above 1, or with laplace.",
                field="model",
            )
        return [one.std(-1).cpu() / unit for one in self._differences(asked, self._each)]

    @torch.no_grad()
    def token_rewards(self, asked: Asked) -> list[list[list[tuple[str, float]]]]:
        """The tokens of every completion as text, each with its reward; their mean is the completion's reward.

        EngineError for a model with another pooling than ``tokens``.
        """
        if self.model.pooling != "tokens":
            raise EngineError(
                f"A reward model with pooling {self.model.pooling!r} gives none to tokens; train it with 'tokens'.",
                field="model",
            )
        found = []
        for tree in self._trees(asked):
            values = self.model.token_values(self._batch(tree))
            ends = [0, *accumulate(map(len, tree.completions))]
            rewards = [self.model.normalised(values[start:end]).tolist() for start, end in pairwise(ends)]
            texts = [[self._tokenizer.decode([token]) for token in tokens] for tokens in tree.completions]
            found.append([list(zip(text, one, strict=True)) for text, one in zip(texts, rewards, strict=True)])
        return found

    def _batch(self, tree: PromptTree) -> Batch:
        device = next(self.model.parameters()).device
        return make_batch([tree], layout=self._reading.layout, pad_id=self._reading.pad_id, device=device)

    def _each(self, batch: Batch) -> Tensor:
        values: Tensor = self.model(batch, each=True)
        return values

    def _read(self, asked: Asked, quantity: Callable[[Batch], Tensor]) -> list[Tensor]:
        return read(self.model, self._trees(asked), quantity, self._reading)

    def _differences(self, asked: Asked, quantity: Callable[[Batch], Tensor]) -> list[Tensor]:
        return differences(self.model, self._trees(asked), quantity, self._reading)

    def _values_single_completions(self) -> None:
        if self.model.separator is not None:
            raise EngineError(
                "A preference model compares completions and gives none of them a reward; ask for preferences.",
                field="model",
            )

    def _trees(self, asked: Asked) -> list[PromptTree]:
        return [self._tree(index, prompt, completions) for index, (prompt, completions) in enumerate(asked)]

    def _tree(self, index: int, prompt: Any, completions: Sequence[str]) -> PromptTree:
        rows = [Row("asked", index, {"prompt": prompt, "completion": one}) for one in completions]
        said = [read_conversation(row, "binary") for row in rows]
        row, separator = Row("asked", index, {}), self.model.separator
        fewest = 1 if separator is None else 2
        if len(said) < fewest:
            raise row.error("completion", f"expected at least {fewest}, found {len(said)}.")
        rendered = self._renderer.render(row, said[0].prompt, [one.completions[0] for one in said])
        limit = self._renderer.max_length
        if rendered is None or (separator is not None and _two_longest(rendered) + len(separator) > limit):
            raise row.error("completion", f"with its prompt it is longer than {limit} tokens; shorten one of them.")
        return PromptTree(index, rendered.prompt, rendered.completions, {})


def _two_longest(rendered: Rendered) -> int:
    """Tokens of the longest thing that a preference model would read, without the separator."""
    return len(rendered.prompt) + sum(sorted(map(len, rendered.completions))[-2:])
