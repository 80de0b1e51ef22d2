"""Reads YAML front matter strictly: every problem is one sentence with the line of the file it is on."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from agents.errors import UsageProblem

FENCE = "---"
MAX_FRONT_CHARS = 65_536  # what the YAML parser, which is slow, is ever given

_STR, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_BOOL, _INT, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_UNWANTED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_NEEDS_QUOTES = frozenset("*&@%`")  # what YAML gives a meaning of its own at the beginning of a text
_TRUE_WORDS = frozenset({"yes", "true", "on"})  # YAML 1.1 resolves no other words to a true


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text together with the line it stands on."""

    value: str
    line: int


@dataclass(frozen=True, kw_only=True)
class FrontMatter:
    """A file in two halves: the checked keys, and the Markdown below them."""

    fields: Fields
    body: str = field(repr=False)
    end_line: int  # of the front matter: the fence above the body


def refuse(line: int, what: str) -> NoReturn:
    """Raises the one sentence that every problem of an agent file is told in."""
    raise UsageProblem(f"Line {line}: {what}")


def is_plain_line(text: str) -> bool:
    """Whether a text can stand on one line of a file: no control characters, line breaks or lone surrogates."""
    return all(unicodedata.category(character) not in _UNWANTED_CATEGORIES for character in text)


def read_front_matter(source: str, *, keys: Sequence[str]) -> FrontMatter:
    """Splits `source` at its fences and reads the top-level mapping, which may hold `keys` and no others."""
    lines = source.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    _refuse_broken_unicode(lines)
    if lines[0].rstrip() != FENCE:
        refuse(1, f"the front matter is missing; begin the file with a line of {FENCE}.")
    closing = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), None)
    if closing is None:
        refuse(len(lines), f"the front matter does not end; close it with a line of {FENCE}.")
    front = "\n".join(lines[1:closing])
    if len(front) > MAX_FRONT_CHARS:
        refuse(1, f"the front matter is longer than {MAX_FRONT_CHARS:,} characters; shorten it.")
    fields = Fields(_compose(front), keys=keys, owner="the front matter")
    return FrontMatter(fields=fields, body="\n".join(lines[closing + 1 :]).strip(), end_line=closing + 1)


