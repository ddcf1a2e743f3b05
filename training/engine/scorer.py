"""The only place that turns a model and a batch into numbers a loss can use.

The vocabulary projection is made at completion positions only, a few words at a time, so that memory never holds
positions × vocabulary logits (see `projection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from training.engine.attention import FLEX, mask_for
from training.engine.batch import Batch, Layout, make_batch
from training.engine.errors import EngineError
from training.engine.lastlayer import read_only_at
from training.engine.losses.scores import Scores
from training.engine.projection import Projection
from training.engine.trees import PromptTree

if TYPE_CHECKING:
    from training.engine.reward import RewardModel

_PROBE = PromptTree(0, (5, 4, 7), ((6, 4, 5), (7, 6)), {})


def score(
    model: nn.Module,
    batch: Batch,
    *,
    reference: Tensor | None = None,
    extras: frozenset[str] = frozenset(),
    words: int | None = None,
) -> Scores:
    """Summed log-probs of the batch's completions: Scores of float32 [N] with lengths [N].

    ``reference`` is passed on as ``ref_logp``: float32 [N], or [M] (of every token) which is summed here. ``extras``
    names what else is wanted: ``prefix`` (``prefix_logp`` and, from a reference [M], ``ref_prefix_logp``) and
    ``certainty``. Gradients flow when they are enabled; ``words`` is the number of words of the vocabulary whose logits
    exist at one time, None what suits the device. EngineError for trees without a prompt (made for encoders).
    """
    return scores_and_states(model, batch, reference=reference, extras=extras, words=words)[0]


def scores_and_states(
    model: nn.Module,
    batch: Batch,
    *,
    reference: Tensor | None,
    extras: frozenset[str],
    words: int | None,
    past_key_values: Any = None,
) -> tuple[Scores, Tensor]:
    """What ``score`` returns, and the hidden states [R·T, D] it was made of, which hold where the batch is read; keys
    and values are left in ``past_key_values``, an empty cache of transformers."""
    states = _read_states(model, batch, past_key_values)
    logp, certainty = _token_scores(model, batch, states, words, certainty="certainty" in extras)
    by_token = reference is not None and "prefix" in extras
    scores = Scores(
        logp=per_completion(logp, batch),
        length=batch.length,
        ref_logp=per_completion(reference, batch) if reference is not None and by_token else reference,
        prefix_logp=_prefix(logp, batch) if "prefix" in extras else None,
        ref_prefix_logp=_prefix(reference, batch) if reference is not None and by_token else None,
        certainty=per_completion(certainty, batch) / batch.length.clamp(min=1) if "certainty" in extras else None,
    )
    return scores, states


def token_logps(model: nn.Module, batch: Batch) -> Tensor:
    """float32 [M]: the log-prob of every completion token, in the order of ``batch.target``."""
    return _token_scores(model, batch, _read_states(model, batch))[0]


def per_completion(tokens: Tensor, batch: Batch) -> Tensor:
    """Sums over the tokens of every completion: float32 [M] → [N]."""
    total = torch.zeros(batch.length.numel(), dtype=torch.float32, device=tokens.device)
    return total.index_add(0, batch.completion, tokens)


def _read_states(model: nn.Module, batch: Batch, past_key_values: Any = None) -> Tensor:
    """Hidden states [R·T, D] that hold where the batch is read."""
    if batch.source.numel() == 0:
        raise EngineError("Log-probs need a prompt before every completion; these trees were read for an encoder.")
    policy = causal_model(model)
    with read_only_at(policy.base_model, batch.read):
        return _hidden_states(policy, batch, past_key_values).flatten(0, 1)


def _token_scores(
    model: nn.Module, batch: Batch, states: Tensor, words: int | None = None, *, certainty: bool = False
) -> tuple[Tensor, Tensor]:
    sources = states.index_select(0, batch.source)
    return Projection(causal_model(model)).logps(sources, batch.target, words=words, certainty=certainty)


def _prefix(tokens: Tensor, batch: Batch) -> Tensor:
    """Sums over the first tokens of every completion, as many as the shortest completion of its prompt has: [N]."""
    shortest = torch.full_like(batch.length, torch.iinfo(batch.length.dtype).max)
    shortest = shortest.scatter_reduce(0, batch.group, batch.length, "amin")[batch.group]
    first = batch.length.cumsum(0) - batch.length
    place = torch.arange(tokens.numel(), device=tokens.device) - first[batch.completion]
    return per_completion(tokens * (place < shortest[batch.completion]), batch)


def values(reward_model: RewardModel, batch: Batch) -> Tensor:
    """The value of every completion, float32 [N]."""
    value: Tensor = reward_model(batch)
    return value


def causal_model(model: nn.Module) -> Any:
    """The transformers model inside wrappers: distributed data parallel, and peft with its adapters in place."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def verify_scorer(model: nn.Module, *, pad_id: int = 0) -> None:
    """Compares the scorer with the model's own logits on a few tokens; EngineError when they differ.

    The scorer does the projection itself, so a model that does something of its own between its last layer and its
    logits would otherwise be trained on wrong numbers.
    """
    batch = make_batch([_PROBE], layout="padded", pad_id=pad_id, device=_device(model))
    with torch.no_grad():
        ours = token_logps(model, batch)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        logits = causal_model(model)(**inputs, use_cache=False).logits.float()
        everything = logits.reshape(-1, logits.shape[-1]).index_select(0, batch.source).log_softmax(-1)
        theirs = everything.gather(1, batch.target[:, None])[:, 0]
    if not theirs.isfinite().all():
        raise EngineError("The model's log-probs are not numbers: its weights are damaged. Get it anew.", field="model")
    if not torch.allclose(ours, theirs, atol=_tolerance(model), rtol=1e-3):
        raise EngineError(
            f"Models of type {causal_model(model).config.model_type!r} change their logits in a way that the scorer "
            "does not know, so they cannot be trained here; choose another base model.",
            field="model",
        )


