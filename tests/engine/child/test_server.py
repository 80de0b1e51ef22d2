"""The child's loop with a runner that needs no model: many answers at once, aborts in every place, small failures."""

import os
import threading
from dataclasses import replace
from typing import TypeVar

import pytest

from engine.child.channel import BEAT_INTERVAL_S, Inbox, Outbox
from engine.child.faults import Faults
from engine.child.server import TIDY_AFTER_S, EngineServer
from engine.core import FinishReason, Message, PinnedPrefix, Priority, Request, SamplingParams
from engine.errors import ModelInvalid, SchemaUnsupported
from engine.messages import (
    HEADER_BYTES,
    Abort,
    Count,
    Counted,
    Counters,
    CountPrompt,
    Done,
    Embed,
    Failed,
    ForgetPrefix,
    FromChild,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadFault,
    Progress,
    SetLimits,
    Submit,
    Texts,
    ToChild,
    body_size,
    frame_to_child,
    parse_from_child,
)
from engine.model import PowerLimits
from engine.schedule.batch import Outcome
from tests.engine.support import EchoChooser, EchoRunner, load_message

Message_ = TypeVar("Message_")
LOAD = load_message(n_slots=4)


class NeverBlocks(Inbox):
    """Fails the test where the child would sleep until the next message."""

    waits: list[float]
    after_waits: dict[int, ToChild]  # what comes while it waits for the n-th time

    def next(self, *, wait: bool, timeout_s: float | None = None) -> ToChild | None:
        message = super().next(wait=False)
        if message is None and wait:
            assert timeout_s is not None, "the child has nothing to do"
            self.waits.append(timeout_s)
            message = self.after_waits.get(len(self.waits))
        return message


class House:
    """A server with its inbox, what it sent, and its runner."""

    def __init__(self, runner: EchoRunner | None = None, *, load: Load = LOAD) -> None:
        self.runner = runner or EchoRunner(n_ctx=256)
        self.context = self.runner.context
        self.inbox = NeverBlocks(-1)
        self.inbox.waits = []
        self.inbox.after_waits = {}
        self.beats: list[int] = []
        self.sent: list[FromChild] = []
        self.error: ModelInvalid | None = None
        self.server = EngineServer(
            inbox=self.inbox,
            send=self.sent.append,
            beat=lambda: self.beats.append(len(self.inbox.waits)),
            faults=Faults(),
            load_runner=self._load_runner,
        )
        self.inbox.deliver(load)

    def _load_runner(self, _load: Load, _aborted: object) -> EchoRunner:
        if self.error is not None:
            raise self.error
        return self.runner

    def submit(
        self,
        text: str,
        request_id: str = "r",
        *,
        priority: Priority = Priority.NORMAL,
        **sampling: object,
    ) -> None:
        self.inbox.deliver(
            Submit(
                request=Request(
                    id=request_id,
                    messages=(Message(role="user", content=text),),
                    sampling=SamplingParams(**sampling),  # type: ignore[arg-type]
                    priority=priority,
                )
            )
        )

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.server.turn()

    def until(self, kind: type[FromChild]) -> FromChild:
        for _ in range(1000):
            found = next((message for message in self.sent if isinstance(message, kind)), None)
            if found is not None:
                return found
            self.server.turn()
        raise AssertionError(f"no {kind.__name__} came: {self.sent}")

    def all_of(self, kind: type[Message_], count: int) -> list[Message_]:
        """Turns until so many messages of a kind were sent."""
        for _ in range(1000):
            found = [message for message in self.sent if isinstance(message, kind)]
            if len(found) >= count:
                return found
            self.server.turn()
        raise AssertionError(f"not so many {kind.__name__} came: {self.sent}")

    def text(self) -> str:
        return "".join(
            text.text for message in self.sent if isinstance(message, Texts) for text in message.items
        )


def test_a_request_runs_from_progress_over_text_to_done() -> None:
    house = House()
    house.submit("hello world")
    done = house.until(Done)
    assert isinstance(done, Done)
    assert done.finish_reason is FinishReason.STOP
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (11, 11)
    assert house.text() == "hello world"
    progress = [message.done_tokens for message in house.sent if isinstance(message, Progress)]
    assert progress == [0, 4, 8, 11]
    assert [start for batch in house.context.batches[:3] for _, start, _ in batch] == [0, 4, 8]
    assert house.runner.choosers[0].closed


def test_requests_that_find_a_slot_are_read_together_and_others_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    house.turns(1)
    monkeypatch.setattr("engine.child.server.READ_S", 10.0)
    monkeypatch.setattr("engine.child.server.READ_WHEN_FULL_S", 0.0)
    for number in range(7):
        house.submit("a long prompt", request_id=f"r{number}")
    read = []
    for _ in range(4):
        house.turns(1)
        read.append(len(house.runner.choosers))
    assert read == [4, 5, 6, 7], "four slots"


