"""The index finds what a search through everything would find."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.states.prefix_index import PrefixIndex, key_tokens, shared_tokens, token_key

# few different tokens, so that long shared beginnings are common; large ones, so that byte order matters
TOKENS = st.lists(st.sampled_from([0, 1, 255, 256, 49_151, 2**31 - 1]), max_size=7)
KNOWN = TOKENS.filter(bool)


def common(one: list[int], other: list[int]) -> int:
    n_tokens = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        n_tokens += 1
    return n_tokens


def index_of(known: list[list[int]]) -> PrefixIndex[int]:
    index: PrefixIndex[int] = PrefixIndex()
    for item, tokens in enumerate(known):
        index.add(token_key(tokens), item)
    return index


@given(one=TOKENS, other=TOKENS)
def test_shared_tokens_are_counted_as_one_would_by_hand(one: list[int], other: list[int]) -> None:
    assert shared_tokens(token_key(one), token_key(other)) == common(one, other)
    assert key_tokens(token_key(one)) == len(one)


@given(known=st.lists(KNOWN, max_size=12), wanted=TOKENS)
def test_the_longest_shared_beginning_is_found_with_all_that_share_it(
    known: list[list[int]], wanted: list[int]
) -> None:
    n_tokens, items = index_of(known).longest(token_key(wanted))
    best = max((common(tokens, wanted) for tokens in known), default=0)
    assert n_tokens == best
    assert sorted(items) == [
        item for item, tokens in enumerate(known) if best and common(tokens, wanted) == best
    ]


@given(known=st.lists(KNOWN, max_size=12), wanted=TOKENS)
def test_the_longest_whole_beginning_is_found(known: list[list[int]], wanted: list[int]) -> None:
    n_tokens, items = index_of(known).longest_whole(token_key(wanted))
    whole = [tokens for tokens in known if wanted[: len(tokens)] == tokens]
    best = max(map(len, whole), default=0)
    assert n_tokens == best
    assert sorted(items) == [item for item, tokens in enumerate(known) if best and tokens == wanted[:best]]


@given(known=st.lists(KNOWN, max_size=12), start=TOKENS, data=st.data())
def test_what_was_removed_is_found_no_more(
    known: list[list[int]], start: list[int], data: st.DataObject
) -> None:
    index = index_of(known)
    gone = data.draw(st.sets(st.sampled_from(range(len(known))))) if known else set()
    for item in gone:
        index.remove(token_key(known[item]), item)
    left = [item for item in range(len(known)) if item not in gone]
    assert sorted(index) == left
    assert sorted(index.beginning_with(token_key(start))) == [
        item for item in left if known[item][: len(start)] == start
    ]


def test_an_item_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        PrefixIndex[int]().add(b"", 1)
