"""A fit of a stream is the fit of the table, to the byte; and codes that go to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pegai.data import Table, write_table
from pegai.data import stream as streams
from pegai.data.datasets import load_heart_disease
from pegai.data.stream import TableStream, open_stream
from pegai.errors import DataError, PrivacyError
from pegai.privacy.guarantee import Privacy
from pegai.privacy.ledger import Ledger
from pegai.schema import schema_from_dict
from pegai.synth import rows
from pegai.synth.base import Fitted, table_bytes
from pegai.synth.files import write_model
from pegai.synth.independent import Independent

from ..contracts.methods import Tape, every, every_private, quick


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Many blocks and chunks in a small table, cut at different places."""
    monkeypatch.setattr(streams, "BLOCK_ROWS", 64)
    monkeypatch.setattr(rows, "CHUNK_ROWS", 48)
    monkeypatch.setattr(rows.chunks, "__defaults__", (48,))


@pytest.fixture
def whole_is_never_read(monkeypatch):
    whole = TableStream.frame.fget

    def frame(stream: TableStream) -> pl.DataFrame:
        assert len(stream.schema.columns) == 1, "more than a column was read at once"
        return whole(stream)

    monkeypatch.setattr(TableStream, "frame", property(frame))


def visits() -> Table:
    """Cleveland, as visits of 120 patients whose rows are far apart; some have no id."""
    table = load_heart_disease("cleveland")
    ids = np.random.default_rng(3).integers(0, 120, len(table))
    names = pl.Series("mrn", [None if i == 7 else f"p{i}" for i in ids], dtype=pl.String)
    plain = table.schema.to_dict()
    plain["fields"].append({"name": "mrn", "type": "string", "pegai": {"role": "identifier"}})
    plain["pegai"] = {**plain.get("pegai", {}), "unit": "mrn"}
    return Table(table.frame.with_columns(names), schema_from_dict(plain))


def streamed(table: Table, folder: Path, *, private: bool) -> TableStream:
    write_table(table, folder / "t.parquet")
    return open_stream(folder / "t.parquet", table.schema, cell_by_cell=private)


def content(model: Fitted, folder: Path) -> dict[str, bytes]:
    write_model(model.to_file(), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@every
def test_a_stream_is_learned_like_the_table(name, tmp_path) -> None:
    table = visits()
    stream = streamed(table, tmp_path, private=False)
    fits = [quick(name).fit(data, rng=5) for data in (table, stream)]
    first, second = (content(model, tmp_path / str(i)) for i, model in enumerate(fits))
    assert first == second


@every_private
def test_private_mechanisms_see_the_same_of_a_stream(name, tmp_path) -> None:
    table = visits()
    seen: list[tuple[Tape, dict[str, bytes]]] = []
    for place, data in enumerate((table, streamed(table, tmp_path, private=True))):
        tape, budget = Tape(), Privacy(3.0, 1e-3, ledger=tmp_path / f"ledger{place}")
        model = quick(name).fit(data, privacy=budget, recorder=tape)
        seen.append((tape, content(model, tmp_path / str(place))))
    (first, model), (second, other) = seen
    assert len(first.calls) == len(second.calls) > 0
    for one, two in zip(first.calls, second.calls, strict=True):
        assert one[:2] == two[:2]
        assert one[3] == two[3]
        assert one[2].shape == two[2].shape
        # Gradients differ from fit to fit, also of the same table: their weights begin elsewhere.
        if "DP-SGD" not in one[0]:
            np.testing.assert_array_equal(one[2], two[2])
    if not any("DP-SGD" in call[0] for call in first.calls):
        assert model["weights.safetensors"] == other["weights.safetensors"]


@pytest.mark.parametrize("name", ["independent", "trees", "mst", "aim", "ctgan", "arm"])
@pytest.mark.parametrize("private", [False, True])
def test_a_stream_is_never_read_whole(name, private, tmp_path, whole_is_never_read) -> None:
    stream = streamed(visits(), tmp_path, private=private)
    if private and not quick(name).private:
        pytest.skip("no private form")
    asked = Privacy(3.0, 1e-3, ledger=tmp_path / "ledger") if private else None
    model = quick(name).fit(stream, privacy=asked, rng=None if private else 1)
    assert len(model.sample(10, rng=0)) == 10


def test_the_ledger_knows_a_table_in_a_stream(tmp_path) -> None:
    table = visits()
    book = Ledger(tmp_path / "ledger")
    stream = streamed(table, tmp_path, private=False)
    assert book.fingerprint(table_bytes(stream)) == book.fingerprint(table_bytes(table))
    known = table.take(table["mrn"].is_not_null().to_numpy())
    found = book.fingerprint(table_bytes(stream.known_patients()))
    assert found == book.fingerprint(table_bytes(known))
    assert found != book.fingerprint(table_bytes(table))


def test_a_refusal_comes_before_the_charge(tmp_path) -> None:
    stream = streamed(visits(), tmp_path, private=True)
    with pytest.raises(PrivacyError, match="no private form"):
        quick("trees").fit(stream, privacy=Privacy(1.0, 1e-3, ledger=tmp_path / "ledger"))
    assert not (tmp_path / "ledger").exists()


def test_rules_are_kept_and_their_columns_learned_in_the_same_form(tmp_path) -> None:
    rng = np.random.default_rng(0)
    start = rng.integers(0, 50, 300)
    frame = pl.DataFrame({"start": start, "end": start + rng.integers(0, 9, 300)})
    # Both are missing together, so that the gap may take the place of the end.
    gone = pl.Series(rng.random(300) < 0.1)
    frame = frame.with_columns(pl.when(~gone).then(pl.all()))
    fields = [{"name": n, "type": "integer", "pegai": {"source": "expert"}} for n in frame.columns]
    rules = [{"name": "order", "check": "end >= start"}]
    schema = schema_from_dict({"fields": fields, "pegai": {"rules": rules}})
    table = Table(frame, schema)
    stream = streamed(table, tmp_path, private=False)
    fits = [Independent().fit(data, rng=0) for data in (table, stream)]
    first, second = (content(model, tmp_path / str(i)) for i, model in enumerate(fits))
    assert first == second
    assert b"learned_as" in first["model.json"]


@pytest.mark.parametrize("apart", [False, True])
def test_codes_are_the_encoder_s_wherever_they_are(apart, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY_BYTES", 100 if apart else 2**30)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = load_heart_disease("cleveland")
    encoder = rows.fit_encoder(table, max_bins=300, min_count=0)
    expected = encoder.encode(table.modelled())
    codes = rows.encode_rows(table, encoder)
    columns = rows.encode_columns(table, encoder)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(np.column_stack(columns), expected)
    assert {c.dtype.itemsize for c in columns} <= {1, 2}
    assert isinstance(codes, np.ndarray) and not isinstance(codes, np.memmap)
    # Not a byte of a patient is left under a name, even while the codes are used.
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_an_error_and_not_a_dead_process(monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    table = load_heart_disease("cleveland")
    encoder = rows.fit_encoder(table, max_bins=10, min_count=0)
    with pytest.raises(DataError, match="No space left"):
        rows.encode_rows(table, encoder)
