"""Loads base models and their tokenizers, for training and for inference alike: safetensors alone, no code of a model's own.

transformers is imported when something is loaded. Whatever a loader says becomes one sentence that says what is wrong with the base.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workers.base_models.files import UnusableBase, check
from workers.errors import NotFound, TweetmillError
from workers.memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Head = Literal["AutoModel", "AutoModelForSequenceClassification", "AutoModelForTokenClassification"]
"""The class of transformers that loads a model which reads texts: without a head, or with one for whole texts or for tokens."""

_FETCHED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
_MACHINE = {errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE}


def fetch_base(base: str) -> Path:
    """Return the folder of a base model, checked: the folder that is named, or a copy of the hub's.

    Raises:
        NotFound: there is no such folder, and the hub gave none.
        UnusableBase: it can't be used as it is.
    """
    folder = Path(base)
    if not folder.is_dir():
        folder = from_hub(base)
    check(folder)
    return folder


def from_hub(base: str) -> Path:
    """Return a copy of what the hub has under an id: weights in safetensors, JSON, templates and vocabularies, and nothing else.

    Raises:
        NotFound: it has none, can't be reached, or asks for a login.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    try:
        return Path(snapshot_download(base, allow_patterns=_FETCHED, ignore_patterns=["*/*"]))
    except GatedRepoError:
        raise NotFound(f"the base model {base} is behind a login: accept its terms on the hub, and set HF_TOKEN for the worker") from None
    except (OSError, ValueError, HfHubHTTPError) as error:
        if isinstance(error, OSError) and error.errno in _MACHINE:
            raise
        reason = f"no base model at {base}: there is no such folder, and the hub has none or can't be reached ({type(error).__name__})"
        raise NotFound(f"{reason}. Give a folder with config.json and model.safetensors, or a hub id") from None


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a base model.

    Raises:
        UnusableBase: it can't be loaded.
    """
    from transformers import AutoTokenizer

    with _explained(folder, "its tokenizer"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def load_model(folder: Path, tokenizer: Any, dtype: torch.dtype, **options: Any) -> Any:
    """Load the weights of a base model.

    Args:
        folder: of the model, checked.
        tokenizer: of the model: the weights must have a row for each of its tokens.
        dtype: of the weights.
        options: of `from_pretrained`.

    Raises:
        UnusableBase: they can't be loaded, or don't belong to the config or the tokenizer.
    """
    model = _load(folder, "AutoModelForCausalLM", dtype, **options)
    embeddings = model.get_input_embeddings().weight
    rows = int(getattr(embeddings, "ds_shape", embeddings.shape)[0])  # at ZeRO-3 the weights themselves are empty
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise UnusableBase(
            f"the base model {folder} has weights for {rows} tokens, and its tokenizer has one with the number {highest}:"
            " the two don't belong together. Take both from the same model"
        )
    return model


def load_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter of a base model, by its name in the model; no weight is read.

    Raises:
        UnusableBase: its config can't be used.
    """
    import torch
    import transformers

    with _explained(folder, "its config"), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        return {name: tuple(each.shape) for name, each in model.named_parameters(remove_duplicate=False)}


def load_encoder(folder: Path, head: Head) -> Any:
    """Load a model that reads texts and writes none, for evaluation, in float32 on the CPU.

    Args:
        folder: of the model, checked.
        head: the class that loads it. `AutoModel` gives hidden states, and may lack a pooler.

    Raises:
        UnusableBase: it can't be loaded, or its weights don't belong to the config.
    """
    import torch

    return _load(folder, head, torch.float32, spare=("pooler.",) if head == "AutoModel" else ()).eval()


def _load(
    folder: Path, kind: Head | Literal["AutoModelForCausalLM"], dtype: torch.dtype, spare: tuple[str, ...] = (), **options: Any
) -> Any:
    """Load a model by a class of transformers; tensors that begin with one of `spare` may be missing, since nobody reads them."""
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    # cuDNN's attention makes a plan for each new shape, and here nearly every call has one: a batch's width, a token more to look back on.
    # On an H100 that is 50 to 340 ms a shape, where the other kernels take less than 1: docs/training.md
    torch.backends.cuda.enable_cudnn_sdp(False)
    # On CPUs with bfloat16 it asks for compiled code of a hub, which is never run here; PEFT imports it for every adapter.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    with _explained(folder, "its weights"):
        model, loaded = getattr(transformers, kind).from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    lacking = sorted(name for name in loaded.get("missing_keys", ()) if not name.startswith(spare))
    if lacking:
        # They would be filled with chance numbers, and nothing would be said.
        raise UnusableBase(
            f"the base model {folder} lacks {len(lacking)} of the tensors that its config.json asks for, such as {lacking[0][:100]}:"
            " fetch the model again"
        )
    return model


@contextmanager
def _explained(folder: Path, what: str) -> Iterator[None]:
    """Turn what a loader raises into one sentence; what is the machine's fault goes through."""
    try:
        yield
    except TweetmillError:
        raise
    except Exception as error:
        if is_of_machine(error):
            raise
        logger.warning("%s of %s can't be loaded: %s", what, folder, type(error).__name__)
        raise UnusableBase(f"the base model {folder} can't be loaded: {_cause(error, what)}") from error


def is_of_machine(error: Exception) -> bool:
    """Return whether memory or disk failed, and not the files: loading may work later, or elsewhere."""
    return is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in _MACHINE)


def _cause(error: Exception, what: str) -> str:
    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason or "auto_map" in reason:
        return "it needs code of its own, which is never run. Take a base whose architecture transformers knows"
    if "does not recognize this architecture" in reason or ("model type" in reason and "not" in reason):
        return "this version of transformers does not know its model_type. Upgrade transformers, or take another base"
    if "mismatch" in reason or "ignore_mismatched_sizes" in reason:
        return "weights and config.json don't belong together: their sizes differ. Fetch the model again"
    if type(error).__name__ == "SafetensorError":
        return "its weights are damaged. Fetch the model again"
    return f"{what} can't be read ({type(error).__name__}: {reason[:200]})"
