"""decode_1, decode_8, decode_contended: how fast answers are written, alone, eight at once, and beside a busy program."""

from __future__ import annotations

from engine.bench.core import Contender, Goal, Row
from engine.bench.stage import Stage
from engine.bench.turns import in_turns, open_all, rate_of, rows_against

MANY = 8


async def decode_1(stage: Stage) -> list[Row]:
    return await _decode(
        stage,
        n_streams=1,
        n_tokens=stage.scale.decode_tokens,
        row=_row("decode_1", "writing one answer on an otherwise idle machine", Goal(min_ratio=1.0)),
    )


async def decode_8(stage: Stage) -> list[Row]:
    return await _decode(
        stage,
        n_streams=MANY,
        n_tokens=stage.scale.stream_tokens,
        row=_row("decode_8", "writing eight answers at once, all together", Goal(min_ratio=1.0)),
    )


async def decode_contended(stage: Stage) -> list[Row]:
    async with stage.spinning(1):
        return await _decode(
            stage,
            n_streams=1,
            n_tokens=stage.scale.decode_tokens // 2,
            row=_row(
                "decode_contended",
                "writing one answer while another program keeps one core busy",
                Goal(min_ratio=5.0),
            ),
        )


def _row(name: str, meaning: str, goal: Goal) -> Row:
    return Row(name=name, meaning=meaning, unit="tokens/s", ours=(), goal=goal)


async def _decode(stage: Stage, *, n_streams: int, n_tokens: int, row: Row) -> list[Row]:
    """Tokens a second from sending to the end of the last answer; the prompts are short and their reading is part of it."""
    peers = [peer for peer in stage.peers if peer.concurrent or n_streams == 1]
    contenders = [stage.ours, *peers]
    await open_all(contenders, n_parallel=n_streams)

    async def warm_up(contender: Contender) -> None:
        await contender.answer(stage.workload.story(4))

    # the same prompts for all in one turn: what they answer decides how many characters, not how many tokens
    turns = [[stage.workload.story(n_tokens) for _ in range(n_streams)] for _ in range(stage.scale.repeat)]

    async def measure(contender: Contender, turn: int) -> float:
        return await rate_of(contender, turns[turn], stage.clock)

    samples = await in_turns(contenders, stage.turns(), measure, warm_up=warm_up)
    return rows_against(peers, samples, row.beside(samples[stage.ours.name]))
