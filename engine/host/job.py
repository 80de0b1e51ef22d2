"""One piece of work on its way between its caller and the child: what is asked, what was heard, how far it came.

Runs in: runtime process, event loop thread only.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from engine.core import Delta, Finished, Prefill, Priority, StreamEvent, ToolCall, ToolCalled
from engine.errors import EngineError, error_from_wire
from engine.messages import (
    CalledTool,
    Count,
    Counted,
    CountPrompt,
    Done,
    Embed,
    Embedded,
    Failed,
    ForgetPrefix,
    Forgotten,
    Progress,
    Submit,
    Text,
)

Work = Submit | Embed | Count | CountPrompt | ForgetPrefix
Reply = Counted | Embedded | Forgotten
About = Progress | Text | CalledTool | Done | Failed | Reply
_REPLIES: dict[type[Work], type[Reply]] = {
    Count: Counted,
    CountPrompt: Counted,
    Embed: Embedded,
    ForgetPrefix: Forgotten,
}


class OutOfTurn(Exception):
    """The child said something about this work that does not belong there."""


class Job:
    """Work under an id of the supervisor's own, and the events for its caller; an EngineError is the last of them."""

    def __init__(self, work: Work, *, number: int) -> None:
        self.id = str(number)
        self.number = number
        self.work = _under(work, self.id)
        self.events: asyncio.Queue[StreamEvent | Reply | EngineError] = asyncio.Queue()
        self.submitted = False
        self.deaths = 0  # of children that had this job
        self.cleared = False  # came farther, after a death, than where that happened
        self._reached = self._reached_at_death = (0, 0)
        self._parts: list[str] = []
        self._calls: list[ToolCall] = []

    @property
    def priority(self) -> Priority:
        """Who goes first when only one may."""
        match self.work:
            case Submit(request=request):
                return request.priority
            case Embed(priority=priority):
                return priority
            case _:
                return Priority.INTERACTIVE  # short, and somebody waits for it

    @property
    def is_heavy(self) -> bool:
        """Whether it takes the model's time, and not just a moment between two batches."""
        return isinstance(self.work, Submit | Embed)

    @property
    def has_begun(self) -> bool:
        """Whether the child computes on it, as far as one can tell from here."""
        return self._reached > (0, 0)

    @property
    def on_trial(self) -> bool:
        """Whether it is repeated after a death and has not come farther than where that happened."""
        return self.submitted and self.deaths > 0 and not self.cleared

    def take(self, message: About) -> bool:
        """Pass a message on to the caller; True when it was the last one. Raises OutOfTurn."""
        if isinstance(message, Failed):
            self.fail(error_from_wire(message.code, message.message, message.details))
            return True
        if isinstance(message, Counted | Embedded | Forgotten):
            if type(message) is not _REPLIES.get(type(self.work)):
                raise OutOfTurn
            self.events.put_nowait(message)
            return True
        if not isinstance(self.work, Submit):
            raise OutOfTurn
        self._take_of_stream(message)
        return isinstance(message, Done)

    def forget_prefix(self, name: str) -> None:
        """Should it be repeated, it does not pin this name."""
        if isinstance(self.work, Submit):
            self.work = replace(self.work, request=self.work.request.without_prefix(name))

    def fail(self, error: EngineError) -> None:
        """The last the caller hears."""
        self.events.put_nowait(error)

    def forget_answer(self) -> None:
        """The child died: what it said is void, and the work waits to be submitted once more."""
        self.deaths += 1
        self.submitted = self.cleared = False
        self._reached_at_death, self._reached = self._reached, (0, 0)
        self._parts.clear()
        self._calls.clear()

    def _take_of_stream(self, message: Text | Progress | CalledTool | Done) -> None:
        match message:
            case Text():
                self._reach((self._reached[0] + message.tokens, 0))
                self._parts.append(message.text)
                self.events.put_nowait(
                    Delta(text=message.text, tokens=message.tokens, logprobs=message.logprobs)
                )
            case Progress():
                self._reach((0, message.done_tokens))
                self.events.put_nowait(
                    Prefill(done_tokens=message.done_tokens, total_tokens=message.total_tokens)
                )
            case CalledTool():
                self._calls.append(message.call)
                self.events.put_nowait(ToolCalled(call=message.call))
            case Done():
                self.events.put_nowait(
                    Finished(
                        text="".join(self._parts),
                        finish_reason=message.finish_reason,
                        usage=message.usage,
                        tool_calls=tuple(self._calls),
                        stop=message.stop,
                    )
                )

    def _reach(self, place: tuple[int, int]) -> None:
        """The place is how many tokens were generated, and before the first of them how many of the prompt are done."""
        self._reached = max(self._reached, place)
        if self._reached > self._reached_at_death:
            self.cleared = True


def _under(work: Work, job_id: str) -> Work:
    """The same work with the supervisor's id: two callers may choose the same one, and one caller may come again."""
    if isinstance(work, Submit):
        return replace(work, request=replace(work.request, id=job_id))
    return replace(work, id=job_id)
