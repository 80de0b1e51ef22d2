"""The file check says yes to a good model and one clear sentence to everything else, in bounded time."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelError, ModelInvalid, ModelMissing
from engine.host.gguf import GgufFacts, check_model_file, parse_header
from tests.engine.support import ARCHITECTURE, gguf_image, gguf_key, gguf_tensor, gguf_text

HUGE = 2**63


def judge(image: bytes) -> GgufFacts | str:
    """The facts, or the sentence; any other exception fails the test."""
    try:
        return parse_header(image, len(image))
    except ValueError as refused:
        return str(refused)


def test_a_well_formed_file_passes_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_image())
    facts = check_model_file(path)
    assert (facts.version, facts.architecture, facts.n_tensors) == (3, "llama", 1)
    assert facts.size_bytes == path.stat().st_size
    assert facts.data_offset == facts.size_bytes - 36


def test_the_fingerprint_follows_the_header_and_the_length(tmp_path: Path) -> None:
    image = gguf_image()
    same = parse_header(image, len(image))
    longer = parse_header(image, len(image) + 1)
    other = parse_header(image.replace(b"llama", b"gemma"), len(image))
    assert same.fingerprint == parse_header(image, len(image)).fingerprint
    assert len({same.fingerprint, longer.fingerprint, other.fingerprint}) == 3


def test_two_trainings_of_one_model_have_their_own_fingerprints(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    found = set()
    for weights in (bytes(36), bytes(35) + b"\1", bytes(36)):
        path.write_bytes(gguf_image(data=weights))
        found.add(check_model_file(path).fingerprint)
    assert len(found) == 2


def shape_keys(**numbers: int) -> tuple[bytes, ...]:
    return (
        ARCHITECTURE,
        *(
            gguf_key(b"llama." + name.replace("__", ".").encode(), 4, struct.pack("<I", number))
            for name, number in numbers.items()
        ),
    )


LLAMA_SHAPE = {"block_count": 30, "attention__head_count": 9, "embedding_length": 576}


def test_a_table_of_embeddings_is_read_whole_only_where_it_is_the_last_matrix_too() -> None:
    table, other = gguf_tensor(b"token_embd.weight"), gguf_tensor(b"output.weight", offset=64)
    tied = gguf_image(tensors=(table,))
    apart = gguf_image(tensors=(table, other), data=bytes(100))
    assert parse_header(tied, len(tied)).weight_bytes_per_token == 36
    assert parse_header(apart, len(apart)).weight_bytes_per_token == 36


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (shape_keys(**LLAMA_SHAPE, attention__head_count_kv=3), 30 * 3 * (64 + 64)),
        (shape_keys(**LLAMA_SHAPE), 30 * 9 * (64 + 64)),
        (
            shape_keys(**LLAMA_SHAPE, attention__key_length=128, attention__value_length=32),
            30 * 9 * (128 + 32),
        ),
        (shape_keys(block_count=30), None),
        (shape_keys(**{**LLAMA_SHAPE, "attention__head_count": 0}), None),
        (
            (
                *shape_keys(**LLAMA_SHAPE),
                gguf_key(b"llama.attention.head_count_kv", 9, struct.pack("<IQII", 4, 2, 3, 0)),
            ),
            None,
        ),
    ],
    ids=["grouped heads", "each head its own", "own lengths", "unknown shape", "no heads", "layers differ"],
)
def test_the_header_tells_what_a_token_takes_in_the_kv_cache(
    keys: tuple[bytes, ...], values: int | None
) -> None:
    image = gguf_image(keys=keys)
    assert parse_header(image, len(image)).kv_values_per_token == values


def pooling(kind: int, value: bytes) -> bytes:
    return gguf_key(b"llama.pooling_type", kind, value)


@pytest.mark.parametrize(
    ("key", "makes_vectors"),
    [
        ((), False),
        ((pooling(4, struct.pack("<I", 0)),), False),
        ((pooling(4, struct.pack("<I", 1)),), True),
        ((pooling(4, struct.pack("<I", 3)),), True),
        ((pooling(8, gguf_text(b"mean")),), False),
        ((gguf_key(b"bert.pooling_type", 4, struct.pack("<I", 1)),), False),
    ],
    ids=["none", "off", "mean", "last", "text", "another-architecture"],
)
def test_a_model_that_says_how_to_pool_makes_vectors(key: tuple[bytes, ...], makes_vectors: bool) -> None:
    image = gguf_image(keys=(ARCHITECTURE, *key))
    assert parse_header(image, len(image)).makes_vectors is makes_vectors


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no model file"):
        check_model_file(tmp_path / "nothing.gguf")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ModelMissing, match="no model file"):
        check_model_file(tmp_path / "file" / "below.gguf")


def test_a_folder_an_empty_file_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="is a folder"):
        check_model_file(tmp_path)
    empty = tmp_path / "empty.gguf"
    empty.touch()
    with pytest.raises(ModelInvalid, match="is empty"):
        check_model_file(empty)
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    with pytest.raises(ModelInvalid, match="not a regular file"):
        check_model_file(pipe)


def test_a_name_that_can_not_be_one_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="can't be opened"):
        check_model_file(Path("a\0b"))


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_image())
    if os.geteuid() == 0:  # root may read everything, so the system's answer is given by hand

        def denied(*_args: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("engine.host.gguf.os.open", denied)
    else:
        path.chmod(0)
    with pytest.raises(ModelInvalid, match="may not be read"):
        check_model_file(path)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"PK\x03\x04 this is an archive", "is not a GGUF model"),
        (b"GGUF", "cut off"),
        (gguf_image(version=1), "version 1"),
        (gguf_image(version=3 << 24), "big-endian"),
        (gguf_image(n_tensors=HUGE), "tensors"),
        (gguf_image(n_tensors=0), "tensors"),
        (gguf_image(n_keys=HUGE), "keys"),
        (gguf_image(keys=()), "architecture"),
        (gguf_image(keys=(ARCHITECTURE, ARCHITECTURE)), "a key twice"),
        (gguf_image(keys=(struct.pack("<Q", HUGE),)), "a key claims"),
        (gguf_image(keys=(gguf_key(b"k", 99, b""),)), "value type 99"),
        (gguf_image(keys=(gguf_key(b"k", 8, struct.pack("<Q", HUGE)),)), "a text claims"),
        (gguf_image(keys=(gguf_key(b"k", 9, struct.pack("<IQ", 8, HUGE)),)), "a list claims"),
        (gguf_image(keys=(gguf_key(b"k", 9, struct.pack("<IQ", 4, HUGE)),)), "cut off"),
        (gguf_image(keys=(gguf_key(b"k", 9, struct.pack("<IQ", 9, 1)),)), "a list of value type 9"),
        (gguf_image(keys=(gguf_key(b"general.alignment", 4, struct.pack("<I", 48)),)), "alignment"),
        (gguf_image(keys=(gguf_key(b"general.alignment", 4, struct.pack("<I", 0)),)), "alignment"),
        (gguf_image(tensors=(gguf_tensor(), gguf_tensor())), "a tensor twice"),
        (gguf_image(tensors=(gguf_tensor(name=b"n" * 64),)), "tensor's name"),
        (gguf_image(tensors=(gguf_tensor(dims=(32,) * 5),)), "5 dimensions"),
        (gguf_image(tensors=(gguf_tensor(dims=(32, 0)),)), "shape is impossible"),
        (gguf_image(tensors=(gguf_tensor(dims=(2**40, 2**40)),)), "shape is impossible"),
        (gguf_image(tensors=(gguf_tensor(dims=(31,)),)), "do not fit"),
        (gguf_image(tensors=(gguf_tensor(kind=4),)), "number format 4"),
        (gguf_image(tensors=(gguf_tensor(offset=8),)), "not aligned"),
        (gguf_image(tensors=(gguf_tensor(offset=2**62),)), "bytes are missing"),
        (gguf_image(data=bytes(35)), "1 bytes are missing"),
    ],
)
def test_each_kind_of_damage_has_its_own_sentence(tmp_path: Path, image: bytes, sentence: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(image)
    with pytest.raises(ModelInvalid, match=sentence) as caught:
        check_model_file(path)
    assert str(caught.value).count(". ") == 0, "one sentence"
    assert "download it again" in str(caught.value)


def test_a_list_of_very_many_texts_is_refused_before_it_is_walked() -> None:
    n_texts = 4_000_001
    keys = (gguf_key(b"k", 9, struct.pack("<IQ", 8, n_texts) + bytes(8 * n_texts)),)
    image = gguf_image(keys=keys)
    with pytest.raises(ValueError, match="a list claims"):
        parse_header(image, len(image))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mutation_of_a_good_file_gives_anything_but_a_yes_or_a_sentence(data: st.DataObject) -> None:
    image = bytearray(gguf_image())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(image) - 1))
        image[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        if not image:
            return
    size = data.draw(st.integers(0, len(image)))
    verdict = judge(bytes(image[:size]))
    assert isinstance(verdict, GgufFacts) or verdict


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=400))
def test_random_bytes_behind_the_magic_are_refused(body: bytes) -> None:
    image = b"GGUF" + struct.pack("<I", 3) + body
    verdict = judge(image)
    assert isinstance(verdict, GgufFacts) or verdict


def test_errors_of_the_check_are_model_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_text(b"no"))
    with pytest.raises(ModelError):
        check_model_file(path)
