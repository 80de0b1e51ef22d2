"""Reads one document: its bytes once, from inside its folder, within limits, and as text.

Runs in: a worker thread of the runtime; PDFs are parsed in a child process.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from agents.documents.decoding import NotText, decode, looks_like_pdf
from agents.documents.opening import LIMIT_BYTES, FileUnreadable, open_inside
from agents.documents.pdf import TIMEOUT_S, extract_pdf
from agents.errors import DocumentProblem
from agents.printable import printable_name

LIMIT_CHARS = 1_000_000
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"  # marks that make no text on their own


class DocumentKind(StrEnum):
    """What a document is, by its bytes where they tell, else by its name."""

    TEXT = "text"
    MARKDOWN = "markdown"
    PDF = "pdf"


_KINDS = {
    ".txt": DocumentKind.TEXT,
    ".text": DocumentKind.TEXT,
    ".md": DocumentKind.MARKDOWN,
    ".markdown": DocumentKind.MARKDOWN,
    ".pdf": DocumentKind.PDF,
}


@dataclass(frozen=True, kw_only=True)
class DocumentText:
    """A document as text. `content_hash` is the sha256, in hex, of the very bytes that the text was made from."""

    text: str = field(repr=False)
    kind: DocumentKind
    pages: int | None  # of a PDF
    words: int
    content_hash: str


def read_document(
    path: Path,
    *,
    root: Path,
    limit_bytes: int = LIMIT_BYTES,
    limit_chars: int = LIMIT_CHARS,
    timeout_s: float = TIMEOUT_S,
    cancelled: threading.Event | None = None,
) -> DocumentText:
    """The text of a .txt, .md, .markdown or .pdf file inside `root`; raises DocumentProblem with one sentence.

    Blocks: call it in a thread. Setting `cancelled` makes the long part, a PDF, end at once.
    """
    name = printable_name(path)
    kind = _KINDS.get(path.suffix.lower(), DocumentKind.TEXT)
    data = _read_bytes(path, root, limit_bytes)
    if not data:
        raise DocumentProblem(f"{name} is empty; nothing can be said about it.")
    pages: int | None = None
    if looks_like_pdf(data):
        kind = DocumentKind.PDF
        pdf = extract_pdf(data, name=name, limit_chars=limit_chars, timeout_s=timeout_s, cancelled=cancelled)
        text, pages = pdf.text, pdf.pages
    elif kind is DocumentKind.PDF:
        raise DocumentProblem(f"{name} is not a PDF although it is named like one; check where it came from.")
    else:
        text = _decode(data, name)
    _check_text(text, name, kind, limit_chars)
    return DocumentText(
        text=text,
        kind=kind,
        pages=pages,
        words=len(text.split()),
        content_hash=hashlib.sha256(data).hexdigest(),
    )


def _read_bytes(path: Path, root: Path, limit_bytes: int) -> bytes:
    with open_inside(path, root=root) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes <= limit_bytes:
            try:
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(limit_bytes + 1)
            except OSError as error:
                raise FileUnreadable(
                    f"{printable_name(path)} can't be read ({error.strerror}); check the disk it is on."
                ) from error
            if len(data) <= limit_bytes:
                return data
            size_bytes = len(data)  # it has grown meanwhile
    raise DocumentProblem(
        f"{printable_name(path)} is too large ({_megabytes(size_bytes)}; at most {_megabytes(limit_bytes)}); split it into smaller files."
    )


def _decode(data: bytes, name: str) -> str:
    try:
        return decode(data)
    except NotText as problem:
        raise DocumentProblem(f"{name} {problem}; save it as UTF-8 text or as a PDF.") from problem


def _check_text(text: str, name: str, kind: DocumentKind, limit_chars: int) -> None:
    if len(text) > limit_chars:
        raise DocumentProblem(
            f"{name} holds more than {limit_chars:,} characters of text; split it into smaller files."
        )
    if text.strip().strip(_INVISIBLE).strip():
        return
    if kind is DocumentKind.PDF:
        raise DocumentProblem(
            f"{name} has no text layer, it may be a scan; run text recognition (OCR) over it first."
        )
    raise DocumentProblem(f"{name} holds only blanks; nothing can be said about it.")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / (1024 * 1024):,.0f} MB" if size_bytes >= 1024 * 1024 else f"{size_bytes:,} bytes"
