"""A scripted engine for tests of code that uses an engine: same interface, no model, no process."""

from __future__ import annotations

import asyncio
import base64
import math
import re
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from engine.core import (
    Alternative,
    Delta,
    Embeddings,
    Finished,
    FinishReason,
    Prefill,
    Priority,
    Request,
    Restarted,
    StreamEvent,
    TokenLogprob,
    ToolCall,
    ToolCalled,
    Usage,
)
from engine.errors import EngineError, EngineStopped
from engine.model import PowerLimits
from engine.status import EngineCounters, EngineState, EngineStatus


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer with tool calls after its text."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()


Answer = str | Reply | EngineError | Restarted
Script = Sequence[Answer] | Callable[[Request], str | Reply]


def _logprobs(request: Request, piece: str) -> tuple[TokenLogprob, ...]:
    """One token for the piece, where log-probabilities were asked for; those in its place come out evenly less likely."""
    n_top = request.sampling.top_logprobs
    if n_top is None:
        return ()
    data = base64.b64encode(piece.encode()).decode()
    others = tuple(Alternative(token=index, data=data, logprob=-0.5 - index) for index in range(n_top))
    return (TokenLogprob(chosen=Alternative(token=0, data=data, logprob=-0.5), top=others),)


def _prompt_tokens(request: Request) -> int:
    return sum((len(message.content) + 3) // 4 for message in request.messages)


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The text up to the first stop string, and that one."""
    found = min(((place, stop) for stop in stops if (place := text.find(stop)) >= 0), default=None)
    return (text, None) if found is None else (text[: found[0]], found[1])


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)


class ScriptedEngine:
    """Answers requests from a list (in order) or from a function; one delta for each word.

    An EngineError in the list is raised, a Restarted is emitted in front of the next answer. delay_s is slept
    before every delta, so that a test can act in the middle of a stream. The requests seen are in `requests`.
    """

    def __init__(self, script: Script, *, delay_s: float = 0.0, n_ctx: int = 8192) -> None:
        self._answer: Callable[[Request], str | Reply] | None = script if callable(script) else None
        self._answers: list[Answer] = [] if callable(script) else list(script)
        self._delay_s = delay_s
        self._status = EngineStatus(state=EngineState.STOPPED, model_name="scripted", n_ctx=n_ctx)
        self._callbacks: list[Callable[[EngineStatus], None]] = []
        self._turn = asyncio.Lock()
        self._stops = 0
        self.requests: list[Request] = []
        self.cancelled: list[str] = []
        self.forgotten: list[str] = []
        self.limits: PowerLimits | None = None

    async def start(self) -> None:
        """Become ready."""
        self._set_state(EngineState.READY)

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Stop; an answer in the making ends with EngineStopped."""
        self._stops += 1
        self._set_state(EngineState.STOPPED)

    async def retry_model(self) -> None:
        """Start again after the model was set aside."""
        await self.start()

    async def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """Play the next answer of the script."""
        self.requests.append(request)
        async with self._turn:
            self._set_state(EngineState.BUSY)
            stops = self._stops
            try:
                for event in self._events(request):
                    if isinstance(event, Delta):
                        await asyncio.sleep(self._delay_s)
                    if stops != self._stops:
                        raise EngineStopped(
                            "The engine was stopped before the answer was done; ask again once it runs."
                        )
                    yield event
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled.append(request.id)
                raise
            finally:
                self._set_state(EngineState.READY)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count one token for every four characters, as a rough stand-in."""
        return [(len(text) + 3) // 4 for text in texts]

    async def count_prompt(self, request: Request) -> int:
        """As many tokens as the usage of an answer names."""
        return _prompt_tokens(request)

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.NORMAL) -> Embeddings:
        """A vector of four numbers that depends on nothing but the text's letters."""
        vectors = []
        for text in texts:
            counts = [1.0 + sum(ord(letter) % 4 == rest for letter in text) for rest in range(4)]
            length = math.hypot(*counts)
            vectors.append(array("f", [count / length for count in counts]))
        return Embeddings(vectors=tuple(vectors), tokens=sum(await self.count_tokens(texts)))

    async def forget_prefix(self, name: str) -> None:
        """Note the name in `forgotten`."""
        self.forgotten.append(name)

    def set_limits(self, limits: PowerLimits) -> None:
        """Keep the limits in `limits`."""
        self.limits = limits

    @property
    def counters(self) -> EngineCounters:
        """Nothing is counted."""
        return EngineCounters()

    @property
    def status(self) -> EngineStatus:
        """The state as a snapshot."""
        return self._status

    def subscribe(self, callback: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Call back at each change of state; returns the way to end that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def _events(self, request: Request) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        prompt_tokens = _prompt_tokens(request)
        events.append(Prefill(done_tokens=prompt_tokens, total_tokens=prompt_tokens))
        reply = self._next_reply(request, events)
        text, stop = _stopped(reply.text, request.sampling.stop)
        pieces = _pieces(text)
        cut = pieces[: request.sampling.max_tokens]
        events.extend(Delta(text=piece, tokens=1, logprobs=_logprobs(request, piece)) for piece in cut)
        whole = len(cut) == len(pieces)
        calls = reply.calls if whole and stop is None else ()
        events.extend(ToolCalled(call=call) for call in calls)
        ended = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        events.append(
            Finished(
                text="".join(cut),
                finish_reason=ended if whole else FinishReason.LENGTH,
                tool_calls=calls,
                stop=stop if whole else None,
                usage=Usage(
                    prompt_tokens=prompt_tokens, completion_tokens=len(cut), prefill_s=0.01, decode_s=0.01
                ),
            )
        )
        return events

    def _next_reply(self, request: Request, events: list[StreamEvent]) -> Reply:
        if self._answer is not None:
            answer = self._answer(request)
            return answer if isinstance(answer, Reply) else Reply(text=answer)
        while self._answers:
            scripted = self._answers.pop(0)
            if isinstance(scripted, EngineError):
                raise scripted
            if isinstance(scripted, Reply):
                return scripted
            if isinstance(scripted, str):
                return Reply(text=scripted)
            events.append(scripted)
        raise EngineStopped("The scripted engine has no answer left; give the script one more.")

    def _set_state(self, state: EngineState) -> None:
        if state is not self._status.state:
            self._status = replace(self._status, state=state)
            for callback in tuple(self._callbacks):
                callback(self._status)
