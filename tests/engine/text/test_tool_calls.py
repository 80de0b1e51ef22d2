"""Calls are taken out of the text whole, and the grammar that holds them asks for what the reader understands."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import Message, Request, SamplingParams, Tool, ToolChoice
from engine.errors import RequestInvalid
from engine.text.tool_calls import CallStyle, CallTextReader, call_grammar, may_call, new_call_id

ARGUMENTS = (
    '{"city": "Paris"}',
    '{"text": "a \\"quoted\\" } brace", "deep": {"list": [1, {"x": "{"}]}}',
    "{}",
)


def written(style: CallStyle, *calls: tuple[str, str]) -> str:
    """An answer as the model writes it: calls in its format."""
    form = style.format
    bodies = [
        form.lead
        + (json.dumps(name)[1:-1] if form.name_is_json else name)
        + form.between
        + arguments
        + form.tail
        for name, arguments in calls
    ]
    start = "" if form.lead == form.begin else form.begin + form.opened
    return start + form.joint.join(bodies) + form.closed


def reader(style: CallStyle) -> CallTextReader:
    numbers = iter(range(100))
    return CallTextReader(style, new_id=lambda: f"id{next(numbers)}")


def read(style: CallStyle, answer: str, size: int) -> tuple[str, list[tuple[str, str, str]]]:
    """Feed an answer in pieces: the text outside, and the calls."""
    work = reader(style)
    text, found = "", []
    for at in range(0, len(answer), size):
        passed, calls = work.feed(answer[at : at + size])
        text += passed
        found += [(call.id, call.name, call.arguments) for call in calls]
    return text + work.flush(), found


@pytest.mark.parametrize("style", CallStyle)
@given(size=st.integers(1, 40), arguments=st.sampled_from(ARGUMENTS))
def test_a_call_in_any_pieces_is_read_as_it_was_written(style: CallStyle, size: int, arguments: str) -> None:
    assert read(style, written(style, ("look_up", arguments)), size) == ("", [("id0", "look_up", arguments)])


@pytest.mark.parametrize("style", [style for style in CallStyle if style.format.many])
@given(size=st.integers(1, 40))
def test_several_calls_are_read_in_their_order(style: CallStyle, size: int) -> None:
    calls = [("first", ARGUMENTS[0]), ("second", ARGUMENTS[1]), ("first", ARGUMENTS[2])]
    text, found = read(style, written(style, *calls), size)
    assert text == ""
    assert [(name, arguments) for _, name, arguments in found] == calls
    assert len({call_id for call_id, _, _ in found}) == 3


@pytest.mark.parametrize("style", [style for style in CallStyle if not style.format.at_start])
@given(size=st.integers(1, 40))
def test_text_before_the_calls_is_passed_on_and_no_piece_of_the_mark(style: CallStyle, size: int) -> None:
    answer = "I look < it [TOOL up.\n" + written(style, ("look_up", "{}"))
    assert read(style, answer, size) == ("I look < it [TOOL up.\n", [("id0", "look_up", "{}")])


@pytest.mark.parametrize("style", CallStyle)
@given(size=st.integers(1, 10))
def test_an_answer_without_calls_is_only_text(style: CallStyle, size: int) -> None:
    for answer in ("Hello <tool", "[TOOL_", '{"name', '{"nam": 1} {"name": "x"', ""):
        assert read(style, answer, size) == (answer, [])


def test_half_a_mark_is_held_back_until_it_is_decided() -> None:
    work = reader(CallStyle.HERMES)
    assert work.feed("yes <tool_")[0] == "yes "
    assert work.feed("box>")[0] == "<tool_box>"
    assert work.feed("<tool_call")[0] == ""
    assert work.flush() == "<tool_call"


def test_a_call_that_the_limit_cut_is_neither_text_nor_call() -> None:
    whole = written(CallStyle.HERMES, ("look_up", ARGUMENTS[1]))
    assert read(CallStyle.HERMES, "x" + whole[:-30], 3) == ("x", [])


def test_a_call_is_told_as_soon_as_its_arguments_are_complete() -> None:
    work = reader(CallStyle.HERMES)
    whole = written(CallStyle.HERMES, ("look_up", "{}"))
    _, calls = work.feed(whole[: whole.index("{}") + 2])
    assert [call.name for call in calls] == ["look_up"]


def test_a_name_with_signs_of_json_survives() -> None:
    name = 'odd "name" \\ ü'
    assert read(CallStyle.HERMES, written(CallStyle.HERMES, (name, "{}")), 5)[1] == [("id0", name, "{}")]


def test_ids_suit_the_strictest_templates() -> None:
    ids = {new_call_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(call_id) == 9 and call_id.isalnum() and call_id.isascii() for call_id in ids)


def asked(**changes: object) -> Request:
    fields: dict[str, object] = {
        "id": "r",
        "messages": (Message(role="user", content="hi"),),
        "sampling": SamplingParams(),
        "tools": (Tool(name="one", parameters={"properties": {"a": {"type": "string"}}}), Tool(name="two")),
    }
    return Request(**(fields | changes))  # type: ignore[arg-type]


def test_only_offered_tools_may_be_called() -> None:
    assert may_call(asked())
    assert not may_call(asked(tool_choice=ToolChoice.NONE))
    assert not may_call(asked(tools=()))


def schema_of(grammar: str, number: int) -> dict[str, object]:
    line = next(line for line in grammar.splitlines() if line.startswith(f"arguments_{number}: "))
    return json.loads(line.partition("%json ")[2])  # type: ignore[no-any-return]


def test_arguments_are_objects_and_hold_only_what_is_named_unless_the_schema_says_so() -> None:
    grammar = call_grammar(asked(), CallStyle.HERMES, {})
    assert (schema_of(grammar, 0)["type"], schema_of(grammar, 0)["additionalProperties"]) == ("object", False)
    assert "additionalProperties" not in schema_of(grammar, 1)
    wide = Tool(name="w", parameters={"properties": {"a": {}}, "additionalProperties": {"type": "string"}})
    assert schema_of(call_grammar(asked(tools=(wide,)), CallStyle.HERMES, {}), 0)["additionalProperties"] == {
        "type": "string"
    }


def test_parameters_that_are_no_object_are_refused_by_the_name_of_the_tool() -> None:
    with pytest.raises(RequestInvalid, match="'list_up'"):
        call_grammar(asked(tools=(Tool(name="list_up", parameters={"type": "array"}),)), CallStyle.HERMES, {})


def test_a_named_tool_is_the_only_one_in_the_grammar() -> None:
    grammar = call_grammar(asked(tool_choice=ToolChoice.REQUIRED, tool_name="two"), CallStyle.HERMES, {})
    assert '\\"two\\"' in grammar
    assert '\\"one\\"' not in grammar


def test_marks_that_are_control_tokens_stand_in_the_grammar_as_tokens() -> None:
    grammar = call_grammar(asked(), CallStyle.MISTRAL_ARGS, {"[TOOL_CALLS]": 9, "[ARGS]": 32})
    assert "[TOOL_CALLS]" not in grammar
    assert "[ARGS]" not in grammar
    assert '"one" <[32]>' in grammar


def test_free_text_of_an_answer_can_not_make_up_a_result() -> None:
    assert "<tool_response" in call_grammar(asked(), CallStyle.HERMES, {})
    assert "<tool_response" not in call_grammar(
        asked(tool_choice=ToolChoice.REQUIRED), CallStyle.HERMES, {}
    ), "a required call has no free text"
