"""Applies the punctuation and blanks of an observed style: final marks, sentence boundaries, commas, blanks."""

from __future__ import annotations

from workers.noise.fitting.profile import NoiseProfile
from workers.noise.fitting.style_vectors import Style
from workers.noise.fitting.word_lists import STOPWORDS, words
from workers.noise.operations.decoration import FORMS_OF_I
from workers.noise.operations.draft import Draft, Word
from workers.noise.operations.wording import PRIOR_WORDS, some

SMALL = STOPWORDS | frozenset(
    words("a an the it its it's he he's she she's we we're you you're they my his her our and but so no not yes if in at on to of")
)
DOTS = ("...", "...", "..", "....")
PLAIN_ENDS = ("", ".", "!", "?")


def close(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """End the text as the tweet ended: without a mark, with one, or with a run. A question keeps its mark if the tweet was none."""
    if not draft.words:
        return
    last = draft.words[-1]
    if last.after not in PLAIN_ENDS or (last.after == "?" and style.end != "?" and style.questions == 0):
        return
    mark = "?!" if style.end == "m" else style.end
    wanted = (mark * max(1, style.end_length))[: max(style.end_length, len(mark))]
    # A statement does not become a question, nor an exclamation a whisper that asks.
    if "?" in wanted and last.after != "?":
        wanted = wanted.replace("?", "" if last.after == "" else last.after)[:3]
    if "?" in last.after and wanted and "?" not in wanted:
        wanted = "?"
    if wanted != last.after:
        draft.record("final mark dropped" if not wanted else "final mark repeated" if len(wanted) > 1 else "final mark changed", last)
        last.after = wanted


def join_sentences(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Keep as many runs of dots and single full stops as the tweet had; other sentences run on with a comma, a dash or bare."""
    boundaries = [word for word in draft.words[:-1] if word.after == "." and word.ends_sentence]
    dotted = some(draft, boundaries, style.dots)
    stopped = some(draft, [word for word in boundaries if word not in dotted], style.stops)
    dashes = style.dashes
    for word in boundaries:
        if any(word is other for other in stopped):
            continue
        if any(word is other for other in dotted):
            word.after = draft.rng.choice(DOTS)
        elif dashes:
            word.after, dashes = " -", dashes - 1
        else:
            word.after = draft.rng.choice((".", ",") if style.careful else (",", ",", "", "..."))
        if word.after != ".":
            draft.record("sentences run on", word)
            _carry_on(draft, word)
    left = style.dots - len(dotted)
    for word in some(draft, [word for word in draft.words[:-1] if word.after == ","], left):
        word.after = "..."
        draft.record("comma to dots", word)
    for word in some(draft, [word for word in draft.words[:-1] if word.after in ("!", "?")], style.bang_runs):
        word.after *= draft.rng.choice((2, 2, 3, 3, 4))
        draft.record("mark repeated", word)


def _carry_on(draft: Draft, word: Word) -> None:
    """Let the next word open no sentence any more; unless it may be a name, its capital goes."""
    following = next(after for before, after in zip(draft.words, draft.words[1:], strict=False) if before is word)
    if word.after.startswith("."):
        return
    following.opens = False
    if following.core.lower() in SMALL and following.core not in FORMS_OF_I:
        following.core = following.core.lower()


def drop_commas(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Drop commas where the tweet had fewer of them than careful writers have."""
    expected = profile.commas * style.words
    kept = min(1.0, (style.commas + PRIOR_WORDS / 4) / (expected + PRIOR_WORDS / 4)) if expected else 1.0
    for word in draft.words[:-1]:
        if word.after == "," and draft.rng.random() > kept:
            word.after = ""
            draft.record("comma dropped", word)


def space(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Make as many wide blanks, missing blanks and blanks before a mark as the tweet had."""
    following = [word for before, word in zip(draft.words, draft.words[1:], strict=False) if _closes(before)]
    for word in some(draft, following, style.wide_blanks):
        word.gap = "  "
        draft.record("wide blank", word)
    for word in some(draft, [word for word in following if word.gap == " " and not word.fixed], style.tight):
        word.gap = ""
        draft.record("blank after a mark dropped", word)
    for word in some(draft, [word for word in draft.words if word.after[:1] in (".", "!", "?", ",") and word.core], style.loose):
        word.after = f" {word.after}"
        draft.record("blank before a mark", word)


def _closes(word: Word) -> bool:
    return bool(word.after) and word.after[-1] in ".!?,…" and not word.fixed
