"""The child's two ends of the pipes: a thread that reads for the engine thread, and frames out with a heartbeat.

Runs in: engine child; Inbox.read_forever on a thread of its own, all else on the engine thread.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Set
from dataclasses import replace

from engine.child.trouble import describe_bug
from engine.core import Priority, Request
from engine.messages import (
    HEADER_BYTES,
    Abort,
    Alive,
    Embed,
    ForgetPrefix,
    FromChild,
    ProtocolError,
    Submit,
    ToChild,
    body_size,
    frame_from_child,
    is_awaited,
    parse_to_child,
)

BEAT_INTERVAL_S = 0.5


class Inbox:
    """Messages from the runtime, read on a thread of their own so that an abort is seen during native calls."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._orders: deque[ToChild] = deque()  # everything that is quickly done
        self._requests: dict[Priority, deque[tuple[str, Submit | Embed]]] = {
            priority: deque() for priority in Priority
        }
        self._unread: set[str] = set()  # ids of the requests above
        self._aborted: set[str] = set()
        # told on the reading thread of each request that is no background work
        self.on_awaited: Callable[[], None] = lambda: None

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
        except Exception as error:  # noqa: BLE001 - a child that hears nothing more is of no use
            describe_bug(error)
            os._exit(1)

    def deliver(self, message: ToChild) -> None:
        """Queue a message for the engine thread; an abort is visible to it at once, also inside a batch."""
        with self._changed:
            match message:
                case Submit(request=Request(id=id_, priority=priority)) | Embed(id=id_, priority=priority):
                    self._requests[priority].append((id_, message))
                    self._unread.add(id_)
                case Abort(id=id_):
                    self._aborted.add(id_)
                    if id_ not in self._unread:  # else the flag is found when the request is read
                        self._orders.append(message)
                case ForgetPrefix(name=name):
                    self._forget_prefix(name)
                    self._orders.append(message)
                case _:
                    self._orders.append(message)
            self._changed.notify()
        if is_awaited(message):
            self.on_awaited()

    def next(self, *, wait: bool, timeout_s: float | None = None) -> ToChild | None:
        """The next message: orders first, then requests by priority and arrival.

        None when there is none and wait is off, or none came in time.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._orders or any(self._requests.values()), timeout_s)
            return self._pop()

    def is_urgent(self, priority: Priority) -> bool:
        """Whether an unread request goes before those of this priority."""
        return any(self._requests[other] for other in Priority if other < priority)

    def has_aborted(self, request_ids: Set[str]) -> bool:
        """Whether an abort for one of these requests was read."""
        return not self._aborted.isdisjoint(request_ids)

    def is_aborted(self, request_id: str) -> bool:
        """Whether an abort for this request was read."""
        return request_id in self._aborted

    def forget_abort(self, request_id: str) -> None:
        """The request is done; its id may come again."""
        self._aborted.discard(request_id)

    def _forget_prefix(self, name: str) -> None:
        """Orders pass requests: one that was sent before the order must not pin the name again behind it."""
        for line in self._requests.values():
            for place, (id_, message) in enumerate(line):
                if isinstance(message, Submit):
                    line[place] = id_, replace(message, request=message.request.without_prefix(name))

    def _pop(self) -> ToChild | None:
        if self._orders:
            return self._orders.popleft()
        for line in self._requests.values():
            if line:
                request_id, message = line.popleft()
                self._unread.discard(request_id)
                return message
        return None

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