def test_a_child_that_rests_for_a_second_moves_what_it_kept_out_of_the_cache() -> None:
    house = House()
    house.submit("a prompt that is long enough to be kept")
    house.until(Done)
    house.turns(1)
    assert house.context.n_used() > 0
    with pytest.raises(AssertionError, match="nothing to do"):
        house.turns(1)
    assert house.inbox.waits == [TIDY_AFTER_S]
    assert house.context.n_used() == 0
    last = house.sent[-1]
    assert isinstance(last, Counters)
    assert last.counters.ram_cache_bytes > 0
    house.submit("a prompt that is long enough to be kept", request_id="again")
    assert [done.usage.cached_tokens for done in house.all_of(Done, 2)] == [0, 38]


def test_a_child_whose_work_is_held_back_says_that_it_lives_and_hears_when_it_may_go_on() -> None:
    house = House()
    house.until(Loaded)
    house.inbox.deliver(SetLimits(limits=PowerLimits(background=False)))
    house.submit("later", priority=Priority.BACKGROUND)
    house.inbox.after_waits[3] = SetLimits(limits=PowerLimits())
    house.until(Done)
    assert house.inbox.waits[:3] == [BEAT_INTERVAL_S] * 3
    assert {1, 2} <= set(house.beats), "between two waits"
    assert house.text() == "later"
    house.server.close()


def test_an_abort_ends_the_request_before_its_next_batch() -> None:
    house = House()
    house.submit("x" * 100)
    house.turns(3)
    batches = len(house.context.batches)
    house.inbox.deliver(Abort(id="r"))
    done = house.until(Done)
    assert isinstance(done, Done)
    assert done.finish_reason is FinishReason.CANCELLED
    assert len(house.context.batches) == batches
    assert house.runner.choosers[0].closed


def test_an_abort_inside_a_batch_ends_the_request() -> None:
    house = House()
    house.submit("hello")
    house.turns(2)
    house.context.outcomes = [Outcome.ABORTED]
    house.inbox.deliver(Abort(id="r"))
    done = house.until(Done)
    assert isinstance(done, Done)
    assert done.finish_reason is FinishReason.CANCELLED


def test_an_abort_that_comes_late_does_not_touch_the_next_request_of_the_same_name() -> None:
    house = House()
    house.submit("one")
    house.until(Done)
    house.inbox.deliver(Abort(id="r"))
    house.turns(1)
    house.sent.clear()
    house.submit("two")
    done = house.until(Done)
    assert isinstance(done, Done)
    assert (done.finish_reason, house.text()) == (FinishReason.STOP, "two")


def test_a_prompt_that_fills_the_context_is_refused_with_both_sizes() -> None:
    house = House(EchoRunner(n_ctx=8))
    house.submit("12345678")
    failed = house.until(Failed)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.details) == ("prompt_too_long", {"prompt_tokens": 8, "n_ctx": 8})


def test_texts_are_counted_while_a_request_runs() -> None:
    house = House()
    house.submit("hello world")
    house.turns(3)
    house.inbox.deliver(Count(id="c", texts=("abc", "")))
    house.turns(1)
    assert Counted(id="c", counts=(3, 0)) in house.sent
    house.inbox.deliver(CountPrompt(id="p", request=Request(id="x", prompt="much too long " * 100)))
    house.turns(1)
    assert Counted(id="p", counts=(1400,)) in house.sent
    house.until(Done)
    assert house.text() == "hello world"


def test_a_refused_schema_fails_the_request_and_not_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()

    def refuse(*_args: object) -> None:
        raise SchemaUnsupported("uniqueItems")

    with monkeypatch.context() as patch:
        patch.setattr(house.runner, "new_chooser", refuse)
        house.submit("hello")
        failed = house.until(Failed)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.details) == ("schema_unsupported", {"keyword": "uniqueItems"})
    house.submit("again")
    house.until(Done)
    assert house.text() == "again"


def test_a_bug_fails_its_request_and_logs_no_private_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House()

    def stumble(*_args: object) -> bool:
        raise KeyError("private text")

    with monkeypatch.context() as patch:
        patch.setattr(EchoChooser, "choose", stumble)
        house.submit("private text")
        failed = house.until(Failed)
    assert isinstance(failed, Failed)
    assert failed.code == "engine_error"
    logged = capsys.readouterr().err
    assert "KeyError" in logged
    assert "stumble" in logged
    assert "private" not in logged + failed.message
    house.submit("again")
    house.until(Done)


def test_work_before_a_model_is_loaded_is_refused() -> None:
    house = House(load=LOAD)
    house.inbox.next(wait=False)
    house.submit("hello")
    failed = house.until(Failed)
    assert isinstance(failed, Failed)
    assert "No model" in failed.message


