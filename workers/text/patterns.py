"""What the marks of Twitter look like, for measuring them and for taking them off."""

from __future__ import annotations

import re

HANDLE = re.compile(r"(?<![\w@])@\w+")
LEADING_HANDLES = re.compile(r"^(?:\.?@\w+[:,]?\s*)+")
LINK = re.compile(r"(?:https?://|www\.)\S+|\b(?:bit\.ly|t\.co|tinyurl\.com|ow\.ly|goo\.gl)/\S+", re.IGNORECASE)
HASHTAG = re.compile(r"(?<![\w&#])#(?=\w*[^\W\d])\w+")
TRAILING_HASHTAGS = re.compile(r"(?:\s+#\w+)+\s*$")
RETWEET = re.compile(r"\b(?:RT|MT)\b[:\s]*@\w+:?|\bvia\s+@\w+", re.IGNORECASE)
EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55\u2934\u2935\ufe0f\u200d]+")
EMOTICON = re.compile(r"(?<![\w:])(?:[:;=]['\-o^]?[)(\]\[DPpOo3*/\\|]|<3|\^[_.]?\^|-_+-|[xX]D|[:;=]'[()])(?!\w)")
FILLER = re.compile(r"\b(?:lol+|lmf?ao+|rofl|(?:ha){2,}h?|(?:he){2,}|smh|ugh+|omf?g+)\b", re.IGNORECASE)
ELONGATED = re.compile(r"\b(?!www)[^\W\d_]*([^\W\d_])\1\1[^\W\d_]*")
REPEATED_PUNCTUATION = re.compile(r"[!?]{2,}|\.{2,}|…")
FINAL_PUNCTUATION = re.compile(r"[.!?…][\"')\]”’]*$")
WORD = re.compile(r"[^\W_]+(?:['’/][^\W_]*)*|[&$]+")
