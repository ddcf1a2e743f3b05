"""Model folders: what is refused before any loader opens it, then loading and saving.

``check_model_folder`` and ``weights_sha256`` need the standard library only, because the web process calls them;
torch and transformers are imported inside the functions that load. Nothing here unpickles or runs code that came
with a model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.errors import EngineError
from training.engine.modelsafety import check_model_folder

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from training.engine.reward import Pooling, RewardModel

__all__ = [
    "check_model_folder",
    "disable_dropout",
    "load_policy",
    "load_reward",
    "model_folder",
    "positions",
    "save_policy",
    "save_reward",
    "weights_sha256",
]

HEAD_FILE = "reward_head.safetensors"
REWARD_FILE = "reward.json"
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


def model_folder(name: str | Path) -> Path:
    """The checked local folder of a model; a name that is no folder is fetched from the hub, without any pickles.

    EngineError when it is neither, or when the folder is refused.
    """
    path = Path(name)
    if path.is_dir():
        # A snapshot in the hub's cache links to the blobs beside it.
        cache = path.resolve().parent.parent
        cached = path.resolve().parent.name == "snapshots" and (cache / "blobs").is_dir()
        check_model_folder(path, root=cache if cached else None)
        return path
    if path.is_absolute() or str(name).startswith("."):
        raise EngineError(f"The model folder {path} does not exist. Put it back, or name another.", field="model")
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(str(name), allow_patterns=HUB_FILES))
    except Exception as error:  # network, name, permission and offline errors have no common base class
        raise EngineError(
            f"{name} is neither a local folder nor a model that the hub gives us ({type(error).__name__}). Check the "
            "name, or download the model and give its folder.",
            field="model",
        ) from error
    check_model_folder(snapshot, root=snapshot.parent.parent)
    return snapshot


def weights_sha256(path: str | Path) -> str:
    """sha256 over the names and contents of all safetensors files of a folder, as hex."""
    digest = hashlib.sha256()
    for file in sorted(Path(path).rglob("*.safetensors")):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(path).as_posix()}:{content}\n".encode())
    return digest.hexdigest()


def load_policy(
    path: str | Path, *, dtype: str = "float32", device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, with dropout off and the scorer verified against it.

    ``dtype`` is a name of torch: float32, bfloat16 or float16. EngineError when the folder is refused, is no causal
    model, lacks weights, or has fewer embeddings than its tokenizer has tokens.
    """
    from transformers import AutoModelForCausalLM

    from training.engine.products import use_products
    from training.engine.scorer import verify_scorer

    folder = model_folder(path)
    config = _config(folder)
    named = config.architectures or []
    if named and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in named):
        raise EngineError(
            f"{folder.name} is a {named[0]}, which cannot write text; choose a causal language model as policy.",
            field="model",
        )
    model = _load(AutoModelForCausalLM, folder, dtype).to(device)
    tokenizer = _tokenizer(folder)
    disable_dropout(model)
    use_products(model)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise EngineError(
            f"{folder.name}: the tokenizer has {len(tokenizer)} tokens, more than the model has embeddings; they do "
            "not belong together.",
            field="model",
        )
    verify_scorer(model)
    return model, tokenizer


def load_reward(
    path: str | Path, *, dtype: str = "float32", device: str = "cpu", pooling: Pooling | None = None, seed: int = 0
) -> tuple[RewardModel, PreTrainedTokenizerBase]:
    """A reward model and its tokenizer, with dropout off: a trained one, or a new head (from ``seed``) on any backbone.

    ``pooling`` of a new one is ``last`` for decoders and ``mean`` for encoders unless given. EngineError when the
    folder is refused or damaged, holds a model that was trained with another pooling, or a backbone that cannot be
    read so.
    """
    from transformers import AutoModel

    from training.engine.products import use_products
    from training.engine.reward import RewardModel, is_bidirectional
    from training.engine.reward.files import read_head, read_settings

    folder = model_folder(path)
    stored = read_settings(folder)
    if stored and pooling not in (None, stored.pooling):
        raise EngineError(
            f"{folder.name} was trained with pooling {stored.pooling!r}, not {pooling!r}. Set pooling to 'auto'.",
            field="config.pooling",
        )
    if _config(folder).is_encoder_decoder:
        raise EngineError(
            f"{folder.name} has an encoder and a decoder, and a reward is read from one of them; choose a model that "
            "is either.",
            field="model",
        )
    backbone = _load(AutoModel, folder, dtype).to(device)
    disable_dropout(backbone)
    use_products(backbone)
    tokenizer = _tokenizer(folder)
    encoder = is_bidirectional(backbone)
    if encoder:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions(backbone.config))
    if stored is None and pooling is not None:
        _check_pooling(folder, pooling, encoder=encoder)
    default: Pooling = "mean" if encoder else "last"
    model = RewardModel(backbone, pooling=stored.pooling if stored else pooling or default, seed=seed)
    if stored:
        read_head(model, folder, stored)
    return model.eval(), tokenizer