def test_the_self_test_decodes_a_prompt_batch_and_single_tokens() -> None:
    house = House(load=Load(**{**vars(LOAD), "self_test": True}))
    house.until(Loaded)
    sizes = [[len(tokens) for _, _, tokens in batch] for batch in house.context.batches]
    assert sizes[0][0] >= 64
    assert sizes[1:] == [[1]] * 8
    assert house.context.n_used() == 0, "the trial leaves nothing behind"
    assert house.runner.choosers[0].closed


@pytest.mark.parametrize("stable", [True, False])
def test_the_self_test_finds_out_whether_company_changes_the_numbers(stable: bool) -> None:
    house = House(EchoRunner(n_ctx=1024), load=Load(**{**vars(LOAD), "self_test": True}))
    house.context.company_changes_numbers = not stable
    loaded = house.until(Loaded)
    assert isinstance(loaded, Loaded)
    assert loaded.batch_stable is stable
    assert len(house.context.batches[-1]) > 1
    assert house.context.n_used() == 0, "the trial leaves nothing behind"


def test_a_self_test_without_usable_numbers_asks_for_safer_settings() -> None:
    house = House(load=Load(**{**vars(LOAD), "self_test": True}))
    house.context.finite = False
    failed = house.until(LoadFailed)
    assert isinstance(failed, LoadFailed)
    assert failed.fault is LoadFault.SELF_TEST


def test_a_model_that_can_not_be_loaded_is_reported_with_its_sentence() -> None:
    house = House()
    house.error = ModelInvalid("The model can't be loaded.")
    assert house.until(LoadFailed) == LoadFailed(
        message="The model can't be loaded.", fault=LoadFault.INVALID
    )


def test_the_outbox_beats_only_when_nothing_else_was_said() -> None:
    reading, writing = os.pipe()
    now = [0.0]
    outbox = Outbox(writing, clock=lambda: now[0])
    outbox.beat()
    now[0] += BEAT_INTERVAL_S
    outbox.beat()
    outbox.beat()
    outbox.send(Hello(protocol=1, pid=1, build="b"))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    kinds = []
    while data:
        size = body_size(data[:HEADER_BYTES])
        kinds.append(parse_from_child(data[HEADER_BYTES : HEADER_BYTES + size]).kind)
        data = data[HEADER_BYTES + size :]
    assert kinds == ["alive", "hello"]


def test_a_request_that_was_sent_before_its_prefix_is_forgotten_pins_nothing_behind_that() -> None:
    inbox = Inbox(-1)
    prefix = PinnedPrefix(name="agent")
    asked = Request(id="r", messages=(Message(role="user", content="?"),), prefix=prefix)
    other = replace(asked, id="other", prefix=PinnedPrefix(name="other"))
    order = ForgetPrefix(id="f", name="agent")
    for message in (Submit(request=asked), Submit(request=other), order):
        inbox.deliver(message)
    assert [inbox.next(wait=False) for _ in range(3)] == [
        order,
        Submit(request=replace(asked, prefix=None)),
        Submit(request=other),
    ]


@pytest.mark.parametrize(
    ("priority", "is_told"), [(Priority.NORMAL, True), (Priority.BACKGROUND, False)], ids=str
)
def test_the_inbox_tells_at_once_of_work_that_somebody_waits_for(priority: Priority, is_told: bool) -> None:
    inbox = Inbox(-1)
    told: list[None] = []
    inbox.on_awaited = lambda: told.append(None)
    messages = (Message(role="user", content="?"),)
    inbox.deliver(Submit(request=Request(id="r", messages=messages, priority=priority)))
    inbox.deliver(Embed(id="e", texts=("text",), priority=priority))
    inbox.deliver(Count(id="c", texts=("text",)))
    assert len(told) == (2 if is_told else 0)


def test_a_bug_on_the_reading_thread_ends_the_child_and_tells_no_private_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("secret words")

    def end(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", end)
    reading, writing = os.pipe()
    inbox = Inbox(reading)
    inbox.on_awaited = fail
    os.write(writing, frame_to_child(Submit(request=Request(id="r", prompt="secret words"))))
    os.close(writing)
    with pytest.raises(SystemExit, match="1"):
        inbox.read_forever()
    os.close(reading)
    told = capsys.readouterr().err
    assert "RuntimeError" in told
    assert "secret" not in told


def test_the_inbox_puts_messages_together_from_pieces() -> None:
    from engine.messages import frame_to_child

    reading, writing = os.pipe()
    inbox = Inbox(reading)
    frame = frame_to_child(Count(id="c", texts=("x" * 100_000,)))
    ended = threading.Event()

    def read_one() -> None:
        inbox.deliver(Abort(id="first"))
        body = inbox._read(body_size(inbox._read(HEADER_BYTES)))
        assert len(body) == len(frame) - HEADER_BYTES
        ended.set()

    thread = threading.Thread(target=read_one)
    thread.start()
    for at in range(0, len(frame), 7_001):
        os.write(writing, frame[at : at + 7_001])
    thread.join(5)
    os.close(writing)
    os.close(reading)
    assert ended.is_set()
    assert inbox.is_aborted("first")
