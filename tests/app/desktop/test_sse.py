"""The parser of server-sent events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.desktop.link.sse import MAX_EVENT_BYTES, SseParser, StreamTooLongError

line_ends = st.sampled_from(["\n", "\r\n", "\r"])
payload_lines = st.text(
    st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), min_size=1, max_size=30
)


def test_gives_the_payload_of_each_event() -> None:
    assert SseParser().feed(b"data: one\n\ndata: two\n\n") == ["one", "two"]


def test_an_event_is_given_only_when_it_is_complete() -> None:
    parser = SseParser()
    assert parser.feed(b"data: {") == []
    assert parser.feed(b"}\n") == []
    assert parser.feed(b"\n") == ["{}"]


def test_comments_ids_and_names_are_skipped() -> None:
    assert SseParser().feed(b": alive\n\nid: 7\nevent: run\ndata: x\n\n") == ["x"]


def test_lines_of_one_event_are_joined() -> None:
    assert SseParser().feed(b"data: a\ndata:\ndata: b\n\n") == ["a\n\nb"]


@given(
    events=st.lists(st.lists(payload_lines, min_size=1, max_size=3), max_size=5),
    end=line_ends,
    data=st.data(),
)
def test_chunks_may_be_cut_anywhere(events: list[list[str]], end: str, data: st.DataObject) -> None:
    stream = "".join("".join(f"data: {line}{end}" for line in event) + end for event in events).encode()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    parser, given_so_far = SseParser(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        given_so_far += parser.feed(stream[start:stop])
    assert given_so_far == ["\n".join(event) for event in events]


def test_an_endless_event_is_refused() -> None:
    parser = SseParser()
    parser.feed(b"data: " + b"x" * (MAX_EVENT_BYTES // 2))
    with pytest.raises(StreamTooLongError):
        parser.feed(b"x" * MAX_EVENT_BYTES)
