"""Where the database's key is kept, and the only importer of keyring.

A home remembers in key.json how its key is kept, never the key. An option of the command line comes before that. A new home with
no option uses the keyring of the operating system; with no keyring somebody must choose: there is no silent fallback.
"""

from agents.credentials.keys import KeyKind, KeyOptions, ResolvedKey, recovery_code_of
from agents.credentials.recovery_code import decode_recovery_code, encode_recovery_code
from agents.credentials.resolving import remember_key, resolve_key
from agents.credentials.vault import Vault

__all__ = [
    "KeyKind",
    "KeyOptions",
    "ResolvedKey",
    "Vault",
    "decode_recovery_code",
    "encode_recovery_code",
    "recovery_code_of",
    "remember_key",
    "resolve_key",
]
