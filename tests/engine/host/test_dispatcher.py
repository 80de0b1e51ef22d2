"""The desk between callers and a child: messages reach the right caller, and a child that talks nonsense is ended."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from engine.core import (
    Delta,
    Finished,
    FinishReason,
    PinnedPrefix,
    Priority,
    Restarted,
    StreamEvent,
    ToolCall,
    ToolCalled,
    Usage,
)
from engine.errors import EngineDied, EngineError, PromptTooLong, RequestInvalid
from engine.host.child_process import ChildDied, EngineChild
from engine.host.dispatcher import Dispatcher
from engine.host.job import Job
from engine.messages import (
    Abort,
    CalledTool,
    Count,
    Counted,
    Counters,
    Done,
    Embed,
    Embedded,
    Failed,
    FromChild,
    Hello,
    Progress,
    Submit,
    Text,
    Texts,
    ToChild,
)
from engine.status import EngineCounters
from tests.engine.support import request

USAGE = Usage(prompt_tokens=1, completion_tokens=2, prefill_s=0.5, decode_s=0.5)


class RecordingChild:
    """What the desk needs of a child, without a process."""

    def __init__(self) -> None:
        self.posted: list[ToChild] = []
        self.killed: list[str] = []
        self.patience_s: float | None = None
        self.say: Callable[[FromChild], None] = lambda _: None

    def listen(self, listener: Callable[[FromChild], None]) -> None:
        self.say = listener

    def post(self, message: ToChild) -> None:
        self.posted.append(message)

    def expect(self, silence_s: float | None) -> None:
        self.patience_s = silence_s

    def kill(self, reason: str) -> None:
        self.killed.append(reason)


@pytest.fixture
def child() -> RecordingChild:
    return RecordingChild()


@pytest.fixture
def desk(child: RecordingChild) -> Dispatcher:
    dispatcher = Dispatcher(patience_s=30.0, on_change=lambda: None, on_usage=lambda _: None)
    dispatcher.connect(cast(EngineChild, child))
    return dispatcher


def ask(desk: Dispatcher, text: str = "hello") -> Job:
    return desk.take_up(Submit(request=request(text, request_id="same")))


def heard(job: Job) -> list[object]:
    return [job.events.get_nowait() for _ in range(job.events.qsize())]


def texts(*items: tuple[Job, str]) -> Texts:
    return Texts(items=tuple(Text(id=job.id, text=text, tokens=1) for job, text in items))


def done(job: Job, reason: FinishReason = FinishReason.STOP) -> Done:
    return Done(id=job.id, finish_reason=reason, usage=USAGE)


def test_one_frame_feeds_many_callers_and_none_waits_for_another(
    desk: Dispatcher, child: RecordingChild
) -> None:
    first, second = ask(desk), ask(desk)
    assert [message.request.id for message in child.posted if isinstance(message, Submit)] == ["1", "2"]
    child.say(texts((first, "a"), (second, "x")))
    child.say(texts((second, "y")))
    child.say(done(second))
    assert heard(second) == [
        Delta(text="x", tokens=1),
        Delta(text="y", tokens=1),
        Finished(text="xy", finish_reason=FinishReason.STOP, usage=USAGE),
    ]
    assert (desk.n_running, desk.n_waiting, child.patience_s) == (1, 0, 30.0)
    child.say(done(first))
    assert heard(first)[-1] == Finished(text="a", finish_reason=FinishReason.STOP, usage=USAGE)
    assert (desk.has_work, child.patience_s, child.killed) == (False, None, [])


def test_tool_calls_come_as_events_and_with_the_end(desk: Dispatcher, child: RecordingChild) -> None:
    job, call = ask(desk), ToolCall(id="c", name="look", arguments="{}")
    child.say(CalledTool(id=job.id, call=call))
    child.say(done(job, FinishReason.TOOL_CALLS))
    assert heard(job) == [
        ToolCalled(call=call),
        Finished(text="", finish_reason=FinishReason.TOOL_CALLS, usage=USAGE, tool_calls=(call,)),
    ]


def test_an_error_of_one_request_is_its_own(desk: Dispatcher, child: RecordingChild) -> None:
    first, second = ask(desk), ask(desk)
    details: dict[str, int | str] = {"prompt_tokens": 9, "n_ctx": 8}
    child.say(Failed(id=first.id, code="prompt_too_long", message="x", details=details))
    (error,) = heard(first)
    assert isinstance(error, PromptTooLong)
    assert heard(second) == []


def test_who_leaves_is_aborted_and_its_late_words_are_harmless(
    desk: Dispatcher, child: RecordingChild
) -> None:
    job = ask(desk)
    desk.leave(job)
    desk.leave(job)
    assert child.posted[1:] == [Abort(id=job.id)]
    assert desk.is_busy, "the child is not done with it"
    child.say(texts((job, "late")))
    child.say(Progress(id=job.id, done_tokens=1, total_tokens=2))
    child.say(done(job, FinishReason.CANCELLED))
    child.say(done(job, FinishReason.CANCELLED))
    assert (child.killed, desk.is_busy, heard(job)) == ([], False, [])
    child.say(texts((job, "later than the end")))
    assert child.killed == ["spoke of a request that is not its own"]


@pytest.mark.parametrize(
    "nonsense",
    [
        Texts(items=(Text(id="99", text="x", tokens=1),)),
        Texts(items=(Text(id="same", text="x", tokens=1),)),
        Done(id="99", finish_reason=FinishReason.STOP, usage=USAGE),
        Counted(id="1", counts=(1,)),
        Hello(protocol=2, pid=1, build="again"),
    ],
)
def test_a_child_that_talks_nonsense_is_ended(
    desk: Dispatcher, child: RecordingChild, nonsense: FromChild
) -> None:
    ask(desk)
    child.say(nonsense)
    assert len(child.killed) == 1


def test_an_answer_of_the_wrong_kind_is_nonsense(desk: Dispatcher, child: RecordingChild) -> None:
    job = desk.take_up(Count(id="", texts=("a",)))
    child.say(texts((job, "text")))
    assert child.killed == ["spoke out of turn"]


def test_a_second_end_of_the_same_request_is_nonsense(desk: Dispatcher, child: RecordingChild) -> None:
    job = ask(desk)
    child.say(done(job))
    child.say(done(job))
    assert child.killed == ["spoke of a request that is not its own"]


def test_counts_and_vectors_find_their_callers(desk: Dispatcher, child: RecordingChild) -> None:
    count = desk.take_up(Count(id="mine", texts=("a", "b")))
    embed = desk.take_up(Embed(id="mine", texts=("a",), priority=Priority.NORMAL))
    assert desk.is_busy
    child.say(Embedded(id=embed.id, vectors=("AACAPw==",), tokens=3))
    child.say(Counted(id=count.id, counts=(1, 2)))
    assert heard(count) == [Counted(id=count.id, counts=(1, 2))]
    assert heard(embed) == [Embedded(id=embed.id, vectors=("AACAPw==",), tokens=3)]
    assert not desk.is_busy


def test_after_a_death_all_hear_of_it_and_the_next_child_gets_them_one_by_one(desk: Dispatcher) -> None:
    first, second = ask(desk), ask(desk)
    desk.lose_child("killed by SIGSEGV")
    assert heard(first) == heard(second) == [Restarted(reason="killed by SIGSEGV")]
    heir = RecordingChild()
    desk.connect(cast(EngineChild, heir))
    assert heir.posted == [first.work]
    heir.say(texts((first, "a")))
    assert heir.posted == [first.work, second.work]
    desk.lose_child("killed by SIGSEGV")
    (error,) = heard(second)
    assert isinstance(error, EngineDied)
    assert heard(first)[-1] == Restarted(reason="killed by SIGSEGV")


def test_a_request_that_is_repeated_does_not_pin_what_was_forgotten_meanwhile(desk: Dispatcher) -> None:
    asked = replace(request("hello"), prefix=PinnedPrefix(name="agent"))
    desk.take_up(Submit(request=asked))
    desk.forget_prefix("agent")
    desk.lose_child("killed by SIGSEGV")
    second = RecordingChild()
    desk.connect(cast(EngineChild, second))
    assert [message.request.prefix for message in second.posted if isinstance(message, Submit)] == [None]


def test_work_that_comes_after_a_child_died_too_early_to_serve_goes_to_the_next_one(desk: Dispatcher) -> None:
    class DeadChild(RecordingChild):
        def listen(self, listener: Callable[[FromChild], None]) -> None:
            raise ChildDied("killed by SIGSEGV")

    dead, living = DeadChild(), RecordingChild()
    desk.lose_child("killed by SIGKILL")
    with pytest.raises(ChildDied):
        desk.connect(cast(EngineChild, dead))
    job = ask(desk)
    desk.disconnect()
    desk.connect(cast(EngineChild, living))
    assert dead.posted == []
    assert [message.request.id for message in living.posted if isinstance(message, Submit)] == [job.id]


def test_the_void_text_is_not_in_the_answer(desk: Dispatcher, child: RecordingChild) -> None:
    job = ask(desk)
    child.say(texts((job, "void")))
    desk.lose_child("killed by SIGKILL")
    heir = RecordingChild()
    desk.connect(cast(EngineChild, heir))
    heir.say(texts((job, "good")))
    heir.say(done(job))
    finished = heard(job)[-1]
    assert isinstance(finished, Finished)
    assert finished.text == "good"


def test_counters_go_on_over_a_death_and_gauges_are_of_the_child_at_hand(
    desk: Dispatcher, child: RecordingChild
) -> None:
    child.say(Counters(counters=EngineCounters(batches=3, running=1, kv_used=50)))
    child.say(Counters(counters=EngineCounters(batches=7, running=2, kv_used=60)))
    assert desk.counters == EngineCounters(batches=7, running=2, kv_used=60)
    desk.lose_child("killed by SIGKILL")
    desk.disconnect()  # as when it is buried: what it counted is not added twice
    assert desk.counters == EngineCounters(batches=7)
    heir = RecordingChild()
    desk.connect(cast(EngineChild, heir))
    assert desk.counters == EngineCounters(batches=7)
    heir.say(Counters(counters=EngineCounters(batches=2, running=1)))
    assert desk.counters == EngineCounters(batches=9, running=1)


async def test_when_there_is_no_hope_everybody_hears_why(desk: Dispatcher) -> None:
    jobs = [ask(desk) for _ in range(3)]
    desk.lose_child("killed by SIGKILL")
    desk.fail_all(RequestInvalid("No."))
    for job in jobs:
        events: list[StreamEvent | object | EngineError] = []
        async with asyncio.timeout(1):
            while not events or not isinstance(events[-1], EngineError):
                events.append(await job.events.get())
        assert [type(event) for event in events] == [Restarted, RequestInvalid]
    assert not desk.has_work
