"""Finds the key of a home's database: an option first, then what the home remembers, then the keyring."""

from __future__ import annotations

import secrets
import unicodedata
import uuid
from collections.abc import Callable

from agents.credentials.key_file import key_from_file
from agents.credentials.key_memory import KeyMemory
from agents.credentials.keys import KeyKind, KeyOptions, ResolvedKey
from agents.credentials.recovery_code import KEY_BYTES, decode_recovery_code, encode_recovery_code
from agents.credentials.vault import KEYRING_TIMEOUT_S, Keyring, Vault, find_os_vault
from agents.errors import Damaged, KeyProblem
from agents.paths import HomePaths
from agents.printable import printable

CHOICES = (
    "choose --key-file FILE, a passphrase (--passphrase or --passphrase-stdin), or --insecure-no-encryption"
)
USE_RECOVERY_CODE = "put the recovery code into a file and start with --key-file FILE"


def resolve_key(
    paths: HomePaths,
    options: KeyOptions,
    *,
    find_vault: Callable[[], Vault | None] | None = None,
    keyring_timeout_s: float = KEYRING_TIMEOUT_S,
) -> ResolvedKey:
    """The key of a home's database; a new home gets one. It blocks: call it off the event loop, holding the home's lock.

    An option comes before what the home remembers. Raises KeyProblem with the choices, Damaged when the database of a home that
    had one is gone, or DiskFull.
    """
    is_new = not paths.has_database()
    keyring = Keyring(
        find_vault or find_os_vault,
        timeout_s=keyring_timeout_s,
        remedy=CHOICES if is_new else USE_RECOVERY_CODE,
    )
    memory = KeyMemory.load(paths.key_info, may_be_missing=is_new or _has_option(options))
    if is_new and memory is not None and memory.used:
        raise Damaged(
            f"The database {printable(paths.database)} is missing and so are its backups; put it back, or move "
            f"{printable(paths.key_info)} away to begin anew."
        )
    chosen = _from_options(options, is_new=is_new)
    if chosen is None and memory is None:
        chosen, memory = _new_keyring_key(keyring)
        memory.save(paths.key_info)
        return chosen
    if chosen is None:
        assert memory is not None
        return _from_memory(memory, keyring, is_new=is_new)
    if is_new:
        KeyMemory.of(chosen, memory, used=False).save(paths.key_info)
    return chosen


def remember_key(paths: HomePaths, key: ResolvedKey) -> None:
    """Makes later starts use the key that has just opened the database, and know that there is a database."""
    memory = KeyMemory.load(paths.key_info, may_be_missing=True)
    now = KeyMemory.of(key, memory, used=True)
    if now != memory:
        now.save(paths.key_info)


def _has_option(options: KeyOptions) -> bool:
    return options.key_file is not None or options.passphrase is not None or options.insecure


def _from_options(options: KeyOptions, *, is_new: bool) -> ResolvedKey | None:
    given = (options.key_file is not None) + (options.passphrase is not None) + options.insecure
    if given > 1:
        raise KeyProblem(
            "Only one of --key-file, a passphrase and --insecure-no-encryption can be given; choose one."
        )
    if options.key_file is not None:
        return key_from_file(options.key_file.expanduser().absolute(), is_new=is_new)
    if options.passphrase is not None:
        return _from_passphrase(options.passphrase, is_new=is_new)
    if options.insecure:
        return ResolvedKey(kind=KeyKind.NONE, created=is_new)
    return None


def _from_passphrase(passphrase: str, *, is_new: bool) -> ResolvedKey:
    if not passphrase.strip():
        raise KeyProblem("The passphrase is empty; type at least one character.")
    try:
        passphrase.encode("utf-8")
    except UnicodeEncodeError:
        raise KeyProblem("The passphrase holds characters that can't be read; type it again.") from None
    # Keyboards differ in how they compose an accented letter; the passphrase is the same.
    normal = unicodedata.normalize("NFC", passphrase)
    return ResolvedKey(kind=KeyKind.PASSPHRASE, passphrase=normal, created=is_new)


def _from_memory(memory: KeyMemory, keyring: Keyring, *, is_new: bool) -> ResolvedKey:
    if memory.kind is KeyKind.NONE:
        return ResolvedKey(kind=KeyKind.NONE, created=is_new)
    if memory.kind is KeyKind.PASSPHRASE:
        raise KeyProblem("This home needs its passphrase; start with --passphrase or --passphrase-stdin.")
    if memory.kind is KeyKind.KEY_FILE:
        assert memory.key_file is not None
        return key_from_file(memory.key_file, is_new=is_new)
    secret = keyring.get(memory.account)
    if secret is None:
        if is_new:
            return _put_new_key(keyring, memory.account)
        raise KeyProblem(f"The keyring no longer holds this home's key; {USE_RECOVERY_CODE}.")
    try:
        raw = decode_recovery_code(secret)
    except KeyProblem:
        raise KeyProblem(f"The keyring's entry for this home is damaged; {USE_RECOVERY_CODE}.") from None
    return ResolvedKey(kind=KeyKind.KEYRING, raw=raw, created=is_new)


def _new_keyring_key(keyring: Keyring) -> tuple[ResolvedKey, KeyMemory]:
    memory = KeyMemory(kind=KeyKind.KEYRING, account=uuid.uuid4().hex)
    return _put_new_key(keyring, memory.account), memory


def _put_new_key(keyring: Keyring, account: str) -> ResolvedKey:
    raw = secrets.token_bytes(KEY_BYTES)
    code = encode_recovery_code(raw)
    keyring.put(account, code)
    if keyring.get(account) != code:
        raise KeyProblem(f"The keyring did not keep the key; {CHOICES}.")
    return ResolvedKey(kind=KeyKind.KEYRING, raw=raw, created=True)
