"""The recovery code: a raw key in a form that can be written on paper and typed again."""

from __future__ import annotations

import base64
import hashlib

from agents.errors import KeyProblem

KEY_BYTES = 32  # AES-256, SQLCipher's raw key

_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")  # RFC 4648, section 6
_LOOK_ALIKES = str.maketrans(
    "018", "OIB"
)  # digits that the alphabet leaves out, and the letters that they look like
_CHECK_BYTES = 3  # 35 bytes are exactly 56 letters
_CODE_LETTERS = 56
_GROUP_LETTERS = 7


def encode_recovery_code(raw: bytes) -> str:
    """A raw key as letters and digits in groups, with a checksum that lets one typo in sixteen million pass."""
    text = base64.b32encode(raw + _check_of(raw)).decode()
    return "-".join(text[at : at + _GROUP_LETTERS] for at in range(0, len(text), _GROUP_LETTERS))


def decode_recovery_code(text: str, *, what: str = "The recovery code", remedy: str = "check it") -> bytes:
    """The raw key in a recovery code; blanks, hyphens and case don't matter. KeyProblem says what is wrong with `what`."""
    letters = "".join(text.split()).replace("-", "").upper().translate(_LOOK_ALIKES)
    if len(letters) != _CODE_LETTERS:
        raise KeyProblem(
            f"{what} has {len(letters)} letters and digits instead of the {_CODE_LETTERS} of a key; {remedy}."
        )
    for place, letter in enumerate(letters):
        if letter not in _ALPHABET:
            group = place // _GROUP_LETTERS + 1
            raise KeyProblem(f"{what} has a typo in group {group}: it holds only A to Z and 2 to 7.")
    both = base64.b32decode(letters)
    raw, check = both[:KEY_BYTES], both[KEY_BYTES:]
    if check != _check_of(raw):
        raise KeyProblem(f"{what} has a typo: its last letters don't fit the others; compare each group.")
    return raw


def _check_of(raw: bytes) -> bytes:
    return hashlib.sha256(b"hearth recovery code" + raw).digest()[:_CHECK_BYTES]
