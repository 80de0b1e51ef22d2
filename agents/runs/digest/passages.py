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

# All patterns see lines whose runs of white space are single blanks (_lines_of), and none is tried on a longer line
# than MAX_MARK_CHARS: what arrives in a watched folder must not be able to make them slow.
MAX_MARK_CHARS = 300
_LIST_ITEM = re.compile(r"(?:[-*•+]|\d{1,3}[.)]) (?:\[[ xX]?\] )?")
_HEADING = re.compile(r"#{1,6} (\S.*)$")
_NUMBERED_HEADING = re.compile(r"\d{1,2}(?:\.\d{1,2})*\.? [A-Z][^.!?;:]{1,60}$")
_PAGE_NUMBER = re.compile(r"(?:(?:page|seite) )?\d{1,4}(?: ?(?:/|of|von) ?\d{1,4})?$", re.IGNORECASE)
_UNDERLINE = re.compile(r"(?:=+|-{3,})$")
_SUBJECT = re.compile(r"(?:subject|re|betreff|objet|asunto) ?: ?(\S.*)$", re.IGNORECASE)
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
_NOBODY = re.compile(
    r"(?:The|This|That|These|Those|It|There|An?|Our|Its|Their|Some|Many|Each|Every|All|One|Two|Most)\b"
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
            r"^(?:minutes\b|present:|attendees:|agenda\b)|\b(?:next meeting|committee met)\b",
        ),
        ("letter", r"^dear\b|\b(?:kind|best|warm) regards\b|\byours (?:sincerely|faithfully)\b"),
        ("invoice", r"^invoice\b|\b(?:amount due|payable within|invoice date)\b"),
        ("contract", r"\b(?:hereinafter|the parties|this agreement|governing law)\b"),
        ("instructions", r"^step \d|\bhow to\b|\bfirst,? (?:switch|open|remove)\b"),
        (
            "report",
            r"\b(?:annual|quarterly|monthly|survey|status|progress|final) report\b|\breport (?:on|of|to)\b|"
            r"^[^\w\n]{0,20}(?:\w{1,30} ){0,3}(?:report|review|study|survey|assessment|analysis)\b|"
            r"\b(?:findings|methodology|executive summary|we measured)\b",
        ),
    )
}


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, each verbatim but for white space, without headings and repeats.

    A text without sentences (a table, a list of words) gives its lines, cut to MAX_SENTENCE_CHARS.
    """
    lines = _lines_of(text)
    found = dict.fromkeys(
        sentence for block in _blocks(lines) for sentence in _split(block) if _is_sentence(sentence)
    )
    return list(found or dict.fromkeys(line[:MAX_SENTENCE_CHARS].rstrip() for line in lines if line))


def title_candidates(text: str) -> list[str]:
    """Lines that could name the document; never empty for a text that is not blank, at most MAX_TITLES.

    A heading at the top or a subject line is the only one: nothing else names the document as well.
    """
    lines = [line for line in _lines_of(text) if line]
    subject = next((match for line in lines if (match := _matched(_SUBJECT, line))), None)
    best = (_matched(_HEADING, lines[0]) if lines else None) or subject
    if best:
        return [_short(best[1])]
    headings = (match[1] for line in lines if (match := _matched(_HEADING, line)))
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
    text = "\n".join(_lines_of(text))
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


def _lines_of(text: str) -> list[str]:
    """The lines, stripped and with single blanks."""
    return [normalised(line) for line in text.splitlines()]


def _matched(pattern: re.Pattern[str], line: str) -> re.Match[str] | None:
    return pattern.match(line) if len(line) <= MAX_MARK_CHARS else None


def _blocks(lines: Sequence[str]) -> list[str]:
    """List items one by one, the lines of a paragraph joined; headings and page numbers left out."""
    blocks: list[list[str]] = [[]]
    for line, following in itertools.pairwise([*lines, ""]):
        if not line or _is_furniture(line, following):
            blocks.append([])
            continue
        item = _matched(_LIST_ITEM, line)
        if item:
            blocks.append([])
        blocks[-1].append(line[item.end() :] if item else line)
    return [" ".join(block) for block in blocks if block]


def _is_furniture(line: str, following: str) -> bool:
    """A heading, an underline, a subject line or a page number. A numbered line that runs on is a list item."""
    if _matched(_NUMBERED_HEADING, line):
        return not following[:1].islower()
    return any(_matched(pattern, line) for pattern in (_HEADING, _UNDERLINE, _SUBJECT, _PAGE_NUMBER))


def _is_duty(sentence: str) -> bool:
    match = _DUTY.search(sentence)
    return match is not None and not _NOBODY.match(match[0].lstrip(",;: "))


def _split(block: str) -> list[str]:
    parts: list[str] = []
    for piece in _SENTENCE_END.split(block):
        if parts and len(parts[-1]) <= MAX_SENTENCE_CHARS and _ABBREVIATION.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {piece}"
        else:
            parts.append(piece)
    return [part.strip() for part in parts]


def _is_sentence(text: str) -> bool:
    if not text or len(text) > MAX_SENTENCE_CHARS:
        return False
    return len(text.split()) >= MIN_SENTENCE_WORDS and text[-1] in '.!?:;"”)'


def _short(title: str) -> str:
    title = title.strip("*_`# ")
    if len(title) <= MAX_TITLE_CHARS:
        return title
    return title[: MAX_TITLE_CHARS - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
