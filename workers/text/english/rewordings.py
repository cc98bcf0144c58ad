"""Tells words that a summary may put for a tweet's own: carriers such as `says` and `takes`, common synonyms, consonants spelled out."""

from __future__ import annotations

from functools import lru_cache

from workers.text.english.lexicon import CARRIERS
from workers.text.english.words import Vocabulary

_GROUPS = """
great good nice fantastic amazing awesome wonderful excellent brilliant superb terrific fabulous lovely fab fire dope lit
bad terrible awful horrible poor lousy crappy sucks sucky shitty dreadful
big large huge enormous giant massive
small little tiny
fast quick quickly rapid rapidly speedy
happy glad pleased delighted thrilled
sad unhappy upset
angry mad furious annoyed pissed irritated enrage rage
funny hilarious
scary scared frightening terrifying afraid fear
crazy insane nuts mad wild
smart clever intelligent
tired exhausted sleepy
buy bought purchase purchased get got
help assist helped helping assistance
like love enjoy adore fun
hate dislike despise loathe
wish hope hopefully hoping
talk talked chat chatted speak spoke conversation discuss
party partied
trust faith confident confidence
show showed reveal revealed display displayed
begin began start commence resume
end ended finish finished
stop stopped quit halt prevent
keep kept continue still
get receive received obtain
kid kids child children son daughter
mom mother mum mommy mama
dad father daddy papa pops
grandma grandmother gran nan nana granny
grandpa grandfather granddad gramps
dog puppy doggo pup
cat kitten kitty
car auto vehicle
phone mobile cell cellphone smartphone
plane aircraft airplane
photo picture pic photograph image selfie
movie film flick
job work employment
house home
store shop
street road
money cash bucks dollars
doctor physician medic
police cops cop officers
guy man dude bloke fella
girl woman lady gal
boy lad
buddy friend pal mate
boss manager
answer answered reply replied respond responded response replies
fix fixed repair repaired
broken busted
beat defeat defeated
choose chose chosen pick picked select selected choice
win won victory
affect affected impact influence
hit struck strike
hurt injured injure wounded
kill killed
dead died death die dying
sick ill
drunk wasted
rain rainy raining
sleep asleep slept
think believe opinion imo reckon
say said per according via
almost nearly
maybe perhaps
often frequently
soon shortly
free complimentary gratis
cheap inexpensive
hard difficult tough
easy simple
wrong incorrect
right correct
join joined step
catch caught get got
lots many plenty tons
deliver delivered delivery
fewer less
lose lost
better beats best
annoying irritating
boring dull
beautiful gorgeous pretty
delicious tasty yummy
weird strange odd
stupid dumb idiotic
quiet silent
yeah yes yea yep
"""

_NATIONS = """
turkey turkish turk turks
ireland irish
italy italian italians
spain spanish
france french
germany german germans
england english
britain british uk
scotland scottish
wales welsh
europe european europeans
america american americans us usa
mexico mexican mexicans
canada canadian canadians
brazil brazilian
argentina argentine argentinian
china chinese
japan japanese
korea korean
india indian indians
pakistan pakistani
iran iranian
iraq iraqi
israel israeli
syria syrian syrians
egypt egyptian
greece greek greeks
russia russian russians
ukraine ukrainian
poland polish
sweden swedish
norway norwegian
denmark danish
finland finnish
netherlands dutch
holland dutch
belgium belgian
switzerland swiss
austria austrian
portugal portuguese
africa african
nigeria nigerian
kenya kenyan
australia australian aussie
zealand kiwi
asia asian
cuba cuban
vietnam vietnamese
thailand thai
philippines filipino
paris parisian
london londoner londoners
texas texan texans
california californian
"""

_VOWELS = frozenset("aeiouy")
_SHORTEST_SKELETON = 4


def says_nothing_new(word: str, known: Vocabulary) -> bool:
    """Return whether a word that the tweet lacks only carries its sentence, or is another word for one of the tweet's."""
    form = word.lower().removesuffix("'s")
    return form in CARRIERS or not _SYNONYMS.get(form, frozenset()).isdisjoint(known.forms) or _skeleton(form) in known.forms


def is_of_the_same_country(name: str, known: Vocabulary) -> bool:
    """Return whether the tweet has the country of a name such as `Turkish`, or the reverse."""
    return not _PEOPLES.get(name.lower(), frozenset()).isdisjoint(known.forms)


@lru_cache(maxsize=4096)
def _skeleton(word: str) -> str:
    """Return the first letter and the consonants after it, as tweets spell words: `strtd` for started; empty where those are few."""
    skeleton = word[:1] + "".join(letter for letter in word[1:] if letter not in _VOWELS)
    return skeleton if len(skeleton) >= _SHORTEST_SKELETON else ""


def _inflected(word: str) -> tuple[str, ...]:
    """Return what the word may look like; forms that nobody writes do no harm in a table that is looked up in."""
    return word, f"{word}s", f"{word}es", f"{word.removesuffix('e')}ed", f"{word.removesuffix('e')}ing"


def _table(groups: str) -> dict[str, frozenset[str]]:
    table: dict[str, frozenset[str]] = {}
    for group in groups.strip().splitlines():
        forms = frozenset(form for word in group.split() for form in _inflected(word))
        for form in forms:
            table[form] = table.get(form, frozenset()) | forms
    return table


_SYNONYMS = _table(_GROUPS)
_PEOPLES = _table(_NATIONS)
