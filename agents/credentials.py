"""Where the database's key is kept, and the only importer of keyring.

A home remembers in key.json how its key is kept, never the key. An option of the command line comes before that. A new home with
no option uses the keyring of the operating system; with no keyring somebody must choose: there is no silent fallback.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import os
import secrets
import stat
import threading
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agents.errors import DiskFull, KeyProblem
from agents.paths import HomePaths

KEYRING_SERVICE = "hearth"
KEYRING_TIMEOUT_S = 30.0  # a locked keyring asks the user, who may not be there
KEY_BYTES = 32  # AES-256, SQLCipher's raw key

CHOICES = (
    "choose --key-file FILE, a passphrase (--passphrase or --passphrase-stdin), or --insecure-no-encryption"
)

# Backends that keep secrets encrypted under the user's login. Others that happen to be installed write plain text, or nothing.
ALLOWED_BACKENDS = frozenset(
    {
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.kwallet.DBusKeyring",
        "keyring.backends.kwallet.DBusKeyringKWallet4",
        "keyring.backends.libsecret.Keyring",
        "keyring.backends.macOS.Keyring",
        "keyring.backends.Windows.WinVaultKeyring",
    }
)

_CHECK_BYTES = 3  # 35 bytes are exactly 56 letters of base32
_CODE_LETTERS = 56
_GROUP_LETTERS = 7
_PRIVATE = 0o600

T = TypeVar("T")


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


class Vault(Protocol):
    """A place that keeps one secret text for each account."""

    def get(self, account: str) -> str | None: ...

    def put(self, account: str, secret: str) -> None: ...


# --- recovery code ---


def encode_recovery_code(raw: bytes) -> str:
    """A raw key as letters and digits in groups, with a checksum that finds a typo (but for one in sixteen million)."""
    text = base64.b32encode(raw + _check_of(raw)).decode()
    return "-".join(text[at : at + _GROUP_LETTERS] for at in range(0, len(text), _GROUP_LETTERS))


def decode_recovery_code(text: str) -> bytes:
    """The raw key in a recovery code; blanks, hyphens and case don't matter. KeyProblem says what is wrong with it."""
    letters = "".join(text.split()).replace("-", "").upper()
    for place, letter in enumerate(letters):
        if letter not in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567":
            group = place // _GROUP_LETTERS + 1
            raise KeyProblem(
                f"The recovery code has a typo in group {group}: it holds only A to Z and 2 to 7."
            )
    if len(letters) != _CODE_LETTERS:
        raise KeyProblem(
            f"The recovery code has {len(letters)} letters and digits instead of {_CODE_LETTERS}; check it."
        )
    try:
        both = base64.b32decode(letters)
    except binascii.Error as error:  # the alphabet and the length are right, so this can't happen
        raise KeyProblem("The recovery code can't be read; check it.") from error
    raw, check = both[:KEY_BYTES], both[KEY_BYTES:]
    if check != _check_of(raw):
        raise KeyProblem(
            "The recovery code has a typo: its last letters don't fit the others; compare each group."
        )
    return raw


def recovery_code_of(key: ResolvedKey) -> str | None:
    """The code that opens the database when the keyring is lost; None when there is no raw key to write down."""
    return None if key.raw is None else encode_recovery_code(key.raw)


def _check_of(raw: bytes) -> bytes:
    return hashlib.sha256(b"hearth recovery code" + raw).digest()[:_CHECK_BYTES]


# --- resolving ---


def resolve_key(
    paths: HomePaths,
    options: KeyOptions,
    *,
    find_vault: Callable[[], Vault | None] | None = None,
    keyring_timeout_s: float = KEYRING_TIMEOUT_S,
) -> ResolvedKey:
    """The key of a home's database; a new home gets one. It blocks: call it off the event loop, holding the home's lock.

    An option comes before what the home remembers. Raises KeyProblem with the choices, or DiskFull.
    """
    keyring = _Keyring(find_vault or find_os_vault, keyring_timeout_s)
    is_new = not paths.database.exists()
    memory = _Memory.load(paths.key_info, may_be_missing=is_new or _has_option(options))
    chosen = _from_options(options, is_new=is_new)
    if chosen is None and memory is None:
        chosen, memory = _new_keyring_key(keyring)
        memory.save(paths.key_info)
        return chosen
    if chosen is None:
        assert memory is not None
        return _from_memory(memory, keyring, is_new=is_new)
    if is_new:
        _Memory.of(chosen, memory).save(paths.key_info)
    return chosen


