"""Finds what a document itself offers: sentences, possible titles, sentences that ask for something, hints at its category.

Pure. These are candidates, not answers: the model chooses among them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

MIN_SENTENCE_WORDS = 4
MAX_SENTENCE_CHARS = 320
MAX_TITLE_CHARS = 80
MAX_TITLES = 6

CATEGORIES = (
    "meeting notes",
    "letter",
    "report",
    "invoice",
    "contract",
    "instructions",
    "article",
    "other",
)

_PARAGRAPH = re.compile(r"\n\s*\n")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•+]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s*)?")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.+?)\s*#*\s*$")
_UNDERLINE = re.compile(r"^\s*(=+|-{3,})\s*$")
_SUBJECT = re.compile(r"^\s*(?:subject|re|betreff|objet|asunto)\s*:\s*(.+)$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)]?\s+(?=[\"“‘(]?[A-Z0-9ÄÖÜÀ-Þ])")
# A full stop after these does not end a sentence.
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|etc|e\.g|i\.e|approx|Ltd|Inc|Fig|p|pp)\.$")
_ASKING = re.compile(
    r"\b(?:please|must|should|shall|will|need(?:s)? to|ha(?:s|ve) to|ought to|action|to-?do|deadline|"
    r"ask(?:s)? you to|is to|are to|agreed to|make sure|remember to|responsible for)\b"
    r"|\b(?:by|before|no later than)\s+(?:the\s+)?(?:end\b|next\b|monday|tuesday|wednesday|thursday|friday|"
    r"saturday|sunday|\d{1,2}(?:st|nd|rd|th)?\s+\w+|january|february|march|april|may|june|july|august|september|"
    r"october|november|december)\b",
    re.IGNORECASE,
)
# "will" and "must" also tell what merely happens; these subjects rarely can be asked to do anything.
_NOT_ASKING = re.compile(
    r"^(?:the|a|an|this|that|these|it|there|our|its)\s+(?:\w+\s+){0,3}will\s+(?:be|remain|stay|arrive|rise|fall|have)\b",
    re.IGNORECASE,
)
_CATEGORY_HINTS = {
    category: re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for category, pattern in (
        (
            "meeting notes",
            r"^\s*(?:minutes\b|present:|attendees:|agenda\b)|\b(?:next meeting|committee met)\b",
        ),
        ("letter", r"^\s*dear\b|\b(?:kind|best|warm) regards\b|\byours (?:sincerely|faithfully)\b"),
        ("invoice", r"^\s*invoice\b|\b(?:amount due|payable within|invoice date)\b"),
        ("contract", r"\b(?:hereinafter|the parties|this agreement|governing law)\b"),
        ("instructions", r"^\s*step \d|\bhow to\b|\bfirst,? (?:switch|open|remove)\b"),
        (
            "report",
            r"\b(?:annual|quarterly|monthly|survey|status|progress|final) report\b|\breport (?:on|of|to)\b|"
            r"\b(?:findings|methodology|executive summary)\b",
        ),
    )
}


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, each verbatim but for white space, without headings and repeats.

    A text without sentences (a table, a list of words) gives its lines, cut to MAX_SENTENCE_CHARS.
    """
    found: dict[str, None] = {}
    for paragraph in _PARAGRAPH.split(text):
        for block in _blocks(paragraph):
            for sentence in _split(block):
                if _is_sentence(sentence):
                    found.setdefault(sentence)
    return list(found) or _lines(text)


def title_candidates(text: str) -> list[str]:
    """Lines that could name the document: headings, a subject line, the first line; at most MAX_TITLES.

    Never empty for a text that is not blank.
    """
    found: dict[str, None] = {}
    lines = [line.strip() for line in text.splitlines()]
    for index, line in enumerate(lines):
        heading = _HEADING.match(line) or _SUBJECT.match(line)
        if heading:
            found.setdefault(_short(heading[1]))
        elif index + 1 < len(lines) and line and _UNDERLINE.match(lines[index + 1]):
            found.setdefault(_short(line))
        if len(found) == MAX_TITLES:
            break
    if not found:
        first = next((line for line in lines if line), "")
        found.setdefault(_short(first))
    return [title for title in found if title]


def asking_sentences(candidates: Sequence[str]) -> list[str]:
    """Those sentences whose wording says that somebody has to do something (English)."""
    return [each for each in candidates if _ASKING.search(each) and not _NOT_ASKING.search(each)]


def category_candidates(text: str) -> list[str]:
    """The categories that the wording hints at, or all of them when it hints at none."""
    hinted = [category for category, pattern in _CATEGORY_HINTS.items() if pattern.search(text)]
    return hinted or list(CATEGORIES)


def spread(candidates: Sequence[str], groups: int) -> list[list[str]]:
    """Cuts the candidates into at most `groups` runs of equal length, in order; none is empty."""
    groups = min(groups, len(candidates))
    edges = [round(index * len(candidates) / groups) for index in range(groups + 1)] if groups else [0]
    return [list(candidates[start:end]) for start, end in itertools.pairwise(edges)]


def normalised(text: str) -> str:
    """`text` with every run of white space as one blank, for comparing."""
    return " ".join(text.split())


def _blocks(paragraph: str) -> list[str]:
    """List items one by one, other lines joined; headings left out."""
    blocks: list[str] = []
    for line in paragraph.splitlines():
        if _HEADING.match(line) or _UNDERLINE.match(line) or _SUBJECT.match(line):
            blocks.append("")
            continue
        item = _LIST_ITEM.match(line)
        stripped = line[item.end() :].strip() if item else line.strip()
        if item or not blocks or not blocks[-1]:
            blocks.append(stripped)
        else:
            blocks[-1] = f"{blocks[-1]} {stripped}"
    return [normalised(block) for block in blocks if block]


def _split(block: str) -> list[str]:
    parts: list[str] = []
    for piece in _SENTENCE_END.split(block):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {piece}"
        else:
            parts.append(piece)
    return [part.strip() for part in parts]


def _is_sentence(text: str) -> bool:
    long_enough = len(text.split()) >= MIN_SENTENCE_WORDS and len(text) <= MAX_SENTENCE_CHARS
    return long_enough and text[-1] in '.!?:;"”)'


def _lines(text: str) -> list[str]:
    found = dict.fromkeys(normalised(line)[:MAX_SENTENCE_CHARS] for line in text.splitlines())
    return [line for line in found if line]


def _short(title: str) -> str:
    title = normalised(title).strip("*_` ")
    if len(title) <= MAX_TITLE_CHARS:
        return title
    return title[: MAX_TITLE_CHARS - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