class Fields:
    """One YAML mapping with a closed set of keys; values are taken by name and checked as they are."""

    def __init__(self, node: yaml.Node | None, *, keys: Sequence[str], owner: str) -> None:
        self.line = _line(node)
        self._owner = owner
        self._values: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode):
            refuse(self.line, f"{owner} must consist of 'key: value' lines.")
        for key_node, value_node in node.value:
            # The raw text, not the resolved value: YAML 1.1 reads a plain `on` as true.
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if key not in keys:
                refuse(_line(key_node), f"unknown key '{key}'{_suggestion(key, keys)}")
            if key in self._values:
                refuse(_line(key_node), f"the key '{key}' is there twice; keep one of them.")
            self._values[key] = value_node

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def line_of(self, key: str) -> int:
        """The line of the key's value, or of the mapping when the key is not there."""
        return _line(self._values[key]) if key in self._values else self.line

    def text(self, key: str, *, max_chars: int) -> str:
        """A text of one line that is not blank."""
        return self._text(self._take(key), f"'{key}'", max_chars).value

    def texts(self, key: str, *, max_items: int, max_chars: int) -> list[Text]:
        """A list of such texts, each with its line; it may be empty."""
        return [self._text(item, f"each of '{key}'", max_chars) for item in self._list(key, max_items)]

    def written(self, key: str, *, max_chars: int) -> Text:
        """What stands there to the letter, whatever YAML takes it for: 18:00 is a number to YAML 1.1."""
        node = self._take(key)
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL or not str(node.value).strip():
            refuse(_line(node), f"'{key}' must be one line of text.")
        return self._checked(str(node.value).strip(), f"'{key}'", max_chars, _line(node))

    def text_lists(self, key: str, *, max_items: int, max_chars: int) -> list[list[Text]]:
        """A list of lists of texts; no inner one is empty."""
        lists: list[list[Text]] = []
        for item in self._list(key, max_items):
            if not isinstance(item, yaml.SequenceNode) or not item.value:
                refuse(_line(item), f"each of '{key}' must be a list, such as [/usr/bin/test, -f, /tmp/x].")
            if len(item.value) > max_items:
                refuse(_line(item), f"each of '{key}' may have {max_items} parts at most; shorten it.")
            lists.append([self._text(part, f"each part of '{key}'", max_chars) for part in item.value])
        return lists

    def lines_of(self, key: str) -> list[int]:
        """The line of each entry of a list."""
        node = self._take(key)
        return [_line(item) for item in node.value] if isinstance(node, yaml.SequenceNode) else []

    def flag(self, key: str) -> bool:
        node = self._take(key)
        if not isinstance(node, yaml.ScalarNode) or node.tag != _BOOL:
            refuse(_line(node), f"'{key}' must be true or false.")
        return str(node.value).lower() in _TRUE_WORDS

    def number(self, key: str, *, low: float, high: float) -> float:
        node = self._take(key)
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_INT, _FLOAT):
            refuse(_line(node), f"'{key}' must be a number.")
        try:
            value = float(node.value)
        except ValueError:  # forms like 1:30 or .inf, which YAML calls numbers
            refuse(_line(node), f"'{key}' must be a plain number.")
        if not low <= value <= high:
            refuse(_line(node), f"'{key}' must be between {low:g} and {high:g}.")
        return value

    def whole_number(self, key: str, *, low: int, high: int) -> int:
        value = self.number(key, low=low, high=high)
        if value != int(value):
            refuse(self.line_of(key), f"'{key}' must be a whole number.")
        return int(value)

    def mapping(self, key: str, *, keys: Sequence[str]) -> Fields:
        return Fields(self._take(key), keys=keys, owner=f"'{key}'")

    def kinds(self, key: str, *, by: str, keys: Mapping[str, Sequence[str]], max_items: int) -> list[Fields]:
        """A list of mappings of several kinds: what stands under `by` tells which `keys` one may hold."""
        every = tuple(dict.fromkeys(name for names in keys.values() for name in (by, *names)))
        found: list[Fields] = []
        for item in self._list(key, max_items):
            owner = f"each of '{key}'"
            kind = Fields(item, keys=every, owner=owner).choice(by, tuple(keys))
            found.append(Fields(item, keys=(by, *keys[kind]), owner=f"the {key[:-1]} '{kind}'"))
        return found

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """One word of a closed set."""
        value = self.text(key, max_chars=100)
        if value not in choices:
            words = " or ".join(f"'{choice}'" for choice in choices)
            refuse(self.line_of(key), f"'{key}' must be {words}.")
        return value

    def _take(self, key: str) -> yaml.Node:
        if key not in self._values:
            refuse(self.line, f"{self._owner} has no '{key}'; add it.")
        return self._values[key]

    def _list(self, key: str, max_items: int) -> list[yaml.Node]:
        node = self._take(key)
        if not isinstance(node, yaml.SequenceNode):
            refuse(_line(node), f"'{key}' must be a list.")
        if len(node.value) > max_items:
            refuse(_line(node), f"'{key}' has more than {max_items} entries; shorten it.")
        return list(node.value)

    @staticmethod
    def _text(node: yaml.Node, what: str, max_chars: int) -> Text:
        line = _line(node)
        if isinstance(node, yaml.ScalarNode) and (node.tag == _NULL or not str(node.value).strip()):
            refuse(line, f"{what} is empty; fill it in.")
        if not isinstance(node, yaml.ScalarNode) or node.tag != _STR:
            refuse(line, f"{what} must be text; put it in quotes.")
        return Fields._checked(str(node.value), what, max_chars, line)

    @staticmethod
    def _checked(value: str, what: str, max_chars: int, line: int) -> Text:
        if len(value) > max_chars:
            refuse(line, f"{what} is longer than {max_chars:,} characters; shorten it.")
        if not is_plain_line(value):
            refuse(line, f"{what} must be one line of text without control characters.")
        return Text(value=value, line=line)


def _compose(front: str) -> yaml.Node | None:
    """The node tree, which keeps line marks and which no tag can turn into an object."""
    try:
        return yaml.compose(front, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 2 if mark else 2
        first = error.context_mark or error.problem_mark
        if first is not None and (character := front[first.index : first.index + 1]) in _NEEDS_QUOTES:
            refuse(
                line,
                f"to YAML a '{character}' that begins a text is a sign of its own; put the text in quotes.",
            )
        detail = re.sub(r"\s+", " ", error.problem or "it can't be read")
        raise UsageProblem(f"Line {line}: this is not valid YAML ({detail}).") from error
    except yaml.reader.ReaderError as error:
        line = front.count("\n", 0, error.position) + 2
        raise UsageProblem(f"Line {line}: a character is not allowed here; remove it.") from error
    except RecursionError as error:
        raise UsageProblem("Line 2: the front matter is nested too deeply; flatten it.") from error


def _refuse_broken_unicode(lines: Sequence[str]) -> None:
    for number, line in enumerate(lines, 1):
        try:
            line.encode()
        except UnicodeEncodeError:
            refuse(number, "this is not valid Unicode; save the file as UTF-8.")


def _suggestion(key: str, keys: Sequence[str]) -> str:
    close = difflib.get_close_matches(key.lower(), keys, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(keys)}."


def _line(node: yaml.Node | None) -> int:
    """Counted from 1, and the opening fence is a line too."""
    return node.start_mark.line + 2 if node is not None else 2
