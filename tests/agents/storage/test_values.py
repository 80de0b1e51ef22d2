"""What goes into a column comes out as it was."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage import values

FILE_NAMES = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw)
ANY_STR = st.text(st.characters(codec=None, exclude_categories=()))


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_keeps_its_microseconds(moment: datetime) -> None:
    assert values.from_us(values.to_us(moment)) == moment


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_stored_times_sort_as_times_do(one: datetime, other: datetime) -> None:
    assert (values.to_us(one) < values.to_us(other)) == (one < other)


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    tokyo = datetime(2026, 3, 1, 9, tzinfo=timezone(timedelta(hours=9)))

    assert values.from_us(values.to_us(tokyo)) == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        values.to_us(datetime(2026, 3, 1))  # noqa: DTZ001


@given(FILE_NAMES)
def test_any_file_name_comes_back(raw: bytes) -> None:
    path = Path(os.fsdecode(b"/" + raw))

    assert values.from_path(values.to_name(str(path))) == path


@given(FILE_NAMES, FILE_NAMES)
def test_different_file_names_stay_different(one: bytes, other: bytes) -> None:
    assert (values.to_name(os.fsdecode(one)) == values.to_name(os.fsdecode(other))) == (one == other)


@given(ANY_STR)
def test_any_text_can_be_stored_and_whole_text_is_not_changed(text: str) -> None:
    stored = values.to_text(text)

    stored.encode("utf-8")
    assert values.to_text(stored) == stored
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert stored == text


@given(ANY_STR)
def test_any_text_survives_json(text: str) -> None:
    stored = values.to_json({"text": text})

    assert stored.isascii()
    assert values.from_json(stored) == {"text": text}


@pytest.mark.parametrize(
    ("one", "other"), [("Digest", "DIGEST"), ("Straße", "STRASSE"), ("Caf\u00e9", "CAFE\u0301")]
)
def test_spellings_of_one_name_are_one_name(one: str, other: str) -> None:
    assert values.name_key(one) == values.name_key(other)
