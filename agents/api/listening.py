"""The TCP door for other programs: which address may be listened on, its socket, and the key that opens it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.errors import ListenProblem, UsageProblem
from agents.printable import printable

MIN_KEY_CHARS = 16
MAX_KEY_BYTES = 4096
LOOPBACK_NAME = "localhost"
_OTHERS = 0o077


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """What `hearth serve` was asked for. Without a key file, the home keeps the key."""

    address: str
    key_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Address:
    """A loopback address and a port; port 0 takes a free one."""

    host: str
    port: int

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """The only values of the Host header that a program on this computer would send."""
        names = ("127.0.0.1", LOOPBACK_NAME, "[::1]")
        return frozenset(names) | {f"{name}:{self.port}" for name in names}


def parse_address(text: str) -> Address:
    """HOST:PORT as typed. Raises UsageProblem, also for an address that other computers could reach."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise UsageProblem(f"{text!r} is no address to listen on; write it as 127.0.0.1:PORT.")
    if host == LOOPBACK_NAME:
        return Address(host="127.0.0.1", port=int(port))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UsageProblem(f"{text!r} is no address to listen on; write it as 127.0.0.1:PORT.") from None
    if str(address) not in ("127.0.0.1", "::1"):
        raise UsageProblem(
            f"Hearth listens for programs on this computer alone, and {host} is not such an address; use "
            "127.0.0.1:PORT, and an SSH tunnel for another computer."
        )
    return Address(host=str(address), port=int(port))


def bind_tcp(address: Address) -> tuple[socket.socket, Address]:
    """A listening socket and where it really listens. Raises ListenProblem when the port can't be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it each answer waits 40 ms for an ACK.
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address.host, address.port))
        server.listen(128)
    except OSError as error:
        server.close()
        reason = os.strerror(error.errno) if error.errno else "unknown reason"
        raise ListenProblem(
            f"{address.shown} can't be listened on ({reason[:1].lower()}{reason[1:]}); choose another port with --listen."
        ) from error
    server.setblocking(False)
    return server, Address(host=address.host, port=server.getsockname()[1])


@dataclass(frozen=True)
class ApiKey:
    """The key that every request over TCP must show. Only its hash is kept, so no dump of this value holds it."""

    _digest: bytes = field(repr=False)

    @classmethod
    def of(cls, key: str) -> ApiKey:
        return cls(hashlib.sha256(key.encode()).digest())

    def opens(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether the headers show the key. Whatever form it has: each key that is shown must be the right one."""
        shown: list[bytes] = []
        for name, value in headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                shown.append(key if scheme.lower() == b"bearer" else b"")
            elif name == b"x-api-key":
                shown.append(value)
        # All of them are compared, each in constant time: hashes have one length and tell nothing of the key.
        right = [hmac.compare_digest(hashlib.sha256(key).digest(), self._digest) for key in shown]
        return bool(right) and all(right)


@dataclass(frozen=True, kw_only=True)
class OpenDoor:
    """A bound address with its key, before anything is served there."""

    listener: socket.socket
    address: Address
    key: ApiKey
    key_file: Path

    @property
    def sentence(self) -> str:
        return (
            f"Other programs on this computer reach the models at http://{self.address.shown}/v1 with the key in "
            f"{printable(self.key_file)}."
        )


def open_door(options: ListenOptions, *, home_key_file: Path) -> OpenDoor:
    """Everything that can go wrong with an address or a key goes wrong here. Raises UsageProblem or ListenProblem."""
    wanted = parse_address(options.address)
    key_file = options.key_file or home_key_file
    key = read_or_make_key(key_file)
    listener, address = bind_tcp(wanted)
    return OpenDoor(listener=listener, address=address, key=key, key_file=key_file)


def read_or_make_key(file: Path) -> ApiKey:
    """The key in `file`, which is made with a new key where there is none. Raises UsageProblem."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return _make_key(file)
    except OSError as error:
        raise UsageProblem(
            f"The API key file {file} can't be read: {error.strerror}; name another."
        ) from None
    try:
        _check_key_file(file, os.fstat(descriptor))
        raw = os.read(descriptor, MAX_KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        key = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        key = ""
    if len(raw) > MAX_KEY_BYTES or len(key) < MIN_KEY_CHARS or not key.isprintable() or " " in key:
        raise UsageProblem(
            f"The API key file {file} holds no key; put one line of at least {MIN_KEY_CHARS} letters and digits into "
            "it, or remove it and a new key is made."
        )
    return ApiKey.of(key)


def _check_key_file(file: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise UsageProblem(f"The API key file {file} is not a file; name one that holds the key.")
    if info.st_mode & _OTHERS or info.st_uid != os.geteuid():
        raise UsageProblem(
            f"The API key file {file} is open to other users; make it yours and close it with `chmod 600 {file}`."
        )


def _make_key(file: Path) -> ApiKey:
    key = secrets.token_urlsafe(32)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{key}\n")
    except OSError as error:
        raise UsageProblem(
            f"The API key file {file} can't be made: {error.strerror}; name another with --api-key-file."
        ) from None
    return ApiKey.of(key)
