"""Each row turns what was measured into medians, a ratio and a verdict; the contenders' speeds are known here."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from engine.bench.core import BenchFailed, Row
from engine.bench.rows.catalogue import ROWS
from engine.core import Priority
from tests.engine.bench.conftest import VALID_CALL, Clock, Make, Scripted, ScriptedOwn


async def only(name: str, stage: object) -> Row:
    rows = await ROWS[name](stage)  # type: ignore[arg-type]
    assert [row.name for row in rows] == [name]
    return rows[0]


@pytest.mark.parametrize(("name", "n_streams"), [("decode_1", 1), ("decode_8", 8), ("decode_contended", 1)])
async def test_decoding_is_tokens_a_second_over_all_streams(
    name: str, n_streams: int, make_stage: Make, ours: ScriptedOwn, clock: Clock
) -> None:
    ours.rate, peer = 120.0, Scripted(name="llama-server", clock=clock, rate=60.0)
    row = await only(name, make_stage(peer))
    assert row.ours == pytest.approx((120.0,) * 3)
    assert row.peer == pytest.approx((60.0,) * 3)
    assert row.ratio == pytest.approx(2.0)
    assert row.met is (name != "decode_contended")
    assert peer.opened == [n_streams]


async def test_all_are_asked_the_same_and_nothing_twice(
    make_stage: Make, ours: ScriptedOwn, clock: Clock
) -> None:
    peer = Scripted(name="llama-server", clock=clock)
    await ROWS["decode_8"](make_stage(peer))
    prompts = [request.prompt for request in ours.asked if request.sampling.max_tokens > 4]
    assert len(set(prompts)) == len(prompts) == 3 * 8
    assert sorted(str(request.prompt) for request in peer.asked[1:]) == sorted(map(str, prompts))
    assert {request.sampling.temperature for request in ours.asked} == {0.0}


async def test_without_a_peer_there_is_no_ratio_and_no_verdict(make_stage: Make) -> None:
    row = await only("decode_1", make_stage())
    assert (row.peer_median, row.ratio, row.met) == (None, None, None)
    assert row.ours_median == pytest.approx(100.0)


async def test_a_second_peer_gets_a_row_without_a_goal(make_stage: Make, clock: Clock) -> None:
    server = Scripted(name="llama-server", clock=clock)
    serial = Scripted(name="llama-cpp-python", clock=clock, concurrent=False)
    rows = await ROWS["decode_1"](make_stage(serial, server))
    assert [(row.name, row.peer_name) for row in rows] == [
        ("decode_1", "llama-server"),
        ("decode_1/llama-cpp-python", "llama-cpp-python"),
    ]
    assert [row.met for row in rows] == [True, None]
    assert serial.opened == [1]


async def test_a_peer_that_works_on_one_thing_only_is_not_asked_for_eight(
    make_stage: Make, clock: Clock
) -> None:
    serial = Scripted(name="llama-cpp-python", clock=clock, concurrent=False)
    row = await only("decode_8", make_stage(serial))
    assert (row.peer, serial.asked) == ((), [])


@pytest.mark.parametrize(
    ("ours_busy_s", "peer_busy_s", "verdicts"),
    [(0.25, 6.0, [True, True]), (0.25, 4.0, [False, True]), (0.5, 12.0, [True, False])],
)
async def test_a_question_beside_background_work_is_held_against_the_peer_and_against_our_idle_engine(
    ours_busy_s: float,
    peer_busy_s: float,
    verdicts: list[bool],
    make_stage: Make,
    ours: ScriptedOwn,
    clock: Clock,
) -> None:
    ours.busy_first_s = ours_busy_s
    peer = Scripted(name="llama-server", clock=clock, busy_first_s=peer_busy_s)
    rows = await ROWS["ttft_busy"](make_stage(peer))
    assert [row.name for row in rows] == ["ttft_busy", "ttft_busy_own_idle"]
    assert [row.met for row in rows] == verdicts
    assert rows[0].ratio == pytest.approx(peer_busy_s / ours_busy_s)
    assert (ours.given_up, peer.given_up) == (3 * 6, 3 * 6)


async def test_background_work_that_ended_before_the_question_is_no_measurement(
    make_stage: Make, ours: ScriptedOwn
) -> None:
    ours.short_background = 6
    with pytest.raises(BenchFailed, match="ended before it could disturb"):
        await ROWS["ttft_busy"](make_stage())


async def test_a_known_prefix_is_compared_with_reading_it_anew(make_stage: Make, ours: ScriptedOwn) -> None:
    ours.idle_first_s, ours.warm_first_s = 2.0, 0.1
    row = await only("ttft_warm_prefix", make_stage())
    assert (row.ours_median, row.peer_median, row.met) == (0.1, 2.0, True)
    assert row.ratio == pytest.approx(20.0)
    assert len(ours.known) == 3  # each time another prefix, so that the first reading is a cold one


async def test_tool_calls_that_are_not_all_valid_miss_the_goal_however_fast(
    make_stage: Make, ours: ScriptedOwn, clock: Clock
) -> None:
    ours.rate = 500.0
    peer = Scripted(name="llama-server", clock=clock, call=VALID_CALL.replace("kitchen", "cellar"))
    good = await only("tool_call", make_stage(peer))
    assert (good.ratio, good.met) == (pytest.approx(5.0), True)
    assert good.notes == ("hearth: 6 of 6 calls are valid", "llama-server: 0 of 6 calls are valid")
    ours.call = VALID_CALL[:-1]
    bad = await only("tool_call", make_stage(peer))
    assert (bad.ratio, bad.met) == (pytest.approx(5.0), False)


async def test_a_neighbour_s_loss_is_measured_against_its_own_time_alone(
    make_stage: Make, ours: ScriptedOwn, clock: Clock
) -> None:
    peer = Scripted(name="llama-server", clock=clock)
    stage = make_stage(peer, slowdown={"hearth": 1.02, "llama-server": 1.5})
    row = await only("neighbour", stage)
    assert row.ours_median == pytest.approx(2.0)
    assert row.peer_median == pytest.approx(50.0)
    assert (row.ratio, row.met) == (pytest.approx(25.0), True)
    agents = [request for request in ours.asked if request.priority is Priority.BACKGROUND]
    assert len(agents) == ours.given_up == 3 * 4


async def test_a_loss_too_small_to_be_measured_gives_no_endless_ratio(make_stage: Make, clock: Clock) -> None:
    peer = Scripted(name="llama-server", clock=clock)
    row = await only("neighbour", make_stage(peer, slowdown={"hearth": 0.99, "llama-server": 1.5}))
    assert row.ratio == pytest.approx(50.0)


@pytest.mark.parametrize(("share", "met"), [(0.04, True), (0.06, False)])
async def test_the_share_of_python_is_read_from_the_counters(
    share: float, met: bool, make_stage: Make, ours: ScriptedOwn
) -> None:
    ours.python_share = share
    row = await only("python_share", make_stage())
    assert (row.ours_median, row.met) == (pytest.approx(100 * share), met)


async def test_an_engine_that_counts_nothing_has_no_share(make_stage: Make, ours: ScriptedOwn) -> None:
    ours.rate = float("inf")
    row = await only("python_share", make_stage())
    assert (row.ours_median, row.met) == (None, None)


@pytest.mark.parametrize(("queued_ms", "met"), [(10.1, True), (10.5, False)])
async def test_a_queue_may_not_make_a_step_visibly_longer(
    queued_ms: float, met: bool, make_stage: Make, ours: ScriptedOwn
) -> None:
    ours.queued_step_s = queued_ms / 1000
    row = await only("queue_cost", make_stage())
    assert (row.ours_median, row.peer_median) == (pytest.approx(queued_ms), pytest.approx(10.0))
    assert row.met is met


async def test_the_roofline_is_bytes_read_over_bytes_that_could_be_read(
    make_stage: Make, ours: ScriptedOwn
) -> None:
    ours.rate = 120.0
    row = await only("roofline", make_stage())
    assert row.ours_median == pytest.approx(100 * 120.0 * 50e6 / 1e10)


@dataclass
class ScriptedEmbedder:
    name: str
    clock: Clock
    per_s: float
    texts: list[str] = field(default_factory=list)

    async def open(self, *, n_parallel: int) -> None: ...

    async def close(self) -> None: ...

    async def embed(self, texts: list[str]) -> None:
        self.texts += texts
        self.clock.now += len(texts) / self.per_s


async def test_embedding_is_passages_a_second(make_stage: Make, clock: Clock) -> None:
    pair = (ScriptedEmbedder("hearth", clock, 80.0), ScriptedEmbedder("llama-server", clock, 40.0))
    row = await only("embed", make_stage(embedders=pair))
    assert (row.ours_median, row.ratio) == (pytest.approx(80.0), pytest.approx(2.0))
    assert set(pair[0].texts[2:]) == set(pair[1].texts[2:])


async def test_without_an_embedding_model_there_is_no_such_row(make_stage: Make) -> None:
    assert await ROWS["embed"](make_stage()) == []


async def test_a_row_that_the_machine_makes_endless_takes_one_sample(
    make_stage: Make, ours: ScriptedOwn, clock: Clock
) -> None:
    ours.rate = 0.1  # 48 tokens take eight minutes
    peer = Scripted(name="llama-server", clock=clock)
    row = await only("decode_1", make_stage(peer))
    assert (len(row.ours), len(row.peer)) == (1, 1)
