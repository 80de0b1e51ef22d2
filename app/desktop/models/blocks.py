"""Cuts a streaming Markdown text into blocks: closed ones never change again, only the tail does. Pure.

A blank line closes a block unless what follows still belongs to it: an indented line or the next item of a list.
A code fence closes with its own fence only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_LIST_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")

_MAYBE_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)]?)$")  # a line so short that it may become one


@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of Markdown that can be drawn by itself; for code `text` is what stands between the fences."""

    text: str
    is_code: bool = False
    language: str = ""


class BlockSplitter:
    """Feeds on pieces of any size. `closed` grows only at its end; `tail` is the block still being written."""

    def __init__(self) -> None:
        self.closed: list[Block] = []
        self._lines: list[str] = []  # whole lines of the open block
        self._line = ""  # the line still being written
        self._fence: str | None = None  # the fence that an open code block began with
        self._language = ""

    @property
    def tail(self) -> Block | None:
        """The open block, or None when there is nothing in it."""
        lines = [*self._lines, self._line] if self._line or self._fence is not None else self._lines
        text = "\n".join(lines)
        if self._fence is not None:
            return Block(text=text, is_code=True, language=self._language)
        return Block(text=text) if text.strip() else None

    def feed(self, piece: str) -> None:
        *whole, rest = (self._line + piece).split("\n")
        for line in whole:
            self._take(line.removesuffix("\r"))
        self._line = rest
        if rest.strip() and self._fence is None and not _MAYBE_ITEM.match(rest):
            self._begin_after_blank(
                rest
            )  # the words of a new paragraph: no need to wait for the end of its line

    def finish(self) -> None:
        """The text is complete: the tail is closed too."""
        if self._line:
            self._take(self._line)
            self._line = ""
        if self._fence is not None:
            self._close_code()
        else:
            self._close_text()

    def _take(self, line: str) -> None:
        fence = _FENCE.match(line)
        if self._fence is not None:
            closes = fence and fence[1].startswith(self._fence) and not fence[2]
            if closes:
                self._close_code()
            else:
                self._lines.append(line)
        elif fence:
            self._close_text()
            self._fence, self._language = fence[1], fence[2].strip().split(" ")[0]
        else:
            self._begin_after_blank(line)
            self._lines.append(line)

    def _begin_after_blank(self, line: str) -> None:
        if line.strip() and self._lines and not self._lines[-1].strip() and not self._belongs(line):
            self._close_text()

    def _belongs(self, line: str) -> bool:
        """Whether a line after a blank one goes on with the open block."""
        first = next((each for each in self._lines if each.strip()), "")
        return bool(_LIST_ITEM.match(first)) and (line[:1] in " \t" or bool(_LIST_ITEM.match(line)))

    def _close_text(self) -> None:
        text = "\n".join(self._lines).strip("\n")
        self._lines = []
        if text.strip():
            self.closed.append(Block(text=text))

    def _close_code(self) -> None:
        self.closed.append(Block(text="\n".join(self._lines), is_code=True, language=self._language))
        self._lines, self._fence, self._language = [], None, ""


def blocks_of(text: str) -> list[Block]:
    """A complete text in blocks."""
    splitter = BlockSplitter()
    splitter.feed(text)
    splitter.finish()
    return splitter.closed
