"""The steps down: what is given up first, what is never given up, and what the user is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.host.plan_words import explain
from engine.messages import Loaded
from engine.model import KvType, ModelSpec
from engine.plans import ALL_LAYERS, LoadPlan, ModelShape, host_bytes, ladder

SHAPE = ModelShape(n_layers=30, n_ctx_train=131_072, weight_bytes=1_000, kv_values_per_token=10)


def spec(**wishes: Any) -> ModelSpec:
    return ModelSpec(path=Path("/m.gguf"), name="m", **wishes)


def steps(plans: tuple[LoadPlan, ...]) -> list[tuple[int, int | None, str]]:
    return [(plan.n_gpu_layers, plan.n_ctx, plan.kv_type.value) for plan in plans]


def test_on_a_processor_the_cache_shrinks_first_and_then_the_context() -> None:
    assert steps(ladder(spec(), SHAPE, has_gpu=False)) == [
        (0, 8192, "f16"),
        (0, 8192, "q8_0"),
        (0, 4096, "q8_0"),
        (0, 2048, "q8_0"),
    ]


def test_with_a_gpu_everything_is_tried_there_then_part_of_it_then_the_processor() -> None:
    plans = steps(ladder(spec(), SHAPE, has_gpu=True))
    assert plans[:4] == [(ALL_LAYERS, n, k) for _, n, k in plans[-4:]]
    assert plans[4:-4] == [(layers, 2048, "q8_0") for layers in (15, 7, 3, 1)]
    assert plans[-4:] == steps(ladder(spec(), SHAPE, has_gpu=False))


def test_what_is_asked_for_is_in_every_plan() -> None:
    asked = spec(n_ctx=30_000, kv_type=KvType.Q4_0, n_gpu_layers=12)
    assert steps(ladder(asked, SHAPE, has_gpu=True)) == [(12, 30_000, "q4_0")]
    assert steps(ladder(asked, SHAPE, has_gpu=False)) == [(0, 30_000, "q4_0")]
    assert {plan.n_ctx for plan in ladder(spec(n_ctx=512), SHAPE, has_gpu=True)} == {512}


def test_a_short_context_is_never_chosen_and_a_model_s_own_is_never_exceeded() -> None:
    small = replace(SHAPE, n_ctx_train=1024)
    assert steps(ladder(spec(), small, has_gpu=False)) == [(0, 1024, "f16"), (0, 1024, "q8_0")]
    assert steps(ladder(spec(n_ctx=9999), small, has_gpu=False))[0] == (0, 1024, "f16")
    unknown = ladder(spec(), ModelShape(), has_gpu=False)
    assert unknown[0].n_ctx is None


def test_an_embedding_model_is_not_squeezed() -> None:
    shape = replace(SHAPE, n_ctx_train=512, embedding=True, n_layers=6)
    assert steps(ladder(spec(), shape, has_gpu=False)) == [(0, 512, "f16")]


@given(
    n_layers=st.none() | st.integers(1, 200),
    n_ctx_train=st.none() | st.integers(64, 2_000_000),
    n_ctx=st.none() | st.integers(64, 2_000_000),
    has_gpu=st.booleans(),
)
def test_each_step_takes_no_more_than_the_one_before(
    n_layers: int | None, n_ctx_train: int | None, n_ctx: int | None, has_gpu: bool
) -> None:
    shape = replace(SHAPE, n_layers=n_layers, n_ctx_train=n_ctx_train)
    plans = ladder(spec(n_ctx=n_ctx), shape, has_gpu=has_gpu)
    assert len(plans) == len(set(plans)) <= 20
    assert plans[-1].n_gpu_layers == 0
    on_processor = [host_bytes(plan, shape) for plan in plans if plan.n_gpu_layers == 0]
    assert on_processor == sorted(on_processor, reverse=True)


def test_the_least_that_a_plan_takes_is_weights_and_cache() -> None:
    assert host_bytes(LoadPlan(n_ctx=100), SHAPE) == 1_000 + 2_000
    assert host_bytes(LoadPlan(n_ctx=100, kv_type=KvType.Q8_0), SHAPE) == 1_000 + 1_062
    assert host_bytes(LoadPlan(n_ctx=100, n_gpu_layers=3), SHAPE) == 0


LOADED = Loaded(
    description="m",
    n_ctx=8192,
    n_ctx_train=131_072,
    n_vocab=1,
    n_params=1,
    n_layers=30,
    size_bytes=1,
    memory_bytes=1,
    kv_bytes=184_000_000,
    n_threads=1,
    n_slots=1,
    n_gpu_layers=0,
    kv_type=KvType.F16,
    flash_attention=True,
    has_chat_template=True,
)


def words(
    loaded: Loaded, *, model: ModelSpec | None = None, has_gpu: bool = False, devices: tuple[str, ...] = ()
) -> str:
    model = model or spec()
    shape = replace(SHAPE, n_ctx_train=loaded.n_ctx_train, embedding=loaded.embedding)
    return explain(loaded, model=model, best=ladder(model, shape, has_gpu=has_gpu)[0], devices=devices)


def test_the_plan_is_told_in_words() -> None:
    assert words(LOADED) == (
        "All on the processor: 30 layers, a context of 8,192 tokens, KV cache f16 (184 MB)."
    )
    on_gpu = replace(LOADED, n_gpu_layers=31)
    assert words(on_gpu, has_gpu=True, devices=("Big GPU",)).startswith(
        "All on the GPU (Big GPU): 30 layers,"
    )


def test_what_was_given_up_is_told_too() -> None:
    squeezed = replace(LOADED, n_ctx=4096, kv_type=KvType.Q8_0)
    assert words(squeezed).endswith("There was no room for 8,192 tokens in f16.")
    part = replace(squeezed, n_gpu_layers=7)
    assert words(part, has_gpu=True).startswith("7 of 30 layers on the GPU, the others on the processor, a")
    assert "The GPU has no room for more layers." in words(part, has_gpu=True)
    assert "The GPU could not be used." in words(LOADED, has_gpu=True)
    assert "no GPU that this engine can use" in words(LOADED, model=spec(n_gpu_layers=5))
    short = replace(LOADED, n_ctx=2048, n_ctx_train=2048)
    assert words(short, model=spec(n_ctx=9000)).endswith("trained for 2,048 tokens, so it gets no more.")
    assert words(short).endswith("(184 MB).")


def test_an_embedding_model_is_told_by_its_texts() -> None:
    embedder = replace(LOADED, embedding=True, n_ctx=512, n_ctx_train=512, n_layers=6, kv_bytes=0)
    assert words(embedder) == "All on the processor: 6 layers, texts of up to 512 tokens."
