"""Looks for words in stored text, in whichever case and script they are written.

SQLite's own LIKE knows upper and lower case of ASCII only, so the comparison is Python's, as a function that SQL calls.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlite_utils import Database

from agents.storage.values import from_json, from_name

HOLDS = "hearth_holds"  # (words as JSON, text, …): whether the texts together hold every word
HOLDS_WHOLE = "hearth_holds_whole"  # the same, but no word as a part of a longer one
REMEMBERED_AT_ONCE = 5_000  # results that one piece of a count looks through
NEWEST_REMEMBERED = "SELECT coalesce(max(id), 0) FROM results"
COUNT_REMEMBERED = f"""
    SELECT count(*) FROM results WHERE {HOLDS_WHOLE}(?, title, summary, action_items) AND id >= ? AND id < ?
"""  # noqa: S608
# Thai, Lao, Burmese, Khmer: written without spaces between words, as the wide characters of East Asia are.
_UNSPACED = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))


def words_of(text: str) -> list[str]:
    """The words of a search, in the form in which they are compared."""
    return _plain(text).split()


def add_search(db: Database) -> None:
    """Makes the functions known to a connection."""
    db.conn.create_function(HOLDS, -1, _holds, deterministic=True)
    db.conn.create_function(HOLDS_WHOLE, -1, _holds_whole, deterministic=True)


def _holds(words: str, *texts: Any) -> bool:
    plain = _together(texts)
    return all(word in plain for word in _words(words))


def _holds_whole(words: str, *texts: Any) -> bool:
    plain = _together(texts)
    return all(_stands_alone(word, plain) for word in _words(words))


def _together(texts: Sequence[Any]) -> str:
    return _plain("\n".join(_text(text) for text in texts if text is not None))


def _stands_alone(word: str, text: str) -> bool:
    """Whether the word is somewhere in the text without being a part of a longer one: foo is not in footballer."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        goes_on_before = start > 0 and _is_of_word(text[start - 1]) and _is_of_word(word[0])
        goes_on_after = end < len(text) and _is_of_word(text[end]) and _is_of_word(word[-1])
        if not goes_on_before and not goes_on_after:
            return True
        start = text.find(word, start + 1)
    return False


def _is_of_word(character: str) -> bool:
    """Whether words end only where such characters do: letters, digits and marks of scripts that part words with spaces."""
    if not character.isalnum() and not unicodedata.category(character).startswith("M"):
        return False
    is_wide = unicodedata.east_asian_width(character) == "W"
    return not is_wide and not any(ord(character) in script for script in _UNSPACED)


def _text(value: Any) -> str:
    """A column's text; lists are stored as JSON, whose escapes hide what was written, and paths may be bytes."""
    if isinstance(value, bytes):
        return from_name(value)
    text = str(value)
    if text.startswith("["):
        try:
            return "\n".join(str(item) for item in from_json(text))
        except ValueError:  # a title may begin so too
            return text
    return text


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


@lru_cache(maxsize=8)
def _words(words: str) -> tuple[str, ...]:
    return tuple(from_json(words))
