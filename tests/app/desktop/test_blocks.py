"""Cutting a streaming Markdown text into blocks that never change again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.desktop.models.blocks import Block, BlockSplitter, blocks_of

markdown_lines = st.sampled_from(
    [
        "",
        "",
        "text",
        "- item",
        "1. first",
        "    indented",
        "```",
        "```python",
        "~~~",
        "# head",
        "> quote",
        "  more",
        "````",
    ]
)


def test_a_blank_line_closes_a_paragraph() -> None:
    assert [b.text for b in blocks_of("one\nstill one\n\ntwo")] == ["one\nstill one", "two"]


def test_what_is_closed_stays_while_the_tail_grows() -> None:
    splitter = BlockSplitter()
    splitter.feed("one\n\ntw")
    assert [b.text for b in splitter.closed] == ["one"]
    assert splitter.tail == Block(text="tw")
    splitter.feed("o")
    assert [b.text for b in splitter.closed] == ["one"]
    assert splitter.tail == Block(text="two")


def test_a_list_waits_for_what_the_next_line_will_be() -> None:
    splitter = BlockSplitter()
    splitter.feed("- a\n\n-")
    assert splitter.closed == []
    splitter.feed(" b\n\nt")
    assert [b.text for b in splitter.closed] == ["- a\n\n- b"]


def test_code_is_a_block_of_its_own_with_its_language() -> None:
    blocks = blocks_of("before\n```python title\nx = 1\n\ny = 2\n```\nafter")
    assert blocks == [
        Block(text="before"),
        Block(text="x = 1\n\ny = 2", is_code=True, language="python"),
        Block(text="after"),
    ]


def test_a_fence_inside_a_longer_fence_does_not_close_it() -> None:
    assert blocks_of("````\n```\ninner\n```\n````") == [Block(text="```\ninner\n```", is_code=True)]


def test_an_open_fence_streams_as_code_and_is_closed_by_the_end() -> None:
    splitter = BlockSplitter()
    splitter.feed("```\nprint(")
    assert splitter.tail == Block(text="print(", is_code=True)
    splitter.finish()
    assert splitter.closed == [Block(text="print(", is_code=True)]
    assert splitter.tail is None


@pytest.mark.parametrize("text", ["- a\n\n- b", "1. a\n\n   more of a\n\n2. b", "* a\n\n    deep"])
def test_a_loose_list_stays_one_block(text: str) -> None:
    assert [b.text for b in blocks_of(text)] == [text]


def test_text_after_a_list_begins_a_new_block() -> None:
    assert [b.text for b in blocks_of("- a\n\ntext")] == ["- a", "text"]


@given(st.lists(markdown_lines, max_size=14), st.data())
def test_pieces_of_any_size_give_the_same_blocks(lines: list[str], data: st.DataObject) -> None:
    text = "\n".join(lines)
    splitter, at = BlockSplitter(), 0
    while at < len(text):
        size = data.draw(st.integers(1, 7))
        before = list(splitter.closed)
        splitter.feed(text[at : at + size])
        assert splitter.closed[: len(before)] == before
        at += size
    splitter.finish()
    assert splitter.closed == blocks_of(text)


@given(st.lists(markdown_lines, max_size=14))
def test_no_word_is_lost(lines: list[str]) -> None:
    kept = "\n".join(block.text for block in blocks_of("\n".join(lines))).split()
    words = [w for line in lines if not line.startswith(("```", "~~~")) for w in line.split()]
    fences = [line for line in lines if line.startswith(("```", "~~~"))]
    assert [w for w in kept if w not in fences] == words
