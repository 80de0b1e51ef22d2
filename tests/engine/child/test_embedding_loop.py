"""The child's loop for embedding models, around an embedder that needs no model: all are answered, none disturbs another."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence

import pytest

from engine.child.channel import Inbox
from engine.child.embedding_loop import COUNTERS_EVERY_S, EmbeddingLoop, try_embedder
from engine.child.self_test import SelfTestFailed
from engine.core import FinishReason, Priority
from engine.errors import EngineError, PromptTooLong, RequestInvalid
from engine.messages import Abort, Counters, Done, Embed, Embedded, Failed, FromChild, Loaded
from engine.model import KvType, PowerLimits
from tests.engine.support import fixed_pacer, request

BAD = "bad"


class LengthEmbedder:
    """Its tokens are bytes between two marks; a text's vector says how many it has."""

    n_ctx = 16
    batch_tokens = 32
    n_sequences = 4
    native_s = 0.0

    def __init__(self) -> None:
        self.n_threads = 4
        self.batches: list[int] = []
        self.abort_next = False
        self.during: Callable[[], None] = lambda: None

    def facts(self) -> Loaded:
        return Loaded(
            description="length",
            n_ctx=self.n_ctx,
            n_ctx_train=self.n_ctx,
            n_vocab=258,
            n_params=1,
            size_bytes=1,
            memory_bytes=1,
            n_threads=self.n_threads,
            n_layers=1,
            n_slots=self.n_sequences,
            n_gpu_layers=0,
            kv_type=KvType.F16,
            flash_attention=False,
            has_chat_template=False,
            embedding=True,
            n_embd=1,
        )

    def tokenize(self, text: str) -> list[int]:
        return [256, *text.encode(), 257]

    def embed(self, texts: Sequence[Sequence[int]]) -> list[bytes] | None:
        self.during()
        if self.abort_next:
            self.abort_next = False
            return None
        if any(bytes(text[1:-1]) == BAD.encode() for text in texts):
            raise EngineError("The model gave no usable vector for a text; choose another embedding model.")
        self.batches.append(len(texts))
        return [struct.pack("<f", len(text)) for text in texts]

    def set_threads(self, n_threads: int) -> None:
        self.n_threads = n_threads


class House:
    """A loop with its inbox, its embedder, and what it sent."""

    def __init__(self) -> None:
        self.embedder = LengthEmbedder()
        self.inbox = Inbox(-1)
        self.sent: list[FromChild] = []
        self.now_s = 0.0
        self.loop = EmbeddingLoop(
            self.embedder,
            pacer=fixed_pacer(self.embedder.n_threads),
            inbox=self.inbox,
            send=self.sent.append,
            beat=lambda: None,
            clock=lambda: self.now_s,
        )

    def embed(self, *texts: str, job_id: str = "a", priority: Priority = Priority.NORMAL) -> None:
        self.loop.embed(Embed(id=job_id, texts=texts, priority=priority))

    def work(self) -> None:
        while self.loop.step():
            pass

    def vectors(self, job_id: str = "a") -> list[float]:
        (answer,) = [sent for sent in self.sent if isinstance(sent, Embedded) and sent.id == job_id]
        return [struct.unpack("<f", base64.b64decode(vector))[0] for vector in answer.vectors]

    def ends(self) -> list[str]:
        return [sent.id for sent in self.sent if isinstance(sent, Embedded | Done | Failed)]


@pytest.fixture
def house() -> House:
    return House()


def test_vectors_come_in_the_order_of_the_texts_with_all_tokens_counted(house: House) -> None:
    house.embed("ccc", "a", "eeeee", "bb", "dddd", "f")
    house.work()
    assert house.vectors() == [5.0, 3.0, 7.0, 4.0, 6.0, 3.0]
    (answer,) = [sent for sent in house.sent if isinstance(sent, Embedded)]
    assert answer.tokens == 28
    assert house.embedder.batches == [4, 2]


def test_jobs_share_a_batch_and_are_answered_one_by_one(house: House) -> None:
    house.embed("a", job_id="a")
    house.embed("bb", job_id="b")
    house.work()
    assert house.embedder.batches == [2]
    assert (house.vectors("a"), house.vectors("b")) == ([3.0], [4.0])


def test_a_text_that_is_too_long_is_refused_by_its_number(house: House) -> None:
    with pytest.raises(PromptTooLong, match="^Text 2 has 17 tokens and the model takes 16"):
        house.embed("a", "x" * 15)
    assert not house.loop.step()


def test_nothing_to_embed_and_a_chat_request_are_refused(house: House) -> None:
    with pytest.raises(RequestInvalid, match="no texts"):
        house.embed()
    with pytest.raises(RequestInvalid, match="writes none; choose a chat model"):
        house.loop.submit(request())


