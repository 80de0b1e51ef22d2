"""Bytes become text: UTF-8, UTF-16 with its mark, or an older Western encoding; anything that is not text is recognised."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

PDF_MAGIC = b"%PDF-"
PDF_MAGIC_WITHIN_BYTES = 1024  # readers accept some bytes before it (ISO 32000-1, annex H.3.4.1)

# First bytes of common files that end up under a text file's name.
_SIGNATURES: Sequence[tuple[bytes, str]] = (
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "a database"),
)
_BYTE_ORDER_MARKS: Sequence[tuple[bytes, str]] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(
    r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]"
)  # without \b \t \n \v \f \r and ESC, which texts do hold
_HIGH = re.compile(r"[\x80-\U0010ffff]")
_MAX_CONTROL_SHARE = 0.01
_MAX_HIGH_SHARE = 0.4  # Western languages stay well below; other alphabets in an 8-bit encoding are above


class NotText(ValueError):
    """The bytes are no text; str() completes the sentence "The file …"."""


def looks_like_pdf(data: bytes) -> bool:
    return PDF_MAGIC in data[:PDF_MAGIC_WITHIN_BYTES]


def decode(data: bytes) -> str:
    """The text of `data` with line ends as \\n. Raises NotText rather than give mojibake."""
    for signature, what in _SIGNATURES:
        if data.startswith(signature):
            raise NotText(f"is {what}, not text")
    text = _decode_marked(data)
    if text is None:
        text = _decode_unmarked(data)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_marked(data: bytes) -> str | None:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                raise NotText("begins like Unicode text but is damaged") from None
            _refuse_binary(text)
            return text
    return None


def _decode_unmarked(data: bytes) -> str:
    if b"\x00" in data:
        raise NotText("is binary, not text")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:  # five of its bytes mean nothing
            text = data.decode("latin-1")
        if len(_HIGH.findall(text)) > _MAX_HIGH_SHARE * len(re.sub(r"\s", "", text)):
            raise NotText("is binary or in an unknown encoding") from None
    _refuse_binary(text)
    return text


def _refuse_binary(text: str) -> None:
    if len(_CONTROLS.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        raise NotText("is binary, not text")
