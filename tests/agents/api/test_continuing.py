"""A stream that goes on after a restart of the engine never repeats and never contradicts what was sent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.api.continuing import Continuation
from agents.api.refusals import Refusal
from engine.core import (
    Alternative,
    Delta,
    Finished,
    FinishReason,
    Restarted,
    StreamEvent,
    TokenLogprob,
    ToolCall,
    ToolCalled,
    Usage,
)

USAGE = Usage(prompt_tokens=1, completion_tokens=1, prefill_s=0, decode_s=0)
AGAIN = Restarted(reason="killed")


def finished(text: str, *calls: ToolCall) -> Finished:
    return Finished(text=text, finish_reason=FinishReason.STOP, usage=USAGE, tool_calls=calls)


def call(number: int, arguments: str = "{}") -> ToolCall:
    return ToolCall(id=f"call-{number}", name="look", arguments=arguments)


def deltas(text: str, cuts: list[int]) -> list[Delta]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [Delta(text=text[a:b], tokens=1) for a, b in pairwise(places)]


def shown(events: list[StreamEvent]) -> list[StreamEvent]:
    part = Continuation()
    return [fresh for event in events if (fresh := part.take(event)) is not None]


CUTS = st.lists(st.integers(0, 50), max_size=8)


@given(text=st.text(max_size=40), first=CUTS, again=CUTS, died_after=st.integers(0, 8))
def test_an_answer_that_is_repeated_word_for_word_is_seen_once(
    text: str, first: list[int], again: list[int], died_after: int
) -> None:
    events: list[StreamEvent] = [
        *deltas(text, first)[:died_after],
        AGAIN,
        *deltas(text, again),
        finished(text),
    ]
    seen = shown(events)
    assert "".join(event.text for event in seen if isinstance(event, Delta)) == text
    assert isinstance(seen[-1], Finished)


@given(sent=st.text(min_size=1, max_size=10), other=st.text(max_size=10), cuts=CUTS)
def test_another_answer_ends_the_stream_before_anything_of_it_is_seen(
    sent: str, other: str, cuts: list[int]
) -> None:
    part = Continuation()
    part.take(Delta(text=sent, tokens=1))
    part.take(AGAIN)
    if other.startswith(sent):
        return
    seen: list[StreamEvent | None] = []
    with pytest.raises(Refusal) as raised:
        seen.extend(part.take(event) for event in (*deltas(other, cuts), finished(other)))
    assert set(seen) <= {None}
    assert raised.value.status == 500
    assert raised.value.retry is True


@given(n=st.integers(1, 12), first=CUTS, again=CUTS, died_after=st.integers(0, 8))
def test_each_token_s_log_probability_is_seen_once_however_the_tokens_come_together(
    n: int, first: list[int], again: list[int], died_after: int
) -> None:
    tokens = [TokenLogprob(chosen=Alternative(token=at, data="", logprob=-1.0)) for at in range(n)]
    text = "".join("" if at % 3 == 0 else chr(97 + at) for at in range(n))  # some tokens bring no text yet

    def pieces(cuts: list[int]) -> list[StreamEvent]:
        places = sorted({0, n, *(cut % (n + 1) for cut in cuts)})
        return [
            Delta(
                text="".join("" if at % 3 == 0 else chr(97 + at) for at in range(a, b)),
                tokens=b - a,
                logprobs=tuple(tokens[a:b]),
            )
            for a, b in pairwise(places)
        ]

    seen = [
        event
        for event in shown([*pieces(first)[:died_after], AGAIN, *pieces(again)])
        if isinstance(event, Delta)
    ]
    assert "".join(event.text for event in seen) == text
    assert [each for event in seen for each in event.logprobs] == tokens


def test_a_call_is_seen_once_and_a_different_one_ends_the_stream() -> None:
    seen = shown([ToolCalled(call=call(1)), AGAIN, ToolCalled(call=call(7)), ToolCalled(call=call(2))])
    assert [event.call.id for event in seen if isinstance(event, ToolCalled)] == ["call-1", "call-2"]
    with pytest.raises(Refusal, match="wrote another one"):
        shown([ToolCalled(call=call(1)), AGAIN, ToolCalled(call=call(7, '{"a":1}'))])
    with pytest.raises(Refusal, match="wrote another one"):
        shown([ToolCalled(call=call(1)), AGAIN, finished("")])


def test_a_second_restart_is_borne_too() -> None:
    events: list[StreamEvent] = [
        Delta(text="one ", tokens=1), AGAIN, Delta(text="on", tokens=1), AGAIN, Delta(text="one two", tokens=1),
        finished("one two"),
    ]  # fmt: skip
    assert [event.text for event in shown(events) if isinstance(event, Delta)] == ["one ", "two"]