def test_the_same_id_twice_is_refused_and_the_first_goes_on(house: House) -> None:
    house.embed("a")
    with pytest.raises(EngineError, match="give each its own"):
        house.embed("b")
    house.work()
    assert house.vectors() == [3.0]


def test_a_job_that_fails_takes_nobody_down_with_it(house: House) -> None:
    house.embed("a", job_id="a")
    house.embed("c", BAD, job_id="b")
    house.embed("ddd", job_id="d")
    house.work()
    assert house.vectors("a") == [3.0]
    assert house.vectors("d") == [5.0]
    assert [sent.id for sent in house.sent if isinstance(sent, Failed)] == ["b"]


def test_an_aborted_job_is_answered_as_cancelled_before_and_after_it_began(house: House) -> None:
    house.inbox.deliver(Abort(id="early"))
    house.embed("a", job_id="early")
    house.embed("a" * 9, "b" * 9, "c" * 9, "d" * 9, job_id="late")
    assert house.loop.step()
    house.inbox.deliver(Abort(id="late"))
    house.loop.abort("late")
    house.work()
    done = [sent for sent in house.sent if isinstance(sent, Done)]
    assert [(sent.id, sent.finish_reason) for sent in done] == [
        ("early", FinishReason.CANCELLED),
        ("late", FinishReason.CANCELLED),
    ]
    assert not house.inbox.is_aborted("early")
    assert not house.inbox.is_aborted("late")


def test_an_abort_that_came_after_the_answer_is_forgotten(house: House) -> None:
    house.embed("a")
    house.work()
    house.inbox.deliver(Abort(id="a"))
    house.loop.abort("a")
    assert house.ends() == ["a"]
    house.embed("bb")
    house.work()
    assert house.ends() == ["a", "a"]


def test_a_batch_stops_when_all_who_want_it_went_away(house: House) -> None:
    seen: list[bool] = []

    def while_computing() -> None:
        seen.append(house.loop.should_stop())
        house.inbox.deliver(Abort(id="a"))
        seen.append(house.loop.should_stop())
        house.inbox.deliver(Abort(id="b"))
        seen.append(house.loop.should_stop())

    house.embed("a", job_id="a")
    house.embed("b", job_id="b")
    house.embedder.during = while_computing
    house.loop.step()
    assert seen == [False, False, True]
    assert not house.loop.should_stop()


def test_a_batch_that_was_interrupted_is_computed_again(house: House) -> None:
    house.embed("a", "bb")
    house.embedder.abort_next = True
    assert house.loop.step()
    assert house.ends() == []
    house.work()
    assert house.vectors() == [3.0, 4.0]


def test_background_work_is_held_back_where_it_is_not_allowed_and_threads_are_limited(house: House) -> None:
    house.loop.set_limits(PowerLimits(max_threads=2, background=False))
    house.embed("a", job_id="late", priority=Priority.BACKGROUND)
    house.embed("b", job_id="now")
    house.work()
    assert house.ends() == ["now"]
    assert house.embedder.n_threads == 2
    house.loop.set_limits(PowerLimits())
    house.work()
    assert house.ends() == ["now", "late"]
    assert house.embedder.n_threads == 4


def test_counting_includes_the_marks_so_that_it_can_be_compared_with_the_limit(house: House) -> None:
    assert house.loop.count(("", "abc")) == (2, 5)


def test_what_was_done_is_counted_now_and_then_and_at_the_end(house: House) -> None:
    house.embed(*["x" * 9] * 6)
    house.loop.step()
    assert not [sent for sent in house.sent if isinstance(sent, Counters)]
    house.now_s += COUNTERS_EVERY_S
    house.work()
    first, last = [sent.counters for sent in house.sent if isinstance(sent, Counters)]
    assert (first.batches, first.batch_sequences, first.batch_tokens, first.running) == (2, 4, 44, 1)
    assert (last.batches, last.prompt_tokens, last.running, last.n_threads) == (3, 66, 0, 4)


def test_the_trial_says_whether_company_changes_a_vector(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert try_embedder(house.embedder)
    monkeypatch.setattr(house.embedder, "embed", lambda texts: [struct.pack("<f", len(texts))] * len(texts))
    assert not try_embedder(house.embedder)


def test_the_trial_fails_where_numbers_are_not_finite(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        house.embedder, "embed", lambda texts: [struct.pack("<f", float("nan")) for _ in texts]
    )
    with pytest.raises(SelfTestFailed, match="not finite"):
        try_embedder(house.embedder)