def remember_key(paths: HomePaths, key: ResolvedKey) -> None:
    """Makes later starts use the key that has just opened the database, where that is another way than remembered."""
    memory = _Memory.load(paths.key_info, may_be_missing=True)
    now = _Memory.of(key, memory)
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
        return _from_key_file(options.key_file.expanduser().absolute(), is_new=is_new)
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


def _from_memory(memory: _Memory, keyring: _Keyring, *, is_new: bool) -> ResolvedKey:
    if memory.kind is KeyKind.NONE:
        return ResolvedKey(kind=KeyKind.NONE, created=is_new)
    if memory.kind is KeyKind.PASSPHRASE:
        raise KeyProblem("This home needs its passphrase; start with --passphrase or --passphrase-stdin.")
    if memory.kind is KeyKind.KEY_FILE:
        assert memory.key_file is not None
        return _from_key_file(memory.key_file, is_new=is_new)
    secret = keyring.get(memory.account)
    if secret is None:
        if is_new:
            return _put_new_key(keyring, memory.account)
        raise KeyProblem(
            "The keyring no longer holds this home's key; put the recovery code into a file and start with --key-file FILE."
        )
    try:
        raw = decode_recovery_code(secret)
    except KeyProblem:
        raise KeyProblem(
            "The keyring's entry for this home is damaged; put the recovery code into a file and start with --key-file FILE."
        ) from None
    return ResolvedKey(kind=KeyKind.KEYRING, raw=raw, created=is_new)


# --- keyring ---


def _new_keyring_key(keyring: _Keyring) -> tuple[ResolvedKey, _Memory]:
    memory = _Memory(kind=KeyKind.KEYRING, account=uuid.uuid4().hex)
    return _put_new_key(keyring, memory.account), memory


def _put_new_key(keyring: _Keyring, account: str) -> ResolvedKey:
    raw = secrets.token_bytes(KEY_BYTES)
    code = encode_recovery_code(raw)
    keyring.put(account, code)
    if keyring.get(account) != code:
        raise KeyProblem(f"The keyring did not keep the key; {CHOICES}.")
    return ResolvedKey(kind=KeyKind.KEYRING, raw=raw, created=True)


def find_os_vault() -> Vault | None:
    """The operating system's keyring, when it is one of ALLOWED_BACKENDS; None otherwise."""
    from keyring import backend, core

    named = core.load_env() or core.load_config()
    # Naming another backend by hand, `null` for example, says that the keyring shall not be used.
    candidates = [named] if named is not None else list(backend.get_all_keyring())
    allowed = [candidate for candidate in candidates if _backend_name(candidate) in ALLOWED_BACKENDS]
    return _OsVault(max(allowed, key=lambda found: found.priority)) if allowed else None


def _backend_name(candidate: object) -> str:
    return f"{type(candidate).__module__}.{type(candidate).__qualname__}"


