"""Generates in this process: a Hugging Face model loaded once and kept warm, on CUDA where there is one, else on the CPU.

torch and transformers are imported when an engine is built, never when this module is.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.chat import Prompt
from schemas.training import AskedDtype
from workers.base_models import files, loading, precision
from workers.base_models.chat_template import ChatFormat, chat_format
from workers.base_models.files import UnusableAdapter, UnusableBase
from workers.inference.engine import EngineError, Generation, Sampling, UnusableDevice
from workers.memory import host_memory, is_out_of_memory
from workers.text.thoughts import split_thoughts

if TYPE_CHECKING:
    import torch

    from workers.inference.local.swapping import SwappableModel
    from workers.inference.local.word_budget import WordBudget

logger = logging.getLogger(__name__)

WINDOW = 4096
"""Prompts that are encoded, deduplicated and sorted together: large enough to fill batches, small enough to bound memory."""

MOST_KEPT = 512 * 1024**2
"""Bytes of keys and values of prompts that wait for a second try, at most, and a sixteenth of the memory that is free."""

Ids = tuple[int, ...]
Decoded = tuple[Ids, ...]
"""The token ids of the alternatives of one prompt, best first."""


class TransformersEngine:
    """Greedy decoding and beams in loops of its own; a tuned model takes the place of the base's weights while it is in use.

    Args:
        base: folder or hub id of an instruction-tuned model in safetensors.
        threads: CPU threads of this process; None leaves torch's choice.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        batch_size: rows that are decoded together on a CPU; on CUDA as many as fit into what is free.
        dtype: of the weights; `auto` for what the device computes fast.
        digests: folder where digests of weights are kept; without one they are computed each time.

    Raises:
        UserError: the base, its template or its tokenizer can't be used; says what is wrong.
        UnusableDevice: the device is `cuda`, and PyTorch sees none.
    """

    def __init__(
        self,
        base: str,
        threads: int | None = None,
        device: str = "auto",
        batch_size: int = 64,
        dtype: AskedDtype = "auto",
        digests: Path | None = None,
    ) -> None:
        import torch

        self.set_threads(threads)
        self._base = base
        self._begins_word: torch.Tensor | None
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if self._device == "cuda" and not torch.cuda.is_available():
            raise UnusableDevice(f"PyTorch {torch.__version__} sees no GPU here: install a build for CUDA that fits the driver")
        from workers.inference.local.batch_size import BatchSize
        from workers.inference.local.reading import KeptPrompts

        self._batches = BatchSize(batch_size, self._device)
        # A GPU reads prompts faster than it copies what it read of them before.
        self._kept = KeptPrompts(min(MOST_KEPT, host_memory() // 16)) if self._device == "cpu" else None
        self.precision = precision.choose_dtype(dtype, self._device)
        self._dtype: torch.dtype = getattr(torch, self.precision.dtype)
        logger.info("engine: weights in %s, on %s", self.precision, self._device)
        self._digests = digests
        self._read_base()

    def set_threads(self, threads: int | None) -> None:
        """Compute with so many threads of this process from now on; None leaves them as they are."""
        import torch

        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def chat(self) -> ChatFormat:
        """How the base's tokenizer writes a conversation."""
        return self._chat

    def model_of(self, adapter: Path | None) -> Any:
        """Return the model in memory that answers with `adapter`, for whoever looks into it; the next call may change it.

        Raises:
            UnusableAdapter: it does not go on this base.
        """
        self._use(adapter)
        return self._model

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        adapter: Path | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See `Engine.generate`. Identical prompts are computed once."""
        self._use(adapter)
        self._weights_in_use.pack()
        done: list[Generation] = []
        for start in range(0, len(prompts), WINDOW):
            done += self._generate_window(prompts[start : start + WINDOW], sampling, on_progress or (lambda _: None))
        return done

    def _generate_window(self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None]) -> list[Generation]:
        encoded = [self._encode(prompt, sampling.max_new_tokens) for prompt in prompts]
        owners: dict[Ids, list[int]] = {}
        for owner, ids in enumerate(encoded):
            owners.setdefault(ids, []).append(owner)
        unique = list(owners)
        results: list[Generation | None] = [None] * len(prompts)
        for row, alternatives in self._decode(unique, sampling):
            generation = self._generation(unique[row], alternatives)
            for owner in owners[unique[row]]:
                results[owner] = generation
            on_progress(len(owners[unique[row]]))
        return [result for result in results if result is not None]

    def _encode(self, prompt: Prompt, max_new_tokens: int) -> Ids:
        """Return the prompt's token ids; what exceeds the model's context is cut from its middle, so that the template's end stays."""
        ids = self._chat.prompt_ids(prompt)
        room = int(getattr(self._model.config, "max_position_embeddings", 0) or len(ids) + max_new_tokens) - max_new_tokens
        if room < 2:
            raise UnusableBase(f"the model's context is smaller than max_new_tokens={max_new_tokens}: ask for fewer")
        if len(ids) > room:
            tail = min(32, room // 2)
            ids = ids[: room - tail] + ids[-tail:]
        return tuple(ids)

    def _decode(self, unique: list[Ids], sampling: Sampling) -> Iterator[tuple[int, Decoded]]:
        """Yield the place of every prompt and its alternatives; where memory runs out, what is left is decoded in smaller batches."""
        left = list(range(len(unique)))
        while left:
            longest = max(len(unique[place]) for place in left) + sampling.max_new_tokens
            rows, padded = self._batches.of(self._model, longest, sampling.num_beams)
            done: set[int] = set()
            failure: Exception | None = None
            try:
                for row, decoded in self._decode_together([unique[place] for place in left], sampling, rows, padded):
                    done.add(row)
                    yield left[row], decoded
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                failure = error
            if failure is not None:
                _let_go(failure)  # its frames hold the batch in memory
                if rows == 1:
                    raise EngineError("memory ran out with one tweet at a time: use a smaller base, or a machine with more") from failure
                logger.warning("engine: memory ran out with %d prompts together: from now on half as many", rows)
                self._batches.halve()
                self._forget()
            left = [place for row, place in enumerate(left) if row not in done]

    def _decode_together(self, prompts: list[Ids], sampling: Sampling, rows: int, padded: int) -> Iterator[tuple[int, Decoded]]:
        if sampling.num_beams == 1:
            from workers.inference.local.greedy import LeanLoop

            loop = LeanLoop(self._model, self._end_ids, self._has_ended if self._chat.end_text else None, self._kept)
            for row, ids in loop.decode(prompts, sampling.max_new_tokens, rows, padded):
                yield row, (tuple(ids),)
            return
        from transformers import StopStringCriteria

        from workers.inference.local.beams import BeamLoop

        text = self._chat.end_text
        by_text = StopStringCriteria(self._tokenizer, text) if text else None
        ends_by_text = (lambda ids: by_text(ids, None)) if by_text else None
        beams = BeamLoop(self._model, self._end_ids, ends_by_text, self._word_budget(sampling.max_words), self._kept)
        for row, texts in beams.decode(prompts, sampling.num_beams, sampling.max_new_tokens, rows, padded):
            yield row, tuple(self._until_end(ids) for ids in texts[: sampling.num_return_sequences])

    def _word_budget(self, max_words: int | None) -> list[WordBudget]:
        if max_words is None:
            return []
        from workers.inference.local.word_budget import WordBudget, tokens_that_begin_a_word

        if self._begins_word is None:
            self._begins_word = tokens_that_begin_a_word(self._tokenizer, self._model.config.get_text_config().vocab_size, self._device)
        return [WordBudget(self._begins_word, 1, max_words)]

    def _until_end(self, ids: list[int]) -> Ids:
        return tuple(ids[: next((place for place, token in enumerate(ids) if token in self._end_ids), len(ids))])

    def _has_ended(self, ids: list[int]) -> bool:
        """Whether the text that closes an answer was written: only its last tokens can have completed it."""
        return self._chat.end_text in str(self._tokenizer.decode(ids[-len(self._chat.end_text) - 1 :]))

    def _text(self, ids: Ids) -> str:
        text = str(self._tokenizer.decode(ids, skip_special_tokens=True))
        return split_thoughts(text.partition(self._chat.end_text)[0] if self._chat.end_text else text).text

    def _generation(self, prompt: Ids, alternatives: Decoded) -> Generation:
        texts = tuple(map(self._text, alternatives))
        return Generation(texts, tokens_in=len(prompt), tokens_out=sum(map(len, alternatives)))

    def _read_base(self) -> None:
        self._folder = loading.fetch_base(self._base)
        self._tokenizer = loading.load_tokenizer(self._folder)
        self._chat = chat_format(self._tokenizer)
        self._begins_word = None
        # Of the files that are loaded now: an adapter may come when they are others.
        self._sha256 = files.digest(self._folder, self._digests)
        # What is in memory now is freed before the next model is read.
        self._weights: SwappableModel | None = None
        from workers.inference.local.swapping import SwappableModel

        self._weights = SwappableModel(self._folder, self._tokenizer, self._dtype, self._device)
        self._in_use: tuple[str, int] | None = None
        ends = self._model.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        # What an answer was taught to end with, too: many bases name only the token that ends a text.
        self._end_ids = self._chat.end_ids.union(end for end in [*listed, self._tokenizer.eos_token_id] if end is not None)

    @property
    def _weights_in_use(self) -> SwappableModel:
        assert self._weights is not None
        return self._weights

    @property
    def _model(self) -> Any:
        return self._weights_in_use.model

    def _use(self, tuned: Path | None) -> None:
        """Bring the weights to those of the base, or of `tuned` on it, which stays until another is asked for."""
        from workers.inference.local.swapping import identity

        wanted = identity(tuned) if tuned is not None else None
        if wanted == self._in_use and self._weights is not None:
            return
        if tuned is not None:
            self._match_base(tuned)
        if self._weights is None:  # an earlier attempt failed for want of memory
            self._read_base()
        assert self._weights is not None
        self._in_use = None
        self._forget()
        if not self._weights.is_base:
            self._weights.restore()
        if tuned is not None:
            self._put_on(self._weights, tuned)
        self._in_use = wanted

    def _forget(self) -> None:
        """Let go of what was read of prompts."""
        if self._kept is not None:
            self._kept.clear()

    def _put_on(self, weights: SwappableModel, tuned: Path) -> None:
        try:
            weights.put_on(tuned)
        except Exception as caught:
            error = caught
        else:
            return
        # A half-changed model must never answer, so the base is read anew; before that nothing may hold it in memory.
        _let_go(error)
        weights.load()
        if loading.is_of_machine(error):
            raise EngineError(f"the model {tuned.name!r} can't be put on its base here: {type(error).__name__}") from error
        reason = " ".join(str(error).split())[:300]
        raise UnusableAdapter(f"the model {tuned.name!r} does not fit the base {self._base!r}: {reason}") from error

    def _match_base(self, adapter: Path) -> None:
        """Make sure that the tuned model goes on these weights; where the base's files are others by now, on those."""
        record = files.BaseRecord.read(adapter)
        if record is not None and record.sha256 != self._sha256 != files.digest(loading.fetch_base(self._base), self._digests):
            logger.info("engine: the weights of the base %s are others by now: reading them", self._base)
            self._read_base()
        files.check_record(adapter, record, self._base, self._sha256)


def _let_go(error: BaseException | None) -> None:
    """Clear the local variables that the frames of an error hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
