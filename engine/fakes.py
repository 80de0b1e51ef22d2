"""A scripted engine for tests of code that uses an engine: same interface, no model, no process."""

from __future__ import annotations

import asyncio
import math
import re
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from engine.core import (
    Delta,
    Embeddings,
    Finished,
    FinishReason,
    Prefill,
    Priority,
    Request,
    Restarted,
    StreamEvent,
    Usage,
)
from engine.errors import EngineError, EngineStopped
from engine.model import PowerLimits
from engine.status import EngineCounters, EngineState, EngineStatus

Answer = str | EngineError | Restarted
Script = Sequence[Answer] | Callable[[Request], str]


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)


class ScriptedEngine:
    """Answers requests from a list (in order) or from a function; one delta for each word.

    An EngineError in the list is raised, a Restarted is emitted in front of the next answer. delay_s is slept
    before every delta, so that a test can act in the middle of a stream. The requests seen are in `requests`.
    """

    def __init__(self, script: Script, *, delay_s: float = 0.0, n_ctx: int = 8192) -> None:
        self._answer: Callable[[Request], str] | None = script if callable(script) else None
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
        prompt_tokens = sum((len(message.content) + 3) // 4 for message in request.messages)
        events.append(Prefill(done_tokens=prompt_tokens, total_tokens=prompt_tokens))
        text = self._next_text(request, events)
        pieces = _pieces(text)
        cut = pieces[: request.sampling.max_tokens]
        events.extend(Delta(text=piece, tokens=1) for piece in cut)
        events.append(
            Finished(
                text="".join(cut),
                finish_reason=FinishReason.STOP if len(cut) == len(pieces) else FinishReason.LENGTH,
                usage=Usage(
                    prompt_tokens=prompt_tokens, completion_tokens=len(cut), prefill_s=0.01, decode_s=0.01
                ),
            )
        )
        return events

    def _next_text(self, request: Request, events: list[StreamEvent]) -> str:
        if self._answer is not None:
            return self._answer(request)
        while self._answers:
            answer = self._answers.pop(0)
            if isinstance(answer, EngineError):
                raise answer
            if isinstance(answer, str):
                return answer
            events.append(answer)
        raise EngineStopped("The scripted engine has no answer left; give the script one more.")

    def _set_state(self, state: EngineState) -> None:
        if state is not self._status.state:
            self._status = replace(self._status, state=state)
            for callback in tuple(self._callbacks):
                callback(self._status)
