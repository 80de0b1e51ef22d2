"""Finds where the pinned prefix of a request ends in its tokens, by rendering what may follow it in two ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from engine.core import Message, Request, Tool
from engine.errors import EngineError
from engine.schedule.sequence import PinPoint, common_prefix

MIN_PIN_TOKENS = 32  # less is computed in no time
MAX_KNOWN = 256


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The prefix that a name stands for now."""

    messages: tuple[Message, ...] = field(repr=False)
    tools: tuple[Tool, ...] = field(repr=False)
    tokens: list[int] = field(repr=False)


class PinnedPrefixes:
    """Which tokens each name stands for. render gives the tokens of a request's prompt."""

    def __init__(self, render: Callable[[Request], list[int]]) -> None:
        self._render = render
        self._known: dict[str, _Known] = {}

    def point(self, request: Request, tokens: list[int]) -> PinPoint | None:
        """Where the pinned prefix of a request ends; None when it has none that is worth keeping."""
        prefix = request.prefix
        if prefix is None or not request.messages:
            return None
        messages = request.messages[: prefix.n_messages]
        known = self._known.get(prefix.name)
        if known is None or known.messages != messages or known.tools != request.tools:
            known = _Known(
                messages=messages, tools=request.tools, tokens=self._fixed_tokens(request, messages)
            )
            self._known.pop(prefix.name, None)
            self._known[prefix.name] = known
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
        n = common_prefix(known.tokens, tokens, len(tokens) - 1)
        return PinPoint(name=prefix.name, n_tokens=n) if n >= MIN_PIN_TOKENS else None

    def forget(self, name: str) -> list[int]:
        """The name stands for nothing any more; returns the tokens that it stood for."""
        known = self._known.pop(name, None)
        return [] if known is None else known.tokens

    def _fixed_tokens(self, request: Request, messages: tuple[Message, ...]) -> list[int]:
        """What two prompts share that begin with these messages and go on differently."""
        try:
            one, other = (
                self._render(
                    replace(request, prefix=None, messages=(*messages, Message(role="user", content=end)))
                )
                for end in ("a", "?")
            )
        except EngineError:  # a template that refuses such an order of messages
            return []
        return one[: common_prefix(one, other)]
