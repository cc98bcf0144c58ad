"""Generates under guard: every output is checked against its tweet before it is stored.

Greedy first, since most rows need no second look. A row that fails the checks is generated again with four beams, of which the
cheapest is taken; where even that one is poor, the opening of the tweet itself stands in. Nothing is corrected silently: flags say what
the checks found on the text that was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.chat import Prompt
from schemas.payloads import Stage
from workers.inference.engine import Engine, Generation, Sampling
from workers.text.checks import CheckResult, check
from workers.text.clean import opening, rules
from workers.text.constraints import MAX_NEW_TOKENS, MAX_WORDS
from workers.text.prompts import tuned
from workers.text.tokens import count_words

__all__ = ["MAX_NEW_TOKENS", "CheckResult", "Guarded", "check", "doubtful", "fallback", "guarded", "unguarded"]

RETRY_ABOVE = 1.0
"""A greedy output that costs more is written again: one small word added to a tweet of four is no reason."""

FALLBACK_FROM = 5.0
"""Where the cheapest output costs this much, the tweet's opening takes its place."""

BEAMS = 4
SAMPLES = 5
"""Of an engine without beams, which answers them together."""

PromptOf = Callable[[str, Stage], Prompt]


@dataclass(frozen=True)
class Guarded:
    """What is stored for one tweet, and how it came about.

    `flags` name what still speaks against `text`; `fallback` says that no model wrote it, `wordless` that the tweet has no word to
    summarize, so `text` is empty, and `no_answer` that the engine gave none. `tries` is 2 where beams were asked for. `greedy` is
    the first answer, whatever became of it.
    """

    text: str
    flags: tuple[str, ...]
    tries: int
    tokens_in: int
    tokens_out: int
    greedy: str


def guarded(
    engine: Engine,
    texts: Sequence[str],
    adapter: Path | None = None,
    stage: Stage = Stage.SUMMARY,
    on_progress: Callable[[int], None] | None = None,
    prompt: PromptOf = tuned,
    first: Sequence[Guarded] | None = None,
    read: Sequence[str] | None = None,
) -> list[Guarded]:
    """Generate one text for every tweet, in order; `on_progress` gets the number of tweets newly finished.

    `first` are the answers of `unguarded` to the same tweets, where they are known already. `read` is what the model reads of each
    tweet, where that is not the tweet itself; answers are checked against the tweet in any case.

    Raises:
        EngineError: nothing can be generated.
    """
    read = texts if read is None else read
    first = first or unguarded(engine, texts, adapter, stage, prompt=prompt, read=read)
    again = doubtful(texts, first, stage)
    if on_progress:
        on_progress(len(texts) - len(again))
    max_words = MAX_WORDS if stage is Stage.SUMMARY else None
    beams = Sampling(MAX_NEW_TOKENS[stage], num_beams=BEAMS, num_return_sequences=BEAMS, max_words=max_words, samples=SAMPLES)
    alternatives = engine.generate([prompt(read[place], stage) for place in again], beams, adapter, on_progress)
    results = list(first)
    for place, generation in zip(again, alternatives, strict=True):
        results[place] = _cheapest(texts[place], first[place], generation, stage)
    return results


def doubtful(texts: Sequence[str], first: Sequence[Guarded], stage: Stage) -> list[int]:
    """Return the places of the tweets whose first answer is written again."""
    pairs = enumerate(zip(texts, first, strict=True))
    return [place for place, (tweet, row) in pairs if "wordless" not in row.flags and check(tweet, row.greedy, stage).cost > RETRY_ABOVE]


def unguarded(
    engine: Engine,
    texts: Sequence[str],
    adapter: Path | None = None,
    stage: Stage = Stage.SUMMARY,
    on_progress: Callable[[int], None] | None = None,
    prompt: PromptOf = tuned,
    read: Sequence[str] | None = None,
) -> list[Guarded]:
    """Return the greedy answer to every tweet with its flags, whatever they say; `read` is as in `guarded`.

    Raises:
        EngineError: nothing can be generated.
    """
    worded = [place for place, tweet in enumerate(texts) if rules(tweet)]
    if on_progress:
        on_progress(len(texts) - len(worded))
    read = texts if read is None else read
    prompts = [prompt(read[place], stage) for place in worded]
    generations = engine.generate(prompts, Sampling(MAX_NEW_TOKENS[stage]), adapter, on_progress)
    results = [Guarded("", ("wordless",), tries=0, tokens_in=0, tokens_out=0, greedy="")] * len(texts)
    for place, generation in zip(worded, generations, strict=True):
        text = generation.texts[0] if generation.texts else ""
        flags = check(texts[place], text, stage).flags if text else ("no_answer",)
        results[place] = Guarded(text, flags, 1, generation.tokens_in, generation.tokens_out, greedy=text)
    return results


def fallback(tweet: str, stage: Stage) -> str:
    """Return what stands in for a model's text: the cleaned tweet, for a summary its opening up to the end of a clause."""
    cleaned = rules(tweet)
    return cleaned if stage is Stage.CLEAN else opening(cleaned, min(MAX_WORDS, count_words(tweet)))


def _candidates(tweet: str, first: Guarded, alternatives: Generation, stage: Stage) -> list[str]:
    """Return the model's texts, greedy first, and after them those too long for a summary, ended at their last clause that fits."""
    texts = [text for text in (first.greedy, *alternatives.texts) if text]
    if stage is Stage.CLEAN:
        return texts
    room = min(MAX_WORDS, count_words(tweet))
    return texts + [opening(text, room) for text in texts if len(text.split()) > room]


def _cheapest(tweet: str, first: Guarded, alternatives: Generation, stage: Stage) -> Guarded:
    candidates = {text: check(tweet, text, stage) for text in _candidates(tweet, first, alternatives, stage)}
    # Ties go to the greedy text and then to the likelier beam: dict keeps the order and min takes the first.
    best = min(candidates, key=lambda text: candidates[text].cost, default="")
    if best and candidates[best].cost < FALLBACK_FROM:
        text, flags = best, candidates[best].flags
    else:
        reason = candidates[best].flags if best else ("no_answer",)
        text, flags = fallback(tweet, stage), ("fallback", *reason)
    return Guarded(
        text=text,
        flags=flags,
        tries=2,
        tokens_in=first.tokens_in + alternatives.tokens_in,
        tokens_out=first.tokens_out + alternatives.tokens_out,
        greedy=first.greedy,
    )
