"""The files of pinned prefixes: one sealed state each, which outlives the process that wrote it.

Runs in: engine child; the snapshot writer's thread writes, the engine thread reads and removes.

A file is: a clear header (format, salt, digest of the identity, sizes), the sealed tokens, the sealed chunks of the
state. The header and the file's own name are authenticated with every chunk, so a file that was cut, changed, renamed
or written under another key, another model or other settings does not open. What does not open is removed if its name
says that it is ours; a newer format, another identity and another key are left alone until their room is needed.
"""

from __future__ import annotations

import os
import secrets
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.errors import EngineError
from engine.model import CacheSpec
from engine.states.sealing import (
    CHUNK_BYTES,
    TAG_BYTES,
    Sealer,
    State,
    chunks,
    derive_key,
    keyed_digest,
    n_chunks,
)

SUFFIX = ".prefix"
_PART = ".part"
_MAGIC = b"HEARTHKV"
_FORMAT = 1
_SALT_BYTES = 32
_HEADER = struct.Struct(
    f">8sHxx{_SALT_BYTES}s32sIQ"
)  # magic, format, salt, identity, tokens, bytes of the state
_TOKEN_BYTES = 4
_MAX_TOKENS = 16_777_216


class _Unusable(Exception):
    """The file does not hold what it should."""


@dataclass(frozen=True, kw_only=True)
class PrefixFile:
    """A file whose head was found in order."""

    pin: str
    key: bytes  # the tokens, as token_key() writes them
    size_bytes: int  # of the state
    used_ns: int


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """Any file in the folder, opened by nobody."""

    path: Path
    size_bytes: int
    used_ns: int
    pin: str | None  # None: of another identity
    is_part: bool  # being written, or left by a writer that died


@dataclass(frozen=True, kw_only=True)
class _Head:
    header: bytes
    sealer: Sealer
    key: bytes
    size_bytes: int


