"""Which texts go into the next batch: the urgent first, the old among equals, none too late and none forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.child.embedding_line import MAX_WAIT_S, EmbeddingBatch, EmbeddingJob, EmbeddingLine
from engine.core import Priority

BATCH_TOKENS = 32
N_SEQUENCES = 4


def job(*lengths: int, job_id: str = "a", priority: Priority = Priority.NORMAL) -> EmbeddingJob:
    return EmbeddingJob(id=job_id, priority=priority, texts=[[1] * length for length in lengths])


def line_of(*jobs: EmbeddingJob) -> EmbeddingLine:
    line = EmbeddingLine(n_sequences=N_SEQUENCES, batch_tokens=BATCH_TOKENS)
    for each in jobs:
        line.add(each, 0.0)
    return line


def next_of(line: EmbeddingLine, now_s: float = 0.0) -> EmbeddingBatch:
    batch = line.next_batch(now_s)
    assert batch is not None
    return batch


def lengths(batch: EmbeddingBatch) -> list[int]:
    return [len(text) for text in batch.texts]


def finish(line: EmbeddingLine, batch: EmbeddingBatch) -> None:
    for each, place in batch.parts:
        each.vectors[place] = b""
        if each.is_done:
            line.remove(each)


def test_a_batch_is_filled_with_the_longest_texts_that_still_fit() -> None:
    line = line_of(job(5, 20, 9, 30, 3))
    assert lengths(next_of(line)) == [30]
    assert lengths(next_of(line)) == [20, 9, 3]
    assert lengths(next_of(line)) == [5]
    assert line.next_batch(0.0) is None


def test_a_batch_takes_texts_of_several_jobs_of_a_class_and_of_no_other() -> None:
    line = line_of(job(8, job_id="a"), job(8, job_id="b"), job(8, job_id="c", priority=Priority.BACKGROUND))
    batch = next_of(line)
    assert batch.ids == {"a", "b"}
    assert [part.ids for part in batch.by_job()] == [{"a"}, {"b"}]


def test_no_batch_has_more_texts_than_the_model_takes() -> None:
    line = line_of(job(*[1] * (N_SEQUENCES + 1)))
    assert len(next_of(line).parts) == N_SEQUENCES
    assert len(next_of(line).parts) == 1


def test_a_text_longer_than_a_batch_goes_alone_and_in_its_turn() -> None:
    line = line_of(job(BATCH_TOKENS + 9, 2), job(1, job_id="b"))
    assert lengths(next_of(line)) == [BATCH_TOKENS + 9]
    assert lengths(next_of(line)) == [2, 1]


def test_an_urgent_job_is_served_before_those_that_came_first() -> None:
    line = line_of(
        job(8, job_id="late", priority=Priority.BACKGROUND),
        job(8, job_id="soon", priority=Priority.NORMAL),
        job(8, job_id="now", priority=Priority.INTERACTIVE),
    )
    order = []
    while (batch := line.next_batch(0.0)) is not None:
        order.extend(batch.ids)
        finish(line, batch)
    assert order == ["now", "soon", "late"]


def test_a_class_that_waited_long_gets_one_text_and_is_not_interrupted() -> None:
    line = line_of(job(*[8] * 50), job(4, 4, job_id="late", priority=Priority.BACKGROUND))
    assert next_of(line, MAX_WAIT_S / 2).ids == {"a"}
    overdue = next_of(line, MAX_WAIT_S)
    assert (overdue.ids, len(overdue.parts), overdue.is_overdue) == ({"late"}, 1, True)
    assert next_of(line, MAX_WAIT_S).ids == {"a"}
    assert next_of(line, 2 * MAX_WAIT_S).ids == {"late"}


def test_a_class_that_had_nothing_to_do_does_not_count_as_waiting() -> None:
    line = line_of(job(*[8] * 50))
    line.add(job(4, job_id="late", priority=Priority.BACKGROUND), 10 * MAX_WAIT_S)
    assert next_of(line, 10 * MAX_WAIT_S + 0.1).ids == {"a"}


def test_background_work_that_is_not_allowed_waits_however_long() -> None:
    line = line_of(job(4, job_id="late", priority=Priority.BACKGROUND))
    line.allow_background(False)
    assert line.next_batch(10 * MAX_WAIT_S) is None
    line.allow_background(True)
    assert next_of(line).ids == {"late"}


def test_texts_of_a_batch_that_was_not_computed_are_in_the_next_one() -> None:
    line = line_of(job(5, 20, 9))
    batch = next_of(line)
    line.put_back(batch)
    assert lengths(next_of(line)) == lengths(batch)


PRIORITIES = st.sampled_from(list(Priority))
JOBS = st.lists(st.tuples(PRIORITIES, st.lists(st.integers(1, 40), min_size=1, max_size=12)), max_size=12)


@given(jobs=JOBS, fails=st.sets(st.integers(0, 40)), step_s=st.sampled_from([0.0, 0.5, 3.0]))
def test_every_text_is_computed_once_whatever_comes(
    jobs: list[tuple[Priority, list[int]]], fails: set[int], step_s: float
) -> None:
    made = [
        job(*sizes, job_id=str(number), priority=priority) for number, (priority, sizes) in enumerate(jobs)
    ]
    line = line_of(*made)
    seen: list[tuple[str, int]] = []
    now_s, n_batches = 0.0, 0
    while (batch := line.next_batch(now_s)) is not None:
        n_batches += 1
        now_s += step_s
        assert len(batch.parts) <= N_SEQUENCES
        assert batch.n_tokens <= BATCH_TOKENS or len(batch.parts) == 1
        assert {part.priority for part, _ in batch.parts} == {batch.priority}
        if n_batches in fails:
            line.put_back(batch)
            continue
        seen.extend((each.id, place) for each, place in batch.parts)
        finish(line, batch)
    assert line.n_jobs == 0
    assert sorted(seen) == sorted(
        (str(number), place) for number, (_, sizes) in enumerate(jobs) for place in range(len(sizes))
    )
