"""Applies operations that add to the words or change them all: punctuation, capitals, hashtags, handles, links, emoji, filler, retweets."""

from __future__ import annotations

from collections.abc import Callable

from workers.noise.fitting.word_lists import COMMON_EMOJI, EMOTICONS, FILLERS_AFTER, FILLERS_BEFORE, NAME_PARTS, STOPWORDS, TAGS
from workers.noise.operations.draft import Draft, Word

SHORTENERS = ("http://t.co/", "https://t.co/", "http://bit.ly/")
FORMS_OF_I = frozenset(("I", "I'm", "I'll", "I've", "I'd", "Im", "Ill", "Ive"))
SLUG = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def change_punctuation(draft: Draft) -> None:
    """Repeat the last mark or leave it out; a question mark is rarely left out, since it carries meaning."""
    if not draft.words:
        return
    last = draft.words[-1]
    mark = last.after[-1:]
    if mark not in (".", "!", "?") or len(last.after) > 1:
        return
    if draft.chance(draft.rates.repeated_punctuation):
        last.after = draft.rng.choice({".": ("...", "..", "!!", "!!!"), "!": ("!!", "!!!", "!!!!"), "?": ("??", "???", "?!", "?!?")}[mark])
        draft.record("punctuation repeated", last)
    elif draft.chance(draft.rates.no_final_punctuation * (0.3 if mark == "?" else 1.0)):
        last.after = ""
        draft.record("punctuation dropped", last)


def loosen_sentences(draft: Draft) -> None:
    """Loosen the marks inside the text: full stops become dots or commas or vanish, commas vanish."""
    for word in draft.words[:-1]:
        if word.after == "." and word.ends_sentence and draft.word_chance(draft.rates.no_final_punctuation / 3):
            word.after = draft.rng.choice(("", "..", "...", ","))
        elif word.after == "," and draft.word_chance(draft.rates.no_final_punctuation / 3):
            word.after = ""
        else:
            continue
        draft.record("punctuation loosened", word)


def change_case(draft: Draft) -> None:
    """Change case: all small, all capitals, or else single words: a small opening, a small i, a shouted word."""
    draw = draft.rng.random()
    if draw < draft.rates.lowercase:
        recase_all(draft, str.lower, "all small")
    elif draw < draft.rates.lowercase + draft.rates.uppercase:
        recase_all(draft, str.upper, "all capitals")
    else:
        if draft.chance(draft.rates.lowercase_start):
            recase(draft, draft.words[:1], str.lower, "small opening")
        recase(draft, [word for word in pronouns(draft) if draft.word_chance(draft.rates.lowercase_i)], str.lower, "small i")
        recase(draft, [word for word in shoutable(draft) if draft.word_chance(draft.rates.caps_word)], str.upper, "shouted word")


def pronouns(draft: Draft) -> list[Word]:
    """Return the words that say I."""
    return [word for word in draft.words if word.core in FORMS_OF_I]


def shoutable(draft: Draft) -> list[Word]:
    """Return words that somebody may write in capitals."""
    return [word for word in draft.words if len(word.core) >= 4 and word.core.isalpha() and word.core.lower() not in STOPWORDS]


def recase_all(draft: Draft, change: Callable[[str], str], name: str) -> None:
    """Change every word's capitals; it counts as one operation."""
    changed = [word for word in draft.words if _recased(word, change)]
    if changed:
        draft.record(name)


def recase(draft: Draft, words: list[Word], change: Callable[[str], str], name: str) -> None:
    """Change the capitals of some words, each an operation of its own."""
    for word in words:
        if _recased(word, change):
            draft.record(name, word)


def _recased(word: Word, change: Callable[[str], str]) -> bool:
    if word.core.startswith(("http", "@")) or change(word.core) == word.core:
        return False
    word.core = change(word.core)
    return True


def tag_words(draft: Draft) -> None:
    """Turn a name, whole, or where there is none a content word of the sentence, into a hashtag where it stands."""
    if not draft.chance(draft.rates.hashtag_inline):
        return
    tag_one(draft)


def tag_one(draft: Draft) -> None:
    """Turn one name or content word into a hashtag, where there is one left."""
    runs = _names(draft.words) or [(place, place + 1) for place, word in enumerate(draft.words) if is_content(word) and not word.before]
    if not runs:
        return
    start, end = draft.rng.choice(runs)
    first, last = draft.words[start], draft.words[end - 1]
    tag = "#" + "".join(word.core for word in draft.words[start:end])
    draft.words[start:end] = [Word("", tag, last.after, first.opens, True, first.place, first.gap)]
    draft.record("hashtag in place", first)


