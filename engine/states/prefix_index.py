"""Finds which known token sequence shares the longest beginning with a prompt; no I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

_TOKEN_BYTES = 4
T = TypeVar("T")


def token_key(tokens: Sequence[int]) -> bytes:
    """Tokens as bytes whose order is that of the tokens, and whose beginnings are those of the tokens."""
    return np.asarray(tokens, dtype=">u4").tobytes()


def key_tokens(key: bytes) -> int:
    """How many tokens a key holds."""
    return len(key) // _TOKEN_BYTES


def shared_tokens(one: bytes, other: bytes) -> int:
    """How many tokens two keys begin with together."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size // _TOKEN_BYTES
    differs = np.frombuffer(one, np.uint32, size // _TOKEN_BYTES) != np.frombuffer(
        other, np.uint32, size // _TOKEN_BYTES
    )
    return int(differs.argmax())


class PrefixIndex(Generic[T]):
    """Items by their tokens, in sorted order: whatever shares most with a key is its neighbour.

    A look-up costs two binary searches, however many items there are and however long they are.
    """

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._items: dict[bytes, list[T]] = {}

    def __iter__(self) -> Iterator[T]:
        """All items, in the order of their tokens."""
        return (item for key in self._keys for item in self._items[key])

    def add(self, key: bytes, item: T) -> None:
        """Know an item under its tokens; several may have the same."""
        if not key:
            raise ValueError("an item without tokens can't be found again")
        if key not in self._items:
            insort(self._keys, key)
            self._items[key] = []
        self._items[key].append(item)

    def remove(self, key: bytes, item: T) -> None:
        """Forget an item that is known under this key."""
        items = self._items[key]
        items.remove(item)
        if not items:
            del self._items[key]
            del self._keys[bisect_left(self._keys, key)]

    def at(self, key: bytes) -> list[T]:
        """The items with exactly these tokens."""
        return list(self._items.get(key, ()))

    def longest(self, key: bytes) -> tuple[int, list[T]]:
        """The longest shared beginning in tokens, and all items that share so much; (0, []) if none does."""
        place = bisect_left(self._keys, key)
        neighbours = self._keys[max(place - 1, 0) : place + 1]
        n_tokens = max((shared_tokens(key, neighbour) for neighbour in neighbours), default=0)
        if n_tokens == 0:
            return 0, []
        return n_tokens, self.beginning_with(key[: n_tokens * _TOKEN_BYTES])

    def longest_whole(self, key: bytes) -> tuple[int, list[T]]:
        """Like longest(), among the items that are a beginning of the key from their first to their last token."""
        end = len(key)
        while (place := bisect_right(self._keys, key[:end])) > 0:
            candidate = self._keys[place - 1]
            n_tokens = shared_tokens(candidate, key)
            if n_tokens == key_tokens(candidate):
                return n_tokens, list(self._items[candidate])
            end = n_tokens * _TOKEN_BYTES  # whatever is whole and shorter sorts before this
        return 0, []

    def beginning_with(self, key: bytes) -> list[T]:
        """The items whose tokens begin with the key, those of the key itself included."""
        found: list[T] = []
        for place in range(bisect_left(self._keys, key), len(self._keys)):
            if not self._keys[place].startswith(key):
                break
            found.extend(self._items[self._keys[place]])
        return found
