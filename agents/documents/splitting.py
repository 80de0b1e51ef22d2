"""Splits a text into parts that fit a token budget, at the best places there are; pure apart from the token counter."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

CountTokens = Callable[[Sequence[str]], Awaitable[list[int]]]

# Where a text may be cut, best first; each match ends where the next part begins.
_CUTS: Sequence[re.Pattern[str]] = (
    re.compile(r"\n(?=#{1,6}\s)|\f"),  # before a Markdown heading, after a page
    re.compile(r"\n\s*\n"),  # between paragraphs
    re.compile(r"\n"),
    re.compile(r"[.!?…。！？][\"'”’»)\]]*(?:\s|(?<=[。！？]))"),  # after a sentence
    re.compile(r"\s"),
)
_PIECE = 0.3  # of the budget that a piece aims at: small enough to fill parts well, large enough to be counted quickly
_SHORTEST = 0.5  # of that length: no place is so good that a piece may be shorter than this
_FULL_ENOUGH = 0.6  # of the budget: from here on a heading begins a new part
_JOINT_TOKENS = 2  # what the blanks between two merged pieces may cost
_HEADING = re.compile(r"#{1,6}\s")

_Bounds = tuple[int, int]  # start and end in the text, without blanks at either end


async def split_text(text: str, *, budget_tokens: int, count_tokens: CountTokens) -> list[str]:
    """Consecutive parts of `text`, each of `budget_tokens` at most; only white space between them is dropped.

    Cuts before headings, else between paragraphs, lines, sentences, words, else anywhere; then fills parts greedily.
    `count_tokens` is called a few times with many texts each: 2 * log2(len(text)) + 2 times at the very most.
    ValueError when a single character is above the budget.
    """
    counts: dict[_Bounds, int] = {}
    spans = _trimmed(text, 0, len(text))
    while True:
        await _count(text, spans, counts, count_tokens)
        if all(counts[span] <= budget_tokens for span in spans):
            break
        spans = [piece for span in spans for piece in _cut(text, span, counts[span], budget_tokens)]
    merged = await _merge(text, spans, counts, budget_tokens, count_tokens)
    return [text[start:end] for start, end in merged]


async def _count(
    text: str, spans: Sequence[_Bounds], counts: dict[_Bounds, int], count_tokens: CountTokens
) -> None:
    """Fills in `counts` what is not known yet, with one call for all."""
    unknown = [span for span in spans if span not in counts]
    if unknown:
        numbers = await count_tokens([text[start:end] for start, end in unknown])
        counts.update(zip(unknown, numbers, strict=True))


def _cut(text: str, span: _Bounds, tokens: int, budget_tokens: int) -> list[_Bounds]:
    """The span itself if it fits, else pieces that should; each is at most half as long, so that cutting ends."""
    start, end = span
    if tokens <= budget_tokens:
        return [span]
    if end - start < 2:
        raise ValueError(f"a budget of {budget_tokens} tokens does not hold a single character")
    length = max(1, min(int((end - start) * _PIECE * budget_tokens / tokens), (end - start) // 2))
    pieces: list[_Bounds] = []
    while end - start > length:
        cut = _best_cut(text, start, start + length)
        pieces += _trimmed(text, start, cut)
        start = cut
    return pieces + _trimmed(text, start, end)


def _best_cut(text: str, start: int, latest: int) -> int:
    """The last place of the best sort in the later half of the stretch; `latest` if there is none."""
    earliest = max(start + 1, start + int((latest - start) * _SHORTEST))
    for pattern in _CUTS:
        # A little beyond, for what a pattern wants to see after the cut.
        ends = [match.end() for match in pattern.finditer(text, earliest - 1, latest + 8)]
        fitting = [end for end in ends if earliest <= end <= latest]
        if fitting:
            return fitting[-1]
    return latest


async def _merge(
    text: str,
    spans: Sequence[_Bounds],
    counts: dict[_Bounds, int],
    budget_tokens: int,
    count_tokens: CountTokens,
) -> list[_Bounds]:
    """Neighbours put together while they fit. Tokens don't add up exactly, so what was guessed is counted."""
    groups = _fill(text, spans, counts, budget_tokens)
    while True:
        merged = [(group[0][0], group[-1][1]) for group in groups]
        await _count(text, merged, counts, count_tokens)
        if all(counts[bounds] <= budget_tokens for bounds in merged):
            return merged
        halves: list[list[_Bounds]] = []
        for group, bounds in zip(groups, merged, strict=True):
            middle = len(group) // 2 if counts[bounds] > budget_tokens else 0
            halves += [half for half in (group[:middle], group[middle:]) if half]
        groups = halves


def _fill(
    text: str, spans: Sequence[_Bounds], counts: dict[_Bounds, int], budget_tokens: int
) -> list[list[_Bounds]]:
    groups: list[list[_Bounds]] = []
    tokens = 0
    for span in spans:
        more = tokens + _JOINT_TOKENS + counts[span]
        new_chapter = tokens >= _FULL_ENOUGH * budget_tokens and _HEADING.match(text, span[0])
        if groups and more <= budget_tokens and not new_chapter:
            groups[-1].append(span)
            tokens = more
        else:
            groups.append([span])
            tokens = counts[span]
    return groups


def _trimmed(text: str, start: int, end: int) -> list[_Bounds]:
    """The stretch without blanks at its ends; none when it is all blanks."""
    stretch = text[start:end]
    start += len(stretch) - len(stretch.lstrip())
    end -= len(stretch) - len(stretch.rstrip())
    return [(start, end)] if start < end else []
