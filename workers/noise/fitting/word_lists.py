"""Holds hand-made lists of words: what must survive noise, what invites it, and what people on Twitter add."""

from __future__ import annotations


def words(listing: str) -> tuple[str, ...]:
    """Split a listing, which is easier to read without quotes and commas, into its words."""
    return tuple(listing.split())


VOWELS = "aeiou"
ARTICLES = frozenset(words("a an the"))
NEGATIONS = frozenset(words("no not never cannot none nobody nothing nowhere neither nor without nope"))
NUMBER_WORDS = frozenset(
    words(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion half quarter dozen "
        "first second third fourth fifth once twice"
    )
)
ABBREVIATIONS = frozenset(words("vs mr mrs ms dr st jr sr prof etc e.g i.e"))
EXPRESSIVE = frozenset(
    words(
        "so really very love please yes yay wow good great happy hate cute hungry tired bored long way too all hey hello hi bye sad "
        "bad cool nice awesome amazing crazy much hard ready well oh omg ugh cold hot late dude thanks finally more why what stop "
        "beautiful excited sweet yeah best baby man right okay fun night funny wait"
    )
)
COMMON_EMOJI = words("😂 😭 😍 😊 🙄 🔥 ❤️ 🙏 👏 😩 💯 😅 🎉 👀 🤔 😎 💀 😡 👍 ✨ 😴 🙌 😢 ☀️ 💪")
EMOTICONS = words(":) :-) :( ;) :D :P :/ <3 xD ;-) :-( =) ^_^ :') -_-")
FILLERS_BEFORE = words("lol haha omg ugh hahaha lmao")
FILLERS_AFTER = words("lol lol haha smh lmao hahaha")
FILLERS = words("lol LOL Lol haha Haha HAHA hahaha Hahaha hahahaha lmao LMAO lmfao rofl smh ugh Ugh UGH omg OMG hehe")
TAGS = words(
    "#fail #love #win #news #fml #life #happy #monday #tbt #blessed #fb #truth #help #annoyed #random #mood #weekend #food #music "
    "#tv #fun #work #travel #nofilter #sad #yum #bored #wtf #sports #friday"
)
NAME_PARTS = words("jess mike lil sunny real its_ mr miss kat dan amy joe rob nat max ellie tom sam chris luv soccer music coffee star")
STOPWORDS = frozenset(
    words(
        "about after again also been before being could does doing from have having here into just like more most much only other over "
        "really said same should some such than that their them then there these they this those through very want went were what when "
        "where which while will with would your yours getting know make making made think thought need take come find keep tell "
        "feel look looking happened give said makes wants know going able might must shall upon ever even still back less than many few"
    )
)
