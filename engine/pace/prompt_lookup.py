"""Guesses what comes next from what was there before: the longest earlier place that ends as the text ends now; pure.

The idea is known as prompt lookup decoding: answers that quote, edit or repeat their prompt are guessed for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

MIN_MATCH = 2
MAX_MATCH = 16
MAX_PLACES = 16  # the latest ones are looked at; bounds the cost of a step in monotonous texts


class PromptLookup:
    """Follows one growing sequence of tokens; a step indexes only what is new."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], list[int]] = {}  # two tokens -> where what followed them begins
        self._n_indexed = 1
        self._found: Sequence[int] = ()

    def look(self, tokens: Sequence[int]) -> int:
        """How many tokens before the end also stand earlier; 0 when they are too few to go by."""
        self._index(tokens)
        self._found = ()
        if len(tokens) < MIN_MATCH:
            return 0
        best, best_place = 0, 0
        for place in reversed(self._places.get((tokens[-2], tokens[-1]), ())):
            n_matching = _matching(tokens, place)
            if n_matching > best:
                best, best_place = n_matching, place
            if best == MAX_MATCH:
                break
        if best:
            self._found = tokens[best_place:]
        return best

    def take(self, n_tokens: int) -> list[int]:
        """What followed the place that look() found. A repetition is carried on beyond the end of the text."""
        if not self._found:
            return []
        n_times = -(-n_tokens // len(self._found))
        return (list(self._found[:n_tokens]) * n_times)[:n_tokens]

    def _index(self, tokens: Sequence[int]) -> None:
        if len(tokens) < self._n_indexed:  # another text: begin anew
            self._places.clear()
            self._n_indexed = 1
        for place in range(max(self._n_indexed, MIN_MATCH), len(tokens)):
            places = self._places.setdefault((tokens[place - 2], tokens[place - 1]), [])
            places.append(place)
            if len(places) > 2 * MAX_PLACES:
                del places[:-MAX_PLACES]
        self._n_indexed = max(len(tokens), 1)


def _matching(tokens: Sequence[int], place: int) -> int:
    """How many tokens before a place are those before the end."""
    n, end = MIN_MATCH, len(tokens)
    while n < MAX_MATCH and n < place and tokens[place - 1 - n] == tokens[end - 1 - n]:
        n += 1
    return n
