"""What is tried after a load that had no room or crashed."""

from hypothesis import given
from hypothesis import strategies as st

from engine.host.descent import Descent, Rung
from engine.model import KvType
from engine.plans import LoadPlan
from engine.safe_settings import SafeMode

GPU, HALF = LoadPlan(n_gpu_layers=-1), LoadPlan(n_gpu_layers=15)
CPU, SMALL = LoadPlan(), LoadPlan(kv_type=KvType.Q8_0)


def test_no_room_steps_down_with_the_same_settings() -> None:
    descent = Descent([GPU, HALF, CPU, SMALL])
    descent.no_room()
    assert descent.rung == Rung(plan=HALF, mode=SafeMode.FULL_SPEED)
    assert not descent.host_was_short
    descent.no_room()
    descent.no_room()
    assert descent.rung == Rung(plan=SMALL, mode=SafeMode.FULL_SPEED)
    assert descent.host_was_short
    descent.no_room()
    assert descent.rung is None
    assert descent.ran_out_of_room


def test_a_crash_on_the_gpu_leaves_the_gpu_alone() -> None:
    descent = Descent([GPU, HALF, CPU, SMALL])
    descent.crashed()
    assert descent.rung == Rung(plan=CPU, mode=SafeMode.FULL_SPEED)
    descent.crashed()
    assert descent.rung == Rung(plan=CPU, mode=SafeMode.PLAIN_BUFFERS)


def test_who_insists_on_the_gpu_gets_more_careful_settings_there() -> None:
    descent = Descent([GPU])
    descent.crashed()
    assert descent.rung == Rung(plan=GPU, mode=SafeMode.PLAIN_BUFFERS)


def test_a_plan_that_fits_is_kept_through_the_careful_settings() -> None:
    descent = Descent([CPU, SMALL])
    descent.no_room()
    for mode in SafeMode:
        assert descent.rung == Rung(plan=SMALL, mode=mode)
        descent.crashed()
    assert descent.rung is None
    assert not descent.ran_out_of_room


@given(crashes=st.lists(st.booleans(), min_size=20, max_size=20))
def test_it_ends_and_never_tries_the_same_twice(crashes: list[bool]) -> None:
    descent, tried = Descent([GPU, HALF, CPU, SMALL]), list[Rung]()
    for crash in crashes:
        if descent.rung is None:
            break
        tried.append(descent.rung)
        if crash:
            descent.crashed()
        else:
            descent.no_room()
    assert descent.rung is None
    assert len(tried) == len(set(tried)) <= 7
