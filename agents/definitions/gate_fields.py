"""Reads the gates of an agent file: what must hold before it spends a token. None may look beyond the capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from agents.definitions.capability_fields import Capabilities
from agents.definitions.durations import read_duration
from agents.definitions.folders import inside_any, read_paths
from agents.definitions.limits import (
    COMMAND_RANGE_S,
    MAX_COMMANDS,
    MAX_COUNT,
    MAX_GATES,
    MAX_PATH_CHARS,
    MAX_URL_CHARS,
    MAX_WORDS_CHARS,
)
from agents.definitions.zones import read_time_of_day, read_zone
from agents.front_matter import Fields, refuse
from agents.triggers import (
    ChangedGate,
    CommandGate,
    Gate,
    GateKind,
    HoursGate,
    MemoryGate,
    PowerGate,
    UrlGate,
    gate_key,
)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DEFAULT_TIMEOUT_S = CommandGate(argv=()).timeout_s


@dataclass(frozen=True, kw_only=True)
class Around:
    """What a gate is read by, beside its own lines."""

    capabilities: Capabilities
    home: Path
    zone: str  # of the computer


def read_gates(fields: Fields, around: Around) -> tuple[Gate, ...]:
    if "gates" not in fields:
        return ()
    found: dict[str, Gate] = {}
    for item in fields.kinds("gates", by="check", keys=_KEYS, max_items=MAX_GATES):
        gate = _READERS[item.text("check", max_chars=MAX_WORDS_CHARS)](item, around)
        if found.setdefault(gate_key(gate), gate) is not gate:
            refuse(item.line, "the same gate is there twice; keep one of them.")
    return tuple(found.values())


def _changed(fields: Fields, around: Around) -> Gate:
    paths: list[Path] = []
    for path, line in read_paths(fields, "paths", around.home):
        if not inside_any(path, around.capabilities.read):
            refuse(line, f"the agent may not read {path}; add its folder to 'read' under 'capabilities'.")
        paths.append(path)
    return ChangedGate(paths=tuple(paths))


def _url(fields: Fields, around: Around) -> Gate:
    url, line = fields.text("url", max_chars=MAX_URL_CHARS), fields.line_of("url")
    parts = _split(url)
    if (
        parts is None
        or not parts.hostname
        or parts.scheme not in ("http", "https")
        or not url.isascii()
        or " " in url
    ):
        refuse(line, "'url' must be a web address, such as https://example.org/news.")
    if parts.username is not None or parts.password is not None:
        refuse(line, "'url' may hold no user name and no password.")
    if parts.fragment:
        refuse(line, "'url' ends at the '#', which no server is told; leave that out.")
    if parts.hostname not in around.capabilities.hosts:
        refuse(line, f"the agent may not ask {parts.hostname}; add it to 'hosts' under 'capabilities'.")
    return UrlGate(url=url)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # a port that is no number, a bracket that is not closed
        return None
    return parts


def _hours(fields: Fields, around: Around) -> Gate:
    start, end = read_time_of_day(fields, "from"), read_time_of_day(fields, "to")
    if start == end:
        refuse(fields.line_of("to"), "'from' and 'to' are the same time; leave a span between them.")
    days = _days(fields) if "days" in fields else tuple(range(len(DAYS)))
    return HoursGate(start=start, end=end, zone=read_zone(fields, around.zone), days=days)


def _days(fields: Fields) -> tuple[int, ...]:
    days: set[int] = set()
    for text in fields.texts("days", max_items=len(DAYS), max_chars=MAX_WORDS_CHARS):
        if text.value.lower() not in DAYS:
            refuse(text.line, f"each of 'days' must be one of {', '.join(DAYS)}.")
        days.add(DAYS.index(text.value.lower()))
    if not days:
        refuse(fields.line_of("days"), "'days' is empty; name at least one, or leave it out.")
    return tuple(sorted(days))


def _ac_power(_: Fields, __: Around) -> Gate:
    return PowerGate()


def _memory(fields: Fields, _: Around) -> Gate:
    return MemoryGate(
        query=fields.text("query", max_chars=MAX_WORDS_CHARS),
        at_least=fields.whole_number("at_least", low=1, high=MAX_COUNT) if "at_least" in fields else 1,
    )


def _command(fields: Fields, around: Around) -> Gate:
    parts = fields.texts("run", max_items=MAX_COMMANDS, max_chars=MAX_PATH_CHARS)
    argv = tuple(part.value for part in parts)
    if argv not in around.capabilities.commands:
        refuse(
            fields.line_of("run"),
            "the agent may not run this command; add exactly it to 'commands' under 'capabilities'.",
        )
    timeout_s = (
        read_duration(fields, "timeout", COMMAND_RANGE_S) if "timeout" in fields else _DEFAULT_TIMEOUT_S
    )
    return CommandGate(argv=argv, timeout_s=timeout_s)


_KEYS: Mapping[str, Sequence[str]] = {
    GateKind.CHANGED: ("paths",),
    GateKind.URL: ("url",),
    GateKind.HOURS: ("from", "to", "days", "zone"),
    GateKind.AC_POWER: (),
    GateKind.MEMORY: ("query", "at_least"),
    GateKind.COMMAND: ("run", "timeout"),
}
_READERS: Mapping[str, Callable[[Fields, Around], Gate]] = {
    GateKind.CHANGED: _changed,
    GateKind.URL: _url,
    GateKind.HOURS: _hours,
    GateKind.AC_POWER: _ac_power,
    GateKind.MEMORY: _memory,
    GateKind.COMMAND: _command,
}
