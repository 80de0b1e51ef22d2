"""Seals states in chunks with AES-256-GCM, so that a gigabyte needs no second copy in memory.

The binding texts are authenticated with every chunk: a chunk opens only in its own place of its own state.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK_BYTES = 1024 * 1024  # of sealed bytes, the tag included
TAG_BYTES = 16
KEY_BYTES = 32
PLAIN_BYTES = CHUNK_BYTES - TAG_BYTES
_NONCE_BYTES = 12

State = bytes | bytearray | memoryview


class Sealer:
    """One key and its chunks. A number must never seal two chunks under one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, number: int, plain: State, *, bound_to: bytes, into: memoryview) -> None:
        """Encrypt a chunk; `into` is TAG_BYTES longer than it."""
        self._cipher.encrypt_into(_nonce(number), plain, bound_to, into)

    def unseal(self, number: int, sealed: State, *, bound_to: bytes, into: memoryview) -> bool:
        """Decrypt a chunk; False when it is not the one that was sealed. `into` is TAG_BYTES shorter than it."""
        try:
            self._cipher.decrypt_into(_nonce(number), sealed, bound_to, into)
        except InvalidTag:
            return False
        return True


def derive_key(secret: bytes, *, salt: bytes | None, purpose: bytes) -> bytes:
    """A key for one purpose; the others can't be told from it."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=purpose).derive(secret)


def keyed_digest(key: bytes, text: bytes) -> bytes:
    """Names a text without telling it to anyone who lacks the key."""
    digest = HMAC(key, hashes.SHA256())
    digest.update(text)
    return digest.finalize()


def chunks(size_bytes: int) -> Iterator[slice]:
    """The places of the chunks of a state, in order."""
    for start in range(0, size_bytes, PLAIN_BYTES):
        yield slice(start, min(start + PLAIN_BYTES, size_bytes))


def n_chunks(size_bytes: int) -> int:
    """How many chunks a state of this size has."""
    return -(-size_bytes // PLAIN_BYTES)


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")
