"""What to do with each file, decided from states and looks alone."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agents.core import FileState
from agents.watching.reconcile import Plan, Seen, reconcile
from agents.watching.rules import FolderRule
from agents.watching.settle import Settling, Signature, has_settled, observe

INBOX = Path("/inbox")
RULE = FolderRule(
    folder=INBOX,
    root=INBOX,
    patterns=("*",),
    recursive=True,
    settle_s=2.0,
    trigger_key="file_changed:1",
    storm_files=200,
)
NOW_NS = 1_000_000_000_000

signatures = st.builds(
    Signature, size_bytes=st.integers(0, 3), mtime_ns=st.integers(0, NOW_NS), inode=st.integers(1, 3)
)
names = st.sampled_from(["a", "b", "c", "d"])


def seen(name: str, signature: Signature) -> Seen:
    return Seen(path=INBOX / name, signature=signature, rule=RULE)


def state(name: str, signature: Signature, content_hash: str = "hash") -> FileState:
    return FileState(
        path=INBOX / name,
        size_bytes=signature.size_bytes,
        mtime_ns=signature.mtime_ns,
        inode=signature.inode,
        content_hash=content_hash,
    )


def plan_for(
    *files: Seen,
    known: tuple[FileState, ...] = (),
    settling: dict[Path, Settling] | None = None,
    now_s: float = 100.0,
    wall_ns: int | None = None,
    complete: bool = True,
) -> Plan:
    return reconcile(
        known={state.path: state for state in known},
        settling=settling or {},
        seen=files,
        now_s=now_s,
        wall_ns=wall_ns,
        look_again=lambda state: state.content_hash == "unread",
        complete=complete,
    )


FRESH = Signature(size_bytes=1, mtime_ns=NOW_NS, inode=1)
OLD = Signature(size_bytes=1, mtime_ns=NOW_NS - 60 * 10**9, inode=1)


def test_a_new_file_waits_until_it_has_rested() -> None:
    plan = plan_for(seen("a", FRESH))
    assert plan.due == ()
    later = plan_for(seen("a", FRESH), settling=dict(plan.settling), now_s=101.9)
    assert later.due == ()
    last = plan_for(seen("a", FRESH), settling=dict(later.settling), now_s=102.0)
    assert [file.path.name for file in last.due] == ["a"]


def test_a_change_begins_the_rest_anew() -> None:
    plan = plan_for(seen("a", FRESH))
    grown = Signature(size_bytes=2, mtime_ns=NOW_NS, inode=1)
    later = plan_for(seen("a", grown), settling=dict(plan.settling), now_s=102.0)
    assert later.due == ()
    assert later.settling[INBOX / "a"].settled_at_s == 104.0


def test_an_old_file_is_due_at_once_where_its_age_counts() -> None:
    assert plan_for(seen("a", OLD)).due == ()
    assert len(plan_for(seen("a", OLD), wall_ns=NOW_NS).due) == 1


def test_a_file_from_the_future_waits_like_any_other() -> None:
    ahead = Signature(size_bytes=1, mtime_ns=NOW_NS + 3600 * 10**9, inode=1)
    plan = plan_for(seen("a", ahead), wall_ns=NOW_NS)
    assert plan.due == ()
    assert plan.settling[INBOX / "a"].settled_at_s == 102.0


def test_an_unchanged_file_is_left_alone_unless_it_was_never_read() -> None:
    assert plan_for(seen("a", OLD), known=(state("a", OLD),), wall_ns=NOW_NS) == plan_for()
    assert len(plan_for(seen("a", OLD), known=(state("a", OLD, "unread"),)).due) == 1


def test_only_a_complete_look_lets_files_vanish() -> None:
    known = (state("a", OLD), state("b", OLD))
    assert plan_for(seen("a", OLD), known=known).vanished == (INBOX / "b",)
    assert plan_for(seen("a", OLD), known=known, complete=False).vanished == ()


@given(
    files=st.dictionaries(names, signatures), known=st.dictionaries(names, signatures), complete=st.booleans()
)
def test_each_file_has_exactly_one_fate(
    files: dict[str, Signature], known: dict[str, Signature], complete: bool
) -> None:
    plan = plan_for(
        *(seen(name, signature) for name, signature in files.items()),
        known=tuple(state(name, signature) for name, signature in known.items()),
        wall_ns=NOW_NS,
        complete=complete,
    )
    changed = {INBOX / name for name, signature in files.items() if known.get(name) != signature}
    assert set(plan.settling) == changed
    assert {file.path for file in plan.due} <= changed
    assert set(plan.vanished) == (
        {INBOX / name for name in known if name not in files} if complete else set()
    )
    ages = [file.signature.mtime_ns for file in plan.due]
    assert ages == sorted(ages, reverse=True)


@given(looks=st.lists(st.tuples(st.floats(0.01, 3.0), signatures), min_size=1, max_size=20))
def test_a_file_settles_exactly_when_it_has_not_changed_for_long_enough(
    looks: list[tuple[float, Signature]],
) -> None:
    settling, now_s, since_s = None, 0.0, 0.0
    last: Signature | None = None
    for pause_s, signature in looks:
        now_s += pause_s
        if signature != last:
            last, since_s = signature, now_s
        settling = observe(settling, signature, now_s=now_s, settle_s=2.0)
        assert has_settled(settling, now_s=now_s) == (since_s + 2.0 <= now_s)