def _names(words: list[Word]) -> list[tuple[int, int]]:
    """Find runs of one to three capitalised words: `New Zealand` is one name."""
    runs: list[tuple[int, int]] = []
    start = 0
    while start < len(words):
        end = start
        while end < len(words) and _may_be_tagged(words[end]) and not (end > start and words[end - 1].after):
            end += 1
        if 1 <= end - start <= 3 and len(words[start].core) > 1:
            runs.append((start, end))
        start = max(end, start + 1)
    return runs


def _may_be_tagged(word: Word) -> bool:
    return word.named and not word.fixed and not word.before and word.core.isalpha()


def is_content(word: Word) -> bool:
    """Whether the text is about it, as far as its length tells: no little word, nothing that is out of bounds."""
    return not word.fixed and word.core.isalpha() and len(word.core) >= 4 and word.core.lower() not in STOPWORDS


def add_filler(draft: Draft) -> None:
    """Add `lol` and its like, before the sentence or after it."""
    if not draft.chance(draft.rates.filler):
        return
    before = draft.chance(0.35)
    if before:
        draft.head.append(draft.rng.choice(FILLERS_BEFORE))
    else:
        draft.tail.append(draft.rng.choice(FILLERS_AFTER))
    draft.record("filler", 0 if before else draft.end)


def add_emoticon(draft: Draft) -> None:
    """Add an emoticon at the end."""
    if draft.chance(draft.rates.emoticon):
        draft.tail.append(draft.rng.choice(EMOTICONS))
        draft.record("emoticon", draft.end)


def add_emoji(draft: Draft) -> None:
    """Add one emoji, at times repeated."""
    if draft.chance(draft.rates.emoji):
        draft.tail.append(draft.rng.choice(COMMON_EMOJI) * draft.rng.choice((1, 1, 1, 2, 3)))
        draft.record("emoji", draft.end)


def add_hashtags(draft: Draft) -> None:
    """Add one to three hashtags at the end: words of the sentence, or tags that any tweet may have."""
    if not draft.chance(draft.rates.hashtag_trailing):
        return
    own = sorted({f"#{word.core.lower()}" for word in draft.words if is_content(word)})
    for _ in range(draft.rng.choice((1, 1, 1, 2, 2, 3))):
        tag = draft.rng.choice(own if own and draft.chance(0.5) else TAGS)
        if tag not in draft.tail:
            draft.tail.append(tag)
    draft.record("hashtags", draft.end)


def add_link(draft: Draft) -> None:
    """Add a shortened link before or after the hashtags, in the form that the corpus masks links with if it does."""
    if draft.chance(draft.rates.link):
        link = new_link(draft)
        place = next((place for place, item in enumerate(draft.tail) if item.startswith("#")), None)
        draft.tail.insert(len(draft.tail) if place is None or draft.chance(0.5) else place, link)
        draft.record("link", draft.end)


def new_link(draft: Draft) -> str:
    """Make up a link that leads nowhere, or the corpus's mask."""
    slug = "".join(draft.rng.choices(SLUG, k=draft.rng.choice((6, 7, 10))))
    return draft.rates.link_mask or draft.rng.choice(SHORTENERS) + slug


def retweet(draft: Draft) -> None:
    """Add `RT @someone` before the sentence."""
    if draft.chance(draft.rates.retweet):
        draft.head.insert(0, f"RT {new_handle(draft)}{draft.rng.choice((':', ':', ''))}")
        draft.record("retweet", 0)


def address(draft: Draft) -> None:
    """Open with one handle or more."""
    if not draft.chance(draft.rates.leading_handle):
        return
    handles = [new_handle(draft)]
    while len(handles) < 4 and draft.chance(draft.rates.further_handle):
        handles.append(new_handle(draft))
    draft.head[:0] = handles
    draft.record("handles", 0)


def new_handle(draft: Draft) -> str:
    """Make up a handle of nobody, or the corpus's mask."""
    if draft.rates.handle_mask:
        return draft.rates.handle_mask
    parts = draft.rng.sample(NAME_PARTS, 2)
    return f"@{parts[0]}{parts[1]}{draft.rng.choice(('', '', '_', '07', '88', '99', 'x'))}"
