"""The child's two ends of the pipes: a thread that reads for the engine thread, and frames out with a heartbeat.

Runs in: engine child; Inbox.read_forever on a thread of its own, all else on the engine thread.
"""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Callable

from engine.messages import (
    HEADER_BYTES,
    Abort,
    Alive,
    FromChild,
    ProtocolError,
    ToChild,
    body_size,
    frame_from_child,
    parse_to_child,
)

BEAT_INTERVAL_S = 0.5


class Inbox:
    """Messages from the runtime, read on a thread of their own so that an abort is seen during native calls."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._messages: queue.SimpleQueue[ToChild] = queue.SimpleQueue()
        self._aborted: set[str] = set()

    def read_forever(self) -> None:
        """Feed the engine thread; when the pipe closes the parent is gone or done with us, so end at once."""
        try:
            while True:
                self.deliver(parse_to_child(self._read(body_size(self._read(HEADER_BYTES)))))
        except (EOFError, OSError):
            os._exit(0)
        except ProtocolError as error:
            sys.stderr.write(f"engine: {error}\n")
            sys.stderr.flush()
            os._exit(4)

    def deliver(self, message: ToChild) -> None:
        """Queue a message for the engine thread; an abort is visible to it at once, also inside a batch."""
        if isinstance(message, Abort):
            self._aborted.add(message.id)
        self._messages.put(message)

    def next(self, *, wait: bool) -> ToChild | None:
        """The oldest unread message; None when there is none and wait is off."""
        try:
            return self._messages.get(block=wait)
        except queue.Empty:
            return None

    def is_aborted(self, request_id: str) -> bool:
        """Whether an abort for this request was read."""
        return request_id in self._aborted

    def forget_abort(self, request_id: str) -> None:
        """The request is done; its id may come again."""
        self._aborted.discard(request_id)

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = os.read(self._descriptor, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Outbox:
    """Frames to the runtime, and how long it has heard nothing."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._last_sent = clock()

    def send(self, message: FromChild) -> None:
        """Write one frame; ends the process when nobody reads any more."""
        data = memoryview(frame_from_child(message))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os._exit(0)
        self._last_sent = self._clock()

    def beat(self) -> None:
        """Say that we are alive, if nothing else was said lately."""
        if self._clock() - self._last_sent >= BEAT_INTERVAL_S:
            self.send(Alive())
