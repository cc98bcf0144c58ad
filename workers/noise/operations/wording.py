"""Applies operations on words, as many as the observed tweet had and the text has room for."""

from __future__ import annotations

from workers.noise.fitting.profile import NoiseProfile
from workers.noise.fitting.slang import AMBIGUOUS
from workers.noise.fitting.style_vectors import CURT, SUBJECTLESS, Style
from workers.noise.fitting.typos import COMPOUNDS
from workers.noise.fitting.word_lists import ARTICLES, EXPRESSIVE, words
from workers.noise.operations import spelling
from workers.noise.operations.draft import Draft, Word, is_negation

APART = {joined: parts.split() for parts, joined in COMPOUNDS.items()}
MERGEABLE = frozenset(
    pair.replace("+", " ")
    for pair in words(
        "a+lot as+well at+least all+right of+course in+fact each+other even+though thank+you high+school so+much good+morning last+night "
        "right+now every+day every+time good+luck in+case love+you to+do"
    )
)
TOO_LONG = 25  # characters above the limit that can be saved without ruin
USUAL = 0.02  # of a phrase's occurrences: more than a spelling gets that was never seen
PRIOR_WORDS = 2.0  # words that the corpus counts for beside the one tweet


def match_subject(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Drop the subject if the tweet did: `I am having a day` -> `Having a day`, `I love it` -> `Love it`, `It is late` -> `Late`."""
    words = draft.words
    count = _subject(words) if style.subjectless else 0
    if not count or len(words) <= count + 1 or any(word.after for word in words[:count]):
        return
    following = words[count]
    if following.before or following.core.lower() in ARTICLES or (following.fixed and not is_negation(following.core)):
        return
    draft.record("subject dropped", words[0])
    del words[:count]
    words[0].opens = True
    if not is_negation(words[0].core):
        words[0].core = words[0].core[:1].upper() + words[0].core[1:]
    else:
        words[0].core = words[0].core.capitalize()


def _subject(words: list[Word]) -> int:
    """Return how many words a hurried writer leaves out at the beginning; 0 where what follows would not be understood."""
    opening = [word.core.lower().replace("’", "'") for word in words[:3]]
    if opening[:1] == ["i'm"] or opening[:1] == ["it's"]:
        return 1
    if len(opening) > 2 and opening[:2] in (["i", "am"], ["it", "is"], ["i", "was"], ["i", "have"]):
        return 2
    if opening[:1] in (["i"], ["it"]) and len(opening) > 1 and (opening[1] in SUBJECTLESS or opening[1].endswith("ed")):
        return 1
    return 0


def drop_articles(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Drop `the`, `a` and `an` where the tweet had fewer of them than careful writers have."""
    expected = profile.articles * style.words
    kept = min(1.0, (style.articles + PRIOR_WORDS) / (expected + PRIOR_WORDS)) if expected else 1.0
    hosts = [word for word in draft.words[:-1] if word.core.lower() in ARTICLES and not word.before and not word.after]
    for word in hosts:
        if draft.rng.random() > kept:
            _leave_out(draft, next(place for place, other in enumerate(draft.words) if other is word))


def match_slang(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Use as many slang spellings as the tweet had: `gonna`, `ppl`; and as many of single letters and digits: `u`, `2`."""
    for curt, count in ((False, style.slang), (True, style.curt)):
        for _ in range(count):
            found = list(_respellable(draft, profile, curt))
            if not found:
                break
            place, length, spelling_, _weight = draft.rng.choices(found, weights=[weight for *_, weight in found])[0]
            spelling.respell(draft, place, length, spelling_)


def squeeze(draft: Draft, _: Style, profile: NoiseProfile) -> None:
    """Shorten what is a little too long for the corpus, as people do against a limit: blanks, the last stop, spellings, articles, `&`."""
    if not 0 < len(draft.text()) - profile.longest <= TOO_LONG:
        return
    for step in (_narrow, _leave_stop, _spell_shorter, _leave_article, _join_shorter):
        while len(draft.text()) > profile.longest and step(draft, profile):
            pass


def _narrow(draft: Draft, _: NoiseProfile) -> bool:
    wide = [word for word in draft.words if word.gap == "  "]
    for word in wide:
        word.gap = " "
    return False


def _join_shorter(draft: Draft, _: NoiseProfile) -> bool:
    hosts = [word for word in draft.words if word.core.lower() == "and" and not word.fixed]
    for word in hosts[:1]:
        _join(draft, word)
    return bool(hosts)


def _join(draft: Draft, word: Word) -> None:
    word.core, word.fixed = "&", True
    draft.record("and written as &", word)


def _spell_shorter(draft: Draft, profile: NoiseProfile) -> bool:
    """Return the spelling that the corpus likes best among those that save something."""
    found = [
        option
        for option in _respellable(draft, profile, curt=False)
        if option[3] >= USUAL and len(option[2]) < len(" ".join(word.core for word in draft.words[option[0] : option[0] + option[1]]))
    ]
    if found:
        place, length, form, _weight = max(found, key=lambda option: option[3])
        spelling.respell(draft, place, length, form)
    return bool(found)


def _leave_article(draft: Draft, _: NoiseProfile) -> bool:
    hosts = [place for place, word in enumerate(draft.words[:-1]) if word.core.lower() in ARTICLES and not word.before and not word.after]
    if hosts:
        _leave_out(draft, draft.rng.choice(hosts))
    return bool(hosts)


def _leave_stop(draft: Draft, _: NoiseProfile) -> bool:
    if draft.words and draft.words[-1].after == ".":
        draft.words[-1].after = ""
        draft.record("final mark dropped", draft.words[-1])
    return False


def _leave_out(draft: Draft, place: int) -> None:
    """Drop an article; what follows takes over its place in the sentence."""
    article = draft.words.pop(place)
    following = draft.words[place]
    following.opens, following.gap = following.opens or article.opens, article.gap
    draft.record("article dropped", article)


def _respellable(draft: Draft, profile: NoiseProfile, curt: bool) -> list[tuple[int, int, str, float]]:
    """Return every place, its number of words, a spelling and how usual that is."""
    found = []
    for place, word in enumerate(draft.words):
        for phrase, lowered in spelling.PHRASES_BY_FIRST_WORD.get(word.core.lower(), []):
            if spelling.is_phrase(draft.words[place : place + len(lowered)], lowered):
                shares = profile.rates.slang.get(phrase, {})
                found += [
                    (place, len(lowered), form, share)
                    for form, share in sorted(shares.items())
                    if share > 0 and (form in CURT) == curt and (curt or form not in AMBIGUOUS)
                ]
    return found


def write_ampersands(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Write `&` for `and`."""
    hosts = [word for word in draft.words if word.core.lower() == "and" and not word.fixed]
    for word in some(draft, hosts, style.ampersands):
        _join(draft, word)


def match_apostrophes(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Drop apostrophes (`can't` -> `cant`) in the share of contractions in which the tweet did so. The letters of a negation stay."""
    share = style.bare / style.contracted if style.contracted else 0.0 if style.careful else profile.rates.dropped_apostrophe
    for word in draft.words:
        bare = spelling.without_apostrophe(word.core)
        if bare is not None and draft.rng.random() < share:
            word.core = bare
            draft.record("apostrophe dropped", word)


def add_typos(draft: Draft, style: Style, profile: NoiseProfile) -> None:
    """Make as many typos of each kind as the tweet had, one a word; missed keys are those of the corpus's keyboard."""
    typos = spelling.typos_on(profile.keyboard)
    for name, count in (
        ("letter dropped", style.letter_dropped),
        ("letter doubled", style.letter_doubled),
        ("letters swapped", style.letters_swapped),
        ("key missed", style.key_missed),
        ("vowels dropped", style.vowels_dropped),
    ):
        for word in some(draft, [word for word in draft.words if word.spellable], count):
            changed = typos[name](word.core, draft.rng)
            if changed != word.core:
                word.core, word.fixed = changed, True
                draft.record(name, word)


def clip_endings(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Clip endings: `going` -> `goin`."""
    hosts = [word for word in draft.words if word.spellable and len(word.core) > 4 and word.core.endswith("ing")]
    for word in some(draft, hosts, style.clipped):
        word.core, word.fixed = word.core[:-1], True
        draft.record("ending clipped", word)


def match_lengthening(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Lengthen (`so` -> `sooo`) as many words and as many letters as in the tweet, expressive words first."""
    for _count in range(style.stretched):
        hosts = [word for word in draft.words if spelling.stretchable(word)]
        eager = [word for word in hosts if word.core.lower() in EXPRESSIVE] or hosts
        if eager:
            spelling.stretch(draft, draft.rng.choice(eager), max(2, min(12, style.stretch // style.stretched)))


def merge_and_split(draft: Draft, style: Style, _: NoiseProfile) -> None:
    """Merge and split words: `a lot` -> `alot`, `everyone` -> `every one`."""
    for _count in range(style.words_merged):
        pairs = [place for place in range(len(draft.words) - 1) if _mergeable(*draft.words[place : place + 2])]
        if pairs:
            place = draft.rng.choice(pairs)
            first, second = draft.words[place : place + 2]
            first.core, first.after, first.fixed = first.core + second.core, second.after, True
            del draft.words[place + 1]
            draft.record("words merged", first)
    hosts = [word for word in draft.words if not word.fixed and word.core.lower() in APART]
    for word in some(draft, hosts, style.words_split):
        cut = len(APART[word.core.lower()][0])
        word.core, word.fixed = f"{word.core[:cut]} {word.core[cut:]}", True
        draft.record("word split", word)


def _mergeable(first: Word, second: Word) -> bool:
    plain = not (first.fixed or second.fixed or first.after or second.before) and second.gap == " "
    return plain and f"{first.core} {second.core}".lower() in MERGEABLE


def some(draft: Draft, hosts: list[Word], count: int) -> list[Word]:
    """At most `count` of the words, drawn and in their order."""
    places = sorted(draft.rng.sample(range(len(hosts)), min(count, len(hosts))))
    return [hosts[place] for place in places]