class _OsVault:
    """One allowed backend of the keyring library."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def get(self, account: str) -> str | None:
        found: str | None = self._backend.get_password(KEYRING_SERVICE, account)
        return found

    def put(self, account: str, secret: str) -> None:
        self._backend.set_password(KEYRING_SERVICE, account, secret)


class _Keyring:
    """A vault that may block, fail or be missing: each of these becomes one sentence."""

    def __init__(self, find_vault: Callable[[], Vault | None], timeout_s: float) -> None:
        self._find_vault = find_vault
        self._timeout_s = timeout_s

    def get(self, account: str) -> str | None:
        return self._ask(lambda vault: vault.get(account))

    def put(self, account: str, secret: str) -> None:
        self._ask(lambda vault: vault.put(account, secret))

    def _ask(self, question: Callable[[Vault], T]) -> T:
        """Asks on a thread of its own. One that hangs is left behind: it is a daemon, and ends with the process."""
        answers: list[T] = []
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                vault = self._find_vault()
                if vault is None:
                    raise KeyProblem(f"There is no keyring to keep this home's key in; {CHOICES}.")
                answers.append(question(vault))
            except BaseException as error:  # noqa: BLE001  # carried to the caller's thread
                failures.append(error)

        thread = threading.Thread(target=ask, name="hearth-keyring", daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if failures:
            raise _keyring_problem(failures[0]) from None
        if not answers:
            raise KeyProblem(
                f"The keyring did not answer in {self._timeout_s:g} s; unlock it and start again, or {CHOICES}."
            )
        return answers[0]


def _keyring_problem(error: BaseException) -> BaseException:
    from keyring.errors import KeyringError, KeyringLocked

    if isinstance(error, KeyringLocked):
        return KeyProblem(f"The keyring is locked; unlock it and start again, or {CHOICES}.")
    if isinstance(error, KeyringError | OSError | RuntimeError):
        # Its text may name the entry; the kind of error is enough to act on.
        return KeyProblem(f"The keyring failed ({type(error).__name__}); repair it, or {CHOICES}.")
    return error


# --- key file ---


def _from_key_file(path: Path, *, is_new: bool) -> ResolvedKey:
    try:
        raw = decode_recovery_code(_read_private(path))
    except FileNotFoundError:
        if not is_new:
            raise KeyProblem(
                f"There is no key file {path}; name the one that holds this home's key with --key-file."
            ) from None
        raw = secrets.token_bytes(KEY_BYTES)
        _create_private(path, encode_recovery_code(raw) + "\n")
    except OSError as error:
        raise KeyProblem(
            f"The key file {path} can't be read: {error.strerror}; check it or name another."
        ) from error
    except KeyProblem as error:
        raise KeyProblem(f"The key file {path} is no use: {str(error)[0].lower()}{str(error)[1:]}") from None
    return ResolvedKey(kind=KeyKind.KEY_FILE, raw=raw, key_file=path, created=is_new)


def _read_private(path: Path) -> str:
    """The text of a small file that nobody else can read."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise KeyProblem("It is not a file.")
        if os.name == "posix" and info.st_mode & 0o077:
            raise KeyProblem(f"Others can read it; run `chmod 600 {path}`.")
        return file.read(4096).decode("ascii", "replace")


def _create_private(path: Path, text: str) -> None:
    """A new file of mode 0600, on the disk when this returns."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            path.unlink(missing_ok=True)
            raise DiskFull(
                f"There is no space left on the disk of {path.parent}; free some and try again."
            ) from error
        raise KeyProblem(f"The file {path} can't be made: {error.strerror}; name another one.") from error


# --- key.json ---


@dataclass(frozen=True, kw_only=True)
class _Memory:
    """key.json: how the key is kept, and under which name the keyring knows this home."""

    kind: KeyKind
    account: str
    key_file: Path | None = None

    @classmethod
    def of(cls, key: ResolvedKey, before: _Memory | None) -> _Memory:
        account = before.account if before is not None else uuid.uuid4().hex
        return cls(kind=key.kind, account=account, key_file=key.key_file)

    @classmethod
    def load(cls, path: Path, *, may_be_missing: bool) -> _Memory | None:
        """None when there is none, or none that can be read, and that is no trouble."""
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            key_file = plain.get("key_file")
            return cls(
                kind=KeyKind(plain["kind"]),
                account=str(plain["account"]),
                key_file=None if key_file is None else Path(key_file),
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            if may_be_missing:
                return None
            raise KeyProblem(
                f"{path} is missing or can't be read, so nothing says how this home's key is kept; start with "
                "--key-file FILE (it may hold the recovery code), --passphrase or --insecure-no-encryption."
            ) from None

    def save(self, path: Path) -> None:
        """Atomic: the old file or the new one, whenever the power goes."""
        plain = {
            "version": 1,
            "kind": self.kind,
            "account": self.account,
            "key_file": None if self.key_file is None else str(self.key_file),
        }
        partial = path.with_name(path.name + ".part")
        partial.unlink(missing_ok=True)
        _create_private(partial, json.dumps(plain, indent=2) + "\n")
        partial.replace(path)
