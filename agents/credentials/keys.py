"""How a database's key is kept, and the key itself; no value here ever shows its secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from agents.credentials.recovery_code import encode_recovery_code


class KeyKind(StrEnum):
    """How a database's key is kept."""

    KEYRING = "keyring"
    PASSPHRASE = "passphrase"  # noqa: S105  # typed at each start; SQLCipher derives the key from it
    KEY_FILE = "keyfile"
    NONE = "none"  # not encrypted, because somebody asked for that


@dataclass(frozen=True, kw_only=True)
class KeyOptions:
    """What the command line said about the key; at most one of the three."""

    key_file: Path | None = None
    passphrase: str | None = field(default=None, repr=False)
    insecure: bool = False


@dataclass(frozen=True, kw_only=True)
class ResolvedKey:
    """What opens the database: a raw key, a passphrase or nothing."""

    kind: KeyKind
    raw: bytes | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    key_file: Path | None = None
    created: bool = False  # there is no database yet that it opens

    @property
    def encrypts(self) -> bool:
        return self.kind is not KeyKind.NONE

    @property
    def in_keyring(self) -> bool:
        return self.kind is KeyKind.KEYRING


def recovery_code_of(key: ResolvedKey) -> str | None:
    """The code that opens the database when the keyring is lost; None when there is no raw key to write down."""
    return None if key.raw is None else encode_recovery_code(key.raw)
