"""Which models leave memory, and in which order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.models.residency import Residency, Resident, idle_ones, to_make_room

HOUSE = Residency(memory_bytes=1000, idle_s=900.0)


def resident(key: str, **changes: Any) -> Resident:
    fields: dict[str, Any] = {
        "memory_bytes": 400,
        "idle_s": 0.0,
        "in_use": False,
        "is_default": False,
        "reload_s": 10.0,
        "due_s": None,
    }
    return Resident(key=key, **{**fields, **changes})


def test_what_nobody_used_for_a_quarter_of_an_hour_goes_but_the_default_model() -> None:
    models = [
        resident("old", idle_s=900.0),
        resident("young", idle_s=899.0),
        resident("busy", idle_s=0.0, in_use=True),
        resident("default", idle_s=9000.0, is_default=True),
    ]
    assert idle_ones(models, HOUSE) == ["old"]
    generous = Residency(memory_bytes=1000, idle_s=900.0, unload_default=True)
    assert idle_ones(models, generous) == ["old", "default"]


def test_a_model_stays_when_a_run_is_nearer_than_a_reload_is_long() -> None:
    near, far = resident("near", idle_s=1e6, due_s=20.0), resident("far", idle_s=1e6, due_s=21.0)
    assert idle_ones([near, far], HOUSE) == ["far"]


def test_room_is_made_by_the_least_recently_used_and_only_as_much_as_needed() -> None:
    models = [
        resident("a", idle_s=5.0),
        resident("b", idle_s=50.0),
        resident("c", idle_s=1.0, memory_bytes=100),
    ]
    assert to_make_room(models, 100, HOUSE) == []
    assert to_make_room(models, 101, HOUSE) == ["b"]
    assert to_make_room(models, 700, HOUSE) == ["b", "a"]


def test_the_default_model_goes_after_the_others_and_one_that_is_due_goes_last() -> None:
    models = [
        resident("due", idle_s=99.0, due_s=1.0),
        resident("default", idle_s=98.0, is_default=True),
        resident("other", idle_s=1.0),
    ]
    assert to_make_room(models, 1000, HOUSE) == ["other", "default", "due"]


def test_what_is_in_use_never_goes() -> None:
    assert to_make_room([resident("a", in_use=True), resident("b", in_use=True)], 1000, HOUSE) == []


RESIDENTS = st.lists(
    st.builds(
        resident,
        st.integers(0, 10**6).map(str),
        memory_bytes=st.integers(0, 1000),
        idle_s=st.floats(0, 10_000),
        in_use=st.booleans(),
        is_default=st.booleans(),
        due_s=st.none() | st.floats(0, 100),
    ),
    max_size=8,
    unique_by=lambda each: each.key,
)


@given(models=RESIDENTS, needed=st.integers(0, 2000))
def test_it_fits_afterwards_or_nothing_is_left_to_go(models: list[Resident], needed: int) -> None:
    leaving = set(to_make_room(models, needed, HOUSE))
    staying = [each for each in models if each.key not in leaving]
    assert not any(each.in_use for each in models if each.key in leaving)
    fits = sum(each.memory_bytes for each in staying) + needed <= HOUSE.memory_bytes
    assert fits or all(each.in_use for each in staying)
