"""When a file rests: its size and time have not changed for a while. Pure; times are monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What changes, as a rule, when a file does; seen without reading it."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, kw_only=True)
class Settling:
    """A file's signature, and when the file has settled if that does not change before."""

    signature: Signature
    settled_at_s: float


def observe(
    previous: Settling | None,
    signature: Signature,
    *,
    now_s: float,
    settle_s: float,
    age_s: float | None = None,
) -> Settling:
    """What is known after another look.

    With `age_s`, its age by its own time, a file may have rested before anybody looked. An age below zero (the clock that wrote it is
    ahead of ours) counts as none.
    """
    rested_s = max(0.0, age_s) if age_s is not None else 0.0
    settled_at_s = now_s + settle_s - rested_s
    if previous is not None and previous.signature == signature:
        settled_at_s = min(settled_at_s, previous.settled_at_s)
    return Settling(signature=signature, settled_at_s=settled_at_s)


def has_settled(settling: Settling, *, now_s: float) -> bool:
    return settling.settled_at_s <= now_s