def supports_trees(model: nn.Module, *, pad_id: int = 0) -> bool:
    """Whether several completions can stand behind one prompt: a decoder with full attention through SDPA or
    FlexAttention, and equal numbers on a probe."""
    policy = causal_model(model)
    config = policy.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    if kinds != {"full_attention"} or windowed or config._attn_implementation not in ("sdpa", FLEX):
        return False
    try:
        with torch.no_grad():
            hidden = [_probe_states(policy, layout, pad_id) for layout in (tree_layout(policy), "padded")]
    except (TypeError, ValueError, RuntimeError):  # a forward pass that takes no such mask or no positions
        return False
    return torch.allclose(hidden[0], hidden[1], atol=_tolerance(model), rtol=1e-3)


def tree_layout(model: nn.Module) -> Layout:
    """The layout in which a model reads trees fastest: a GPU wants few kernels, FlexAttention a mask of rows, and what
    is compiled would be compiled again for every other list of trees."""
    policy = causal_model(model)
    in_rows = policy.config._attn_implementation == FLEX or policy.base_model._compiled_call_impl is not None
    return "packed" if in_rows or _device(model).type != "cpu" else "tree"


def _probe_states(policy: Any, layout: Layout, pad_id: int) -> Tensor:
    """The hidden states behind the probe's completion tokens, float32 [M, D]."""
    other = PromptTree(1, (8, 6), ((4,), (5, 5, 8)), {})
    batch = make_batch([_PROBE, other], layout=layout, pad_id=pad_id, device=_device(policy))
    states = _hidden_states(policy, batch).float()
    return states.reshape(-1, states.shape[-1]).index_select(0, torch.cat((batch.source, batch.last)))


def _hidden_states(policy: Any, batch: Batch, past_key_values: Any = None) -> Tensor:
    """[R, T, D] from the layers below the vocabulary projection (or from a bare backbone)."""
    # Padded rows are counted from 0, as models do by themselves; some take no positions at all.
    positions = {} if batch.layout == "padded" else {"position_ids": batch.position_ids}
    cache = {} if past_key_values is None else {"past_key_values": past_key_values}
    output: Tensor = policy.base_model(
        input_ids=batch.input_ids,
        attention_mask=mask_for(policy.config, batch),
        use_cache=past_key_values is not None,
        **cache,
        **positions,
    ).last_hidden_state
    return output


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _tolerance(model: nn.Module) -> float:
    """What may differ between two orders of the same arithmetic, for values of order one."""
    return 1e-4 if next(model.parameters()).dtype == torch.float32 else 5e-2