def _check_pooling(folder: Path, pooling: Pooling, *, encoder: bool) -> None:
    if encoder and pooling in ("last", "tokens"):
        raise EngineError(
            f"{folder.name} is an encoder, which reads prompt and completion as one, so pooling {pooling!r} does not "
            "know where the completion is. Set pooling to 'mean' or 'cls'.",
            field="config.pooling",
        )
    if not encoder and pooling == "cls":
        raise EngineError(
            f"The first token of {folder.name}, a decoder, sees nothing of what follows, so with pooling 'cls' every "
            "completion would have the same reward. Set pooling to 'last', 'tokens' or 'mean'.",
            field="config.pooling",
        )


def save_policy(model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Writes a folder that transformers and vLLM open: safetensors, configuration, tokenizer and chat template."""
    from training.engine.scorer import causal_model

    _save_weights(causal_model(model), Path(folder))
    tokenizer.save_pretrained(folder)


def save_reward(model: RewardModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Writes the backbone as a transformers folder, and beside it the head and what it stands for."""
    from training.engine.reward.files import write

    folder = Path(folder)
    _save_weights(model.backbone, folder)
    tokenizer.save_pretrained(folder)
    write(model, folder)


def _save_weights(model: Any, folder: Path) -> None:
    """Whole weights for transformers and vLLM; a model with adapters of one kind leaves them beside these, too."""
    from training.engine.adapters import FOLDER, NAME, adapter_layers, merged_weights, save_adapters

    layers = adapter_layers(model)
    if not layers:
        model.save_pretrained(folder)
        return
    model.save_pretrained(folder, state_dict=merged_weights(model))
    # Of the two of paft, neither alone is what was trained.
    if {name for layer in layers.values() for name in layer.lora_A} == {NAME}:
        save_adapters(model, folder / FOLDER)


def disable_dropout(model: nn.Module) -> None:
    """Turns dropout off for good, in training mode too: with it, policy and reference differ before the first step."""
    from torch import nn as modules

    for module in model.modules():
        if isinstance(module, modules.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise EngineError(
            f"{folder.name}: config.json names no model type that this version of transformers knows ({error}).",
            field="model",
        ) from error


def _load(loader: Any, folder: Path, dtype: str) -> PreTrainedModel:
    """Weights from safetensors only; EngineError when some are missing or do not fit."""
    config = _config(folder)
    # SDPA leaves soft caps of attention scores out without a word (Gemma 2).
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    try:
        with _quiet():
            model, info = _open(loader, folder, "eager" if capped else "sdpa", config=config, dtype=_dtype(dtype))
    except (ValueError, OSError, KeyError, RuntimeError, ImportError) as error:
        shapes = "ignore_mismatched_sizes" in str(error)  # how transformers says it, and not which of them
        what = "some of them have another shape than config.json says." if shapes else error
        raise EngineError(f"The weights in {folder.name} cannot be loaded: {what}", field="model") from error
    # The pooler of BERT-like models is not used here and often not saved.
    missing = sorted(name for name in info["missing_keys"] if "pooler." not in name)
    if missing:
        raise EngineError(
            f"{folder.name} lacks weights that its config.json promises ({len(missing)}, among them {missing[0]}); "
            "the folder is incomplete or of another model.",
            field="model",
        )
    _check_generation(folder, getattr(model, "generation_config", None))
    return model.eval()


def _check_generation(folder: Path, settings: Any) -> None:
    """transformers opens settings for generation that it refuses to write, which would end a run in trouble."""
    if settings is None:
        return
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True  # whoever writes a temperature down wants to sample
        try:
            settings.validate(strict=True)
        except ValueError as error:
            raise EngineError(f"{folder.name}: generation_config.json is wrong: {error}", field="model") from error


def _open(loader: Any, folder: Path, attention: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The model and what the loader says of it; models that know no SDPA (state-space layers, ALiBi) attend in their
    own way."""
    try:
        found: tuple[Any, dict[str, Any]] = loader.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=attention,
            **options,
        )
    except ValueError as error:
        if attention != "sdpa" or "scaled_dot_product_attention" not in str(error):
            raise
        if getattr(options["config"], "rescale_every", 0):
            raise ValueError("RWKV changes its own weights whenever it computes. Choose another model.") from error
        return _open(loader, folder, "eager", **options)
    return found


def positions(config: Any) -> int:
    """How many tokens a model has positions for, by its configuration; very many where it names no limit. RoBERTa and
    its kin begin to count behind the pad id."""
    text = config.get_text_config()
    found = int(getattr(text, "max_position_embeddings", None) or 1 << 30)
    offset = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"}
    return found - text.pad_token_id - 1 if text.model_type in offset else found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the loader's bar and table out of the run's log: what matters in them, missing weights, is raised."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise EngineError(f"The tokenizer in {folder.name} cannot be loaded: {error}", field="model") from error
    if tokenizer.pad_token_id is None:
        # Padding is always masked, so any token will do; the end token is the usual one.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _dtype(name: str) -> torch.dtype:
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise EngineError(f"dtype {name!r} is not one of {', '.join(known)}.", field="dtype")
    return known[name]
