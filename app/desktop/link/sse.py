"""A parser of server-sent events: bytes in, `data` payloads out. Pure."""

from __future__ import annotations

MAX_EVENT_BYTES = 4 * 2**20  # a runtime that sends more in one event is broken


class StreamTooLongError(ValueError):
    """One event is longer than any that the contract knows."""


class SseParser:
    """Feeds on chunks cut anywhere; comments, ids and event names are skipped, as the contract uses only `data`."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[bytes] = []
        self._size_bytes = 0
        self._skip_newline = False

    def feed(self, chunk: bytes) -> list[str]:
        """The payloads that this chunk completed. Raises StreamTooLongError."""
        if not chunk:
            return []
        if self._skip_newline:  # the chunk before ended between the two bytes of a CRLF
            chunk = chunk.removeprefix(b"\n")
            self._skip_newline = False
        payloads: list[str] = []
        lines = (self._buffer + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._skip_newline = chunk.endswith(b"\r")
        self._buffer = lines.pop()
        for line in lines:
            if not line:
                if self._data:
                    payloads.append(b"\n".join(self._data).decode("utf-8", "replace"))
                self._data, self._size_bytes = [], 0
            elif line == b"data" or line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                self._data.append(value)
                self._size_bytes += len(value)
        if len(self._buffer) + self._size_bytes > MAX_EVENT_BYTES:
            raise StreamTooLongError
        return payloads
