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
MIN_TELLING_WORDS = 6
TELLING_ENOUGH = 3
OUTRIGHT_ENOUGH = 2
HEAD_CHARS = 300

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
_NUMBERED_HEADING = re.compile(r"^\s*\d{1,2}(?:\.\d{1,2})*\.?\s+[A-Z][^.!?;:]{1,60}$")
_PAGE_NUMBER = re.compile(r"^\s*(?:page|seite)?\s*\d{1,4}(?:\s*(?:/|of|von)\s*\d{1,4})?\s*$", re.IGNORECASE)
_UNDERLINE = re.compile(r"^\s*(=+|-{3,})\s*$")
_SUBJECT = re.compile(r"^\s*(?:subject|re|betreff|objet|asunto)\s*:\s*(.+)$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)]?\s+(?=[\"“‘(]?[A-Z0-9ÄÖÜÀ-Þ])")
# A full stop after these does not end a sentence.
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|etc|e\.g|i\.e|approx|Ltd|Inc|Fig|p|pp)\.$")
# Somebody named, then a colon and a verb ("Tom: order the floor"), or a request to the reader.
_ASSIGNED = re.compile(r"^(?:[A-Z][\w.'’-]+ ?){1,3}: [a-z]")
_REQUEST = re.compile(
    r"\b(?:please|(?:we|i) (?:kindly )?ask you to|could you|action:|to-?do:|remember to|make sure)\b",
    re.IGNORECASE,
)
# A person or "you" and "we" who must or will; other subjects mostly tell what merely happens.
_DUTY = re.compile(
    r"\b(?:must|needs? to|ha(?:s|ve) to|(?:is|are) (?:responsible for|asked to))\b"
    r"|(?:^|[,;:] |\band )(?:You|you|We|we|I|They|they|[A-Z][a-zà-ÿ]+)(?: and [A-Z][a-zà-ÿ]+)? (?:will|should|shall)\b"
)
_NOBODY = frozenset(
    [
        "The",
        "This",
        "That",
        "These",
        "Those",
        "It",
        "There",
        "A",
        "An",
        "Our",
        "Its",
        "Their",
        "Some",
        "Many",
        "Each",
        "Every",
        "All",
        "One",
        "Two",
        "Most",
    ]
)
# A sentence that begins like this leans on the one before it and says little alone.
_LEANING = re.compile(
    r"^(?:this|these|those|that|it|its|they|them|he|she|his|her|their|but|and|or|so|then|thus|also|however|therefore|"
    r"in other words|the other|the others|the last|the next|the same|both|none|one|another|if|second|third|finally|"
    r"otherwise|such|there)\b",
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
            r"^\W*(?:\w+ ){0,3}(?:report|review|study|survey|assessment|analysis)\b|"
            r"\b(?:findings|methodology|executive summary|we measured)\b",
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
    """Lines that could name the document; never empty for a text that is not blank, at most MAX_TITLES.

    A heading at the top or a subject line is the only one: nothing else names the document as well.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    subject = next((match for line in lines if (match := _SUBJECT.match(line))), None)
    heading = _HEADING.match(lines[0]) if lines else None
    if heading or subject:
        return [_short((heading or subject)[1])]  # type: ignore[index]
    headings = (match[1] for line in lines if (match := _HEADING.match(line)))
    found = dict.fromkeys(_short(title) for title in (*lines[:1], *headings))
    return [title for title in found if title][:MAX_TITLES]


def asking_sentences(candidates: Sequence[str]) -> list[str]:
    """Those sentences whose wording says that somebody has to do something (English).

    Where a document lists its tasks or asks outright, its vaguer sentences are left out.
    """
    outright = [each for each in candidates if _ASSIGNED.search(each) or _REQUEST.search(each)]
    if len(outright) >= OUTRIGHT_ENOUGH:
        return outright
    return [each for each in candidates if each in outright or _is_duty(each)]


def telling_sentences(candidates: Sequence[str]) -> list[str]:
    """Those sentences that can stand in a summary: they lean on no other one and ask for nothing; all, if few are left."""
    asking = set(asking_sentences(candidates))
    found = [
        each
        for each in candidates
        if each not in asking and not _LEANING.search(each) and len(each.split()) >= MIN_TELLING_WORDS
    ]
    return found if len(found) >= TELLING_ENOUGH else list(candidates)


def category_candidates(text: str) -> list[str]:
    """The categories that the wording hints at most, or all of them when it hints at none.

    The first lines weigh more: there a document says what it is.
    """
    head = text[:HEAD_CHARS]
    score = {
        category: 3 * len(pattern.findall(head)) + min(3, len(pattern.findall(text)))
        for category, pattern in _CATEGORY_HINTS.items()
    }
    best = max(score.values())
    return [category for category, points in score.items() if points == best] if best else list(CATEGORIES)


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
    lines = paragraph.splitlines()
    for line, following in itertools.pairwise([*lines, ""]):
        if _is_furniture(line, following):
            blocks.append("")
            continue
        item = _LIST_ITEM.match(line)
        stripped = line[item.end() :].strip() if item else line.strip()
        if item or not blocks or not blocks[-1]:
            blocks.append(stripped)
        else:
            blocks[-1] = f"{blocks[-1]} {stripped}"
    return [normalised(block) for block in blocks if block]


def _is_furniture(line: str, following: str) -> bool:
    """A heading, an underline, a subject line or a page number. A numbered line that runs on is a list item."""
    if _NUMBERED_HEADING.match(line):
        return not following[:1].islower()
    return any(pattern.match(line) for pattern in (_HEADING, _UNDERLINE, _SUBJECT, _PAGE_NUMBER))


def _is_duty(sentence: str) -> bool:
    match = _DUTY.search(sentence)
    return match is not None and match[0].lstrip(",;: ").split()[0] not in _NOBODY


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
