"""Looks for words in stored text, in whichever case and script they are written.

SQLite's own LIKE knows upper and lower case of ASCII only, so the comparison is Python's, as a function that SQL calls.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

from sqlite_utils import Database

from agents.storage.values import from_json, from_name

HOLDS = "hearth_holds"  # (words as JSON, text, …): whether the texts together hold every word
REMEMBERED_AT_ONCE = 5_000  # results that one piece of a count looks through
NEWEST_REMEMBERED = "SELECT coalesce(max(id), 0) FROM results"
COUNT_REMEMBERED = f"""
    SELECT count(*) FROM results WHERE {HOLDS}(?, title, summary, action_items) AND id >= ? AND id < ?
"""  # noqa: S608


def words_of(text: str) -> list[str]:
    """The words of a search, in the form in which they are compared."""
    return _plain(text).split()


def add_search(db: Database) -> None:
    """Makes the function known to a connection."""
    db.conn.create_function(HOLDS, -1, _holds, deterministic=True)


def _holds(words: str, *texts: Any) -> bool:
    together = "\n".join(_text(text) for text in texts if text is not None)
    plain = _plain(together)
    return all(word in plain for word in _words(words))


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
