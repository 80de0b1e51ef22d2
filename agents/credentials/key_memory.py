"""key.json: what a home remembers about its key, which is never the key itself."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from agents.credentials.key_file import write_private
from agents.credentials.keys import KeyKind, ResolvedKey
from agents.errors import KeyProblem

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class KeyMemory:
    """How the key is kept, and under which account the keyring knows this home."""

    kind: KeyKind
    account: str
    key_file: Path | None = None
    used: bool = False  # a database was opened with it, so one that is missing was lost

    @classmethod
    def of(cls, key: ResolvedKey, before: KeyMemory | None, *, used: bool) -> KeyMemory:
        account = before.account if before is not None else uuid.uuid4().hex
        return cls(kind=key.kind, account=account, key_file=key.key_file, used=used)

    @classmethod
    def load(cls, path: Path, *, may_be_missing: bool) -> KeyMemory | None:
        """None when there is none, or none that can be read, and that is no trouble."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if plain["version"] != _VERSION:
                raise ValueError("written by a newer Hearth")
            key_file = plain["key_file"]
            return cls(
                kind=KeyKind(plain["kind"]),
                account=str(plain["account"]),
                key_file=None if key_file is None else Path(key_file),
                used=plain.get("used") is True,
            )
        except (OSError, ValueError, KeyError, TypeError):
            if may_be_missing:
                return None
            raise KeyProblem(
                f"{path} is missing or can't be read, so nothing says how this home's key is kept; start with "
                "--key-file FILE (it may hold the recovery code), --passphrase or --insecure-no-encryption."
            ) from None

    def save(self, path: Path) -> None:
        plain = {
            "version": _VERSION,
            "kind": self.kind,
            "account": self.account,
            "key_file": None if self.key_file is None else str(self.key_file),
            "used": self.used,
        }
        write_private(path, json.dumps(plain, indent=2) + "\n")