class PrefixFiles:
    """A private folder (0700) of private files (0600). Raises OSError when the folder can't be had."""

    def __init__(self, folder: Path, *, secret: bytes, identity: str) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._file_secret = derive_key(secret, salt=None, purpose=b"hearth prefix file")
        self._name_secret = derive_key(secret, salt=None, purpose=b"hearth prefix name")
        self._identity = keyed_digest(self._name_secret, b"identity\0" + identity.encode())
        self._ending = f"-{self._identity[:8].hex()}{SUFFIX}"

    def pin_of(self, name: str) -> str:
        """Stands for a prefix's name in the names of files; says nothing without the key."""
        return keyed_digest(self._name_secret, b"name\0" + name.encode("utf-8", "surrogatepass"))[:16].hex()

    def known(self) -> list[PrefixFile]:
        """The files of this identity, most recently used last. Removes damaged ones, and what a dead writer left."""
        found: list[PrefixFile] = []
        for entry in self._entries():
            if entry.name.endswith(_PART):
                _sweep(Path(entry.path))
            elif entry.name.endswith(self._ending):
                known = self._look_at(Path(entry.path))
                if known is not None:
                    found.append(known)
        return sorted(found, key=lambda file: file.used_ns)

    def write(self, pin: str, key: bytes, data: State, *, given_up: Callable[[], bool]) -> Path | None:
        """Write a state under a passing name, down to the disk; place() gives it its own. None when it was given up.

        Raises OSError, and then leaves nothing behind.
        """
        part = self.folder / f".{pin}-{secrets.token_hex(4)}{_PART}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        done = False
        try:
            with os.fdopen(os.open(part, flags, 0o600), "wb", buffering=0) as file:
                _hold(file)
                done = self._write_all(file, self._path(pin).name, key, data, given_up)
        finally:
            if not done:
                part.unlink(missing_ok=True)
        return part if done else None

    def place(self, pin: str, part: Path) -> None:
        """Let a written state take the place of what was kept under its pin. Raises OSError."""
        try:
            part.replace(self._path(pin))
        except OSError:
            remove(part)
            raise

    def settle(self) -> None:
        """Make the latest names durable."""
        if os.name != "posix":
            return
        with suppress(OSError):
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def read(self, pin: str, key: bytes) -> bytearray | None:
        """The state that is kept under a pin for these tokens. A file that does not hold it is removed."""
        path = self._path(pin)
        try:
            with path.open("rb", buffering=0) as file:
                head = self._read_head(file, path.name)
                if head.key != key:
                    raise _Unusable
                return self._read_state(file, path.name, head)
        except _Unusable:
            remove(path)
        except OSError:
            pass  # the disk refuses it now; the next start looks again
        return None

    def touch(self, pin: str) -> None:
        """Count the file as used just now."""
        with suppress(OSError):
            os.utime(self._path(pin))

    def forget(self, pin: str) -> None:
        """Remove what is kept under a pin, whichever model it was computed with. Raises OSError."""
        for entry in self._entries():
            if entry.name.startswith(f"{pin}-") and entry.name.endswith(SUFFIX):
                Path(entry.path).unlink(missing_ok=True)

    def remove(self, pin: str) -> None:
        """Remove the file of this identity, if it can be removed."""
        remove(self._path(pin))

    def sizes(self) -> list[FoundFile]:
        """All that lies in the folder, also what other models and other keys left; the longest unused first."""
        found: list[FoundFile] = []
        for entry in self._entries():
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                mine = entry.name.endswith(self._ending)
                found.append(
                    FoundFile(
                        path=Path(entry.path),
                        size_bytes=status.st_size,
                        used_ns=status.st_mtime_ns,
                        pin=entry.name.removesuffix(self._ending) if mine else None,
                        is_part=entry.name.endswith(_PART),
                    )
                )
        return sorted(found, key=lambda file: file.used_ns)

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.folder) as entries:
                return [
                    entry
                    for entry in entries
                    if entry.name.endswith((SUFFIX, _PART)) and entry.is_file(follow_symlinks=False)
                ]
        except OSError:
            return []

    def _path(self, pin: str) -> Path:
        return self.folder / f"{pin}{self._ending}"

    def _look_at(self, path: Path) -> PrefixFile | None:
        try:
            with path.open("rb", buffering=0) as file:
                used_ns = os.fstat(file.fileno()).st_mtime_ns
                if _is_newer(file):
                    return None
                head = self._read_head(file, path.name)
        except _Unusable:
            remove(path)
            return None
        except OSError:
            return None
        pin = path.name.removesuffix(self._ending)
        return PrefixFile(pin=pin, key=head.key, size_bytes=head.size_bytes, used_ns=used_ns)

    def _sealer(self, salt: bytes) -> Sealer:
        return Sealer(derive_key(self._file_secret, salt=salt, purpose=b"hearth prefix state"))

    def _write_all(
        self, file: IO[bytes], name: str, key: bytes, data: State, given_up: Callable[[], bool]
    ) -> bool:
        salt = os.urandom(_SALT_BYTES)
        header = _HEADER.pack(_MAGIC, _FORMAT, salt, self._identity, len(key) // _TOKEN_BYTES, len(data))
        bound = header + name.encode()
        sealer = self._sealer(salt)
        tokens = bytearray(len(key) + TAG_BYTES)
        sealer.seal(0, key, bound_to=bound, into=memoryview(tokens))
        _write(file, memoryview(header + tokens))
        sealed, view = bytearray(CHUNK_BYTES), memoryview(data)
        for number, part in enumerate(chunks(len(data)), start=1):
            if given_up():
                return False
            chunk = memoryview(sealed)[: part.stop - part.start + TAG_BYTES]
            sealer.seal(number, view[part], bound_to=bound, into=chunk)
            _write(file, chunk)
        os.fsync(file.fileno())
        return not given_up()

    def _read_head(self, file: IO[bytes], name: str) -> _Head:
        header = bytes(_read(file, _HEADER.size))
        magic, version, salt, identity, n_tokens, size_bytes = _HEADER.unpack(header)
        if (magic, version, identity) != (_MAGIC, _FORMAT, self._identity) or n_tokens > _MAX_TOKENS:
            raise _Unusable
        # exactly as long as it says, before anything is allocated for it
        if os.fstat(file.fileno()).st_size != _file_bytes(n_tokens * _TOKEN_BYTES, size_bytes):
            raise _Unusable
        sealer, key = self._sealer(salt), bytearray(n_tokens * _TOKEN_BYTES)
        sealed = _read(file, len(key) + TAG_BYTES)
        if not key or not sealer.unseal(0, sealed, bound_to=header + name.encode(), into=memoryview(key)):
            raise _Unusable
        return _Head(header=header, sealer=sealer, key=bytes(key), size_bytes=size_bytes)

    def _read_state(self, file: IO[bytes], name: str, head: _Head) -> bytearray:
        bound = head.header + name.encode()
        data, sealed = bytearray(head.size_bytes), bytearray(CHUNK_BYTES)
        view = memoryview(data)
        for number, part in enumerate(chunks(head.size_bytes), start=1):
            chunk = memoryview(sealed)[: part.stop - part.start + TAG_BYTES]
            _read_into(file, chunk)
            if not head.sealer.unseal(number, chunk, bound_to=bound, into=view[part]):
                raise _Unusable
        return data


def forget_on_disk(cache: CacheSpec, name: str) -> None:
    """Remove what lies on disk under a prefix's name, with no engine at hand. Raises EngineError."""
    if cache.folder is None or cache.key is None or not cache.folder.is_dir():
        return
    try:
        files = PrefixFiles(cache.folder, secret=bytes.fromhex(cache.key), identity="")
        files.forget(files.pin_of(name))
    except OSError as error:
        raise EngineError(
            f"What was computed for a prompt can't be removed ({error.strerror}); check the folder {cache.folder}."
        ) from None


def file_bytes(key: bytes, data: State) -> int:
    """The size of the file of a state."""
    return _file_bytes(len(key), len(data))


def _file_bytes(key_bytes: int, size_bytes: int) -> int:
    return _HEADER.size + key_bytes + TAG_BYTES + size_bytes + n_chunks(size_bytes) * TAG_BYTES


def remove(path: Path) -> bool:
    """Remove a file that is of no use. False when that is refused: then it stays, and is never loaded."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _write(file: IO[bytes], data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _read(file: IO[bytes], n_bytes: int) -> bytearray:
    data = bytearray(n_bytes)
    _read_into(file, memoryview(data))
    return data


def _read_into(file: IO[bytes], into: memoryview) -> None:
    while into:
        n_bytes = file.readinto(into)  # type: ignore[attr-defined]
        if not n_bytes:
            raise _Unusable
        into = into[n_bytes:]


def _is_newer(file: IO[bytes]) -> bool:
    start = file.read(10)
    file.seek(0)
    return len(start) == 10 and start[:8] == _MAGIC and int.from_bytes(start[8:], "big") > _FORMAT


def _hold(file: IO[bytes]) -> None:
    """Lock a file that is being written, so that another process can tell it from one that a dead writer left."""
    if sys.platform != "win32":  # there an open file can't be removed anyway
        import fcntl

        with suppress(
            OSError
        ):  # a file system without locks: at worst this one is swept and counts as not written
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(part: Path) -> None:
    if sys.platform == "win32":
        remove(part)
        return
    import fcntl

    with suppress(OSError), part.open("rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
        remove(part)
