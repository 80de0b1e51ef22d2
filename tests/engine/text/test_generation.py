"""One answer from its first token to its end: limits, stop strings, held-back bytes, counts."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from engine.core import Alternative, FinishReason, SamplingParams, TokenLogprob
from engine.schedule.sequence import Sequence
from engine.text.generation import Chosen, Generation, TokenChooser
from engine.text.tool_calls import CallStyle, CallTextReader


class ScriptedChooser(TokenChooser):
    """Gives the listed token runs; complete once they are used up, if asked to be."""

    def __init__(
        self,
        runs: list[list[int]],
        *,
        opening: list[int],
        completes: bool = False,
        with_logprobs: bool = False,
    ) -> None:
        self._opening = opening
        self._runs = runs
        self._completes = completes
        self._with_logprobs = with_logprobs
        self.rows: list[int] = []

    @property
    def complete(self) -> bool:
        return self._completes and not self._runs

    def opening(self) -> list[int]:
        return self._opening

    def choose(self, row: int) -> Chosen:
        self.rows.append(row)
        tokens = self._runs.pop(0) if self._runs else []
        return Chosen(tokens=tokens, logprobs=tuple(map(logprob, tokens)) if self._with_logprobs else ())

    def close(self) -> None:
        pass


def logprob(token: int) -> TokenLogprob:
    return TokenLogprob(chosen=Alternative(token=token, data="", logprob=-float(token)))


def generation(
    runs: list[list[int]] | bytes,
    *,
    n_prompt: int = 2,
    n_ctx: int = 100,
    completes: bool = False,
    with_logprobs: bool = False,
    calls: bool = False,
    opening: bytes = b"",
    **sampling: object,
) -> Generation:
    script = [[byte] for byte in runs] if isinstance(runs, bytes) else runs
    ticks = itertools.count()
    return Generation(
        sequence=Sequence(request_id="r", tokens=[0] * n_prompt, n_prompt=n_prompt),
        sampling=SamplingParams(**sampling),  # type: ignore[arg-type]
        n_ctx=n_ctx,
        chooser=ScriptedChooser(
            script, opening=list(opening), completes=completes, with_logprobs=with_logprobs
        ),
        piece=lambda token: bytes([token]),
        call_reader=CallTextReader(CallStyle.HERMES) if calls else None,
        clock=lambda: float(next(ticks)),
    )


def play(work: Generation) -> tuple[str, FinishReason, list[int]]:
    """Run to the end: the text, the reason, and the tokens reported by each step."""
    text, reported = "", []
    while True:
        step = work.advance((-1,))
        text += step.text
        reported.append(step.tokens)
        if step.finish_reason is not None:
            return text, step.finish_reason, reported


def test_the_model_ends_its_own_turn() -> None:
    text, reason, reported = play(generation(b"hello"))
    assert (text, reason) == ("hello", FinishReason.STOP)
    assert sum(reported) == 5


def test_max_tokens_cuts() -> None:
    text, reason, _ = play(generation(b"hello", max_tokens=3))
    assert (text, reason) == ("hel", FinishReason.LENGTH)


def test_the_context_cuts() -> None:
    text, reason, _ = play(generation(b"hello", n_prompt=6, n_ctx=8))
    assert (text, reason) == ("he", FinishReason.LENGTH)


def test_forced_tokens_do_not_pass_the_limit() -> None:
    work = generation([[104, 101, 108, 108]], max_tokens=3)
    assert play(work)[:2] == ("hel", FinishReason.LENGTH)
    assert work.sequence.n_generated == 3


def test_what_every_answer_begins_with_is_told_with_the_first_choice() -> None:
    work = generation(b"7}", opening=b'{"n":', completes=True)
    assert work.open() == 5
    assert work.sequence.n_generated == work.sequence.n_pending - 2 == 5, "computed together with the prompt"
    assert play(work) == ('{"n":7}', FinishReason.STOP, [6, 1])


def test_an_answer_that_leaves_no_choice_is_complete_at_its_opening() -> None:
    work = generation([], opening=b"yes", completes=True, max_tokens=3)
    work.open()
    assert play(work)[:2] == ("yes", FinishReason.STOP)


def test_an_opening_that_is_longer_than_the_limit_is_cut() -> None:
    work = generation([], opening=b"certainly", completes=True, max_tokens=4)
    assert work.open() == 4
    assert play(work)[:2] == ("cert", FinishReason.LENGTH)


def test_a_schema_that_is_complete_exactly_at_the_limit_is_a_stop() -> None:
    assert play(generation([[123], [125]], max_tokens=2, completes=True))[:2] == ("{}", FinishReason.STOP)


def test_a_complete_schema_needs_no_further_token() -> None:
    work = generation([[123, 125]], completes=True)
    step = work.advance((-1,))
    assert (step.text, step.tokens, step.finish_reason) == ("{}", 2, FinishReason.STOP)


def test_a_stop_string_ends_and_is_not_shown() -> None:
    assert play(generation(b"one END two", stop=("END",)))[:2] == ("one ", FinishReason.STOP)


def test_a_held_piece_of_a_stop_string_is_shown_when_the_model_ends() -> None:
    assert play(generation(b"one EN", stop=("END",)))[:2] == ("one EN", FinishReason.STOP)


def test_bytes_of_one_code_point_come_as_one_delta_that_counts_its_tokens() -> None:
    work = generation("€!".encode())
    assert [(step.text, step.tokens) for step in (work.advance((-1,)) for _ in range(4))] == [
        ("", 0),
        ("", 0),
        ("€", 3),
        ("!", 1),
    ]


def test_half_a_code_point_at_the_limit_is_dropped() -> None:
    text, reason, reported = play(generation("a€".encode(), max_tokens=2))
    assert (text, reason) == ("a", FinishReason.LENGTH)
    assert sum(reported) == 2


def test_usage_tells_prefill_and_decode_apart() -> None:
    work = generation(b"ab")
    work.begin()
    play(work)
    usage = work.usage()
    assert (usage.prompt_tokens, usage.completion_tokens) == (2, 2)
    assert usage.prefill_s > 0
    assert usage.decode_s > 0


def test_an_answer_that_never_began_has_no_decode_time() -> None:
    usage = generation(b"").usage()
    assert (usage.completion_tokens, usage.decode_s) == (0, 0.0)


def rows_of(work: Generation) -> list[int]:
    assert isinstance(work.chooser, ScriptedChooser)
    return work.chooser.rows


def test_guesses_that_the_chooser_shares_stand_and_bring_one_token_more() -> None:
    work = generation(b"hello")
    step = work.advance((7, 8, 9), drafts=b"he")
    assert (step.text, step.tokens, step.n_accepted) == ("hel", 3, 2)
    assert rows_of(work) == [7, 8, 9]


def test_the_first_guess_that_differs_ends_the_step_with_the_right_token() -> None:
    work = generation(b"hello")
    step = work.advance((0, 1, 2, 3), drafts=b"hex")
    assert (step.text, step.n_accepted) == ("hel", 2)
    assert rows_of(work) == [0, 1, 2]


def test_forced_tokens_are_held_against_the_guesses_too() -> None:
    work = generation([list(b"hel"), list(b"lo"), list(b"!")])
    step = work.advance(range(5), drafts=b"hell")
    assert (step.text, step.n_accepted) == ("hello", 4)
    assert rows_of(work) == [0, 3], "the rows behind forced tokens are never asked"


def test_an_end_inside_the_guesses_is_the_end() -> None:
    step = generation(b"he").advance(range(5), drafts=b"hell")
    assert (step.text, step.n_accepted, step.finish_reason) == ("he", 2, FinishReason.STOP)


def test_a_stop_string_inside_the_guesses_is_the_end() -> None:
    work = generation(b"a.bcd", stop=(".",))
    step = work.advance(range(5), drafts=b"a.bc")
    assert (step.text, step.n_accepted, step.finish_reason) == ("a", 2, FinishReason.STOP)
    assert work.sequence.n_generated == 2


def test_the_limit_holds_inside_the_guesses() -> None:
    work = generation(b"hello", max_tokens=2)
    step = work.advance(range(5), drafts=b"hell")
    assert (step.text, step.n_accepted, step.finish_reason) == ("he", 2, FinishReason.LENGTH)


@given(guesses=st.lists(st.binary(max_size=4), max_size=20), answer=st.binary(max_size=12))
def test_whatever_is_guessed_the_answer_is_the_same(guesses: list[bytes], answer: bytes) -> None:
    plain = play(generation(answer))[:2]
    work = generation(answer)
    text = ""
    for drafts in itertools.chain(guesses, itertools.repeat(b"")):
        n_before = len(work.sequence.tokens)
        step = work.advance(range(len(drafts) + 1), drafts=drafts)
        text += step.text
        assert work.sequence.tokens[n_before : n_before + step.n_accepted] == list(drafts[: step.n_accepted])
        if step.finish_reason is not None:
            assert (text, step.finish_reason) == plain
            break
    assert work.usage().accepted_tokens <= work.usage().drafted_tokens


def test_log_probabilities_come_with_the_text_of_their_tokens() -> None:
    work = generation("a€".encode(), with_logprobs=True)
    steps = [work.advance((-1,)) for _ in range(4)]
    counted = [(step.text, len(step.logprobs)) for step in steps]
    assert counted == [("a", 1), ("", 0), ("", 0), ("€", 3)]


CALL = b'<tool_call>\n{"name": "look_up", "arguments": {"a": 1}}\n</tool_call>'


def test_calls_are_told_whole_and_end_the_turn_as_such() -> None:
    work = generation(b"Sure. " + CALL, calls=True, with_logprobs=True)
    steps = []
    while not steps or steps[-1].finish_reason is None:
        steps.append(work.advance((-1,)))
    assert "".join(step.text for step in steps) == "Sure. "
    assert sum(len(step.logprobs) for step in steps) == len("Sure. ")
    assert [(call.name, call.arguments) for step in steps for call in step.calls] == [("look_up", '{"a": 1}')]
    assert steps[-1].finish_reason is FinishReason.TOOL_CALLS
    assert sum(step.tokens for step in steps) == work.usage().completion_tokens


def test_a_stop_string_in_the_arguments_of_a_call_stops_nothing() -> None:
    work = generation(CALL, calls=True, stop=("name",))
    while (step := work.advance((-1,))).finish_reason is None:
        pass
    assert step.finish_reason is FinishReason.TOOL_CALLS


def test_a_call_that_repeats_an_earlier_one_is_dropped_and_ends_the_turn() -> None:
    other = CALL.replace(b"1", b"2")
    work = generation(CALL + b"\n" + other + (b"\n" + CALL) * 9, calls=True, n_ctx=1000, max_tokens=900)
    steps = [work.advance((-1,))]
    while steps[-1].finish_reason is None:
        steps.append(work.advance((-1,)))
    assert [call.arguments for step in steps for call in step.calls] == ['{"a": 1}', '{"a": 2}']
    assert steps[-1].finish_reason is FinishReason.TOOL_CALLS
    assert len(steps) < 3 * (len(CALL) + 1), "the other repeats are not waited for"
    assert "".join(step.text for step in steps) == ""


def test_the_limit_behind_whole_calls_is_their_end_and_before_the_end_of_another_is_a_cut() -> None:
    whole = len(CALL)
    for n_tokens, reason in (
        (whole - 3, FinishReason.TOOL_CALLS),  # only the mark behind the arguments is missing
        (whole, FinishReason.TOOL_CALLS),
        (whole + 1, FinishReason.TOOL_CALLS),
        (whole + 5, FinishReason.LENGTH),
        (2 * whole - 20, FinishReason.LENGTH),
    ):
        text = CALL + b"\n" + CALL.replace(b"1", b"2")
        assert play(generation(text, calls=True, n_ctx=1000, max_tokens=n_tokens))[:2] == ("", reason), (
            n_tokens
        )


def test_a_call_that_the_limit_cuts_is_no_call() -> None:
    text, reason, _ = play(generation(b"Hm" + CALL, calls=True, max_tokens=30))
    assert (text, reason) == ("Hm", FinishReason.LENGTH)
