"""One answer from its first token to its end: limits, stop strings, held-back bytes, counts."""

from engine.core import FinishReason, SamplingParams
from engine.generation import Chosen, Generation, TokenChooser
from engine.scheduler import Sequence


class ScriptedChooser(TokenChooser):
    """Gives the listed token runs; complete once they are used up, if asked to be."""

    def __init__(self, runs: list[list[int]], *, completes: bool = False) -> None:
        self._runs = runs
        self._completes = completes

    @property
    def complete(self) -> bool:
        return self._completes and not self._runs

    def choose(self, row: int) -> Chosen:
        return Chosen(tokens=self._runs.pop(0) if self._runs else [])

    def close(self) -> None:
        pass


def generation(
    runs: list[list[int]] | bytes,
    *,
    n_prompt: int = 2,
    n_ctx: int = 100,
    completes: bool = False,
    **sampling: object,
) -> Generation:
    script = [[byte] for byte in runs] if isinstance(runs, bytes) else runs
    ticks = iter(range(1000))
    return Generation(
        sequence=Sequence(request_id="r", tokens=[0] * n_prompt, n_prompt=n_prompt),
        sampling=SamplingParams(**sampling),  # type: ignore[arg-type]
        n_ctx=n_ctx,
        chooser=ScriptedChooser(script, completes=completes),
        piece=lambda token: bytes([token]),
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
