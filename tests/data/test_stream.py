"""Tables read as a stream: the same rows, types and patients as the table in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pegai.data import conform
from pegai.data import stream as streams
from pegai.data.stream import cells, open_stream, parquet_files
from pegai.errors import DataError
from pegai.schema import schema_from_dict

ROWS = 57


def schema(**more):
    expert = {"source": "expert"}
    return schema_from_dict(
        {
            "missingValues": ["", "-9"],
            "fields": [
                {"name": "mrn", "type": "string", "pegai": {"role": "identifier"}},
                {
                    "name": "sex",
                    "type": "string",
                    "categories": ["f", "m"],
                    "pegai": expert,
                },
                {"name": "age", "type": "integer", "pegai": expert},
                {"name": "crp", "type": "number", "pegai": expert},
                {"name": "seen", "type": "date", "pegai": expert},
            ],
            "pegai": {"unit": "mrn", **more},
        }
    )


def raw() -> pl.DataFrame:
    """Patients of one to five rows who are not together in the file, some without an id."""
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 20, ROWS)
    return pl.DataFrame(
        {
            "seen": pl.Series(rng.integers(19_000, 20_000, ROWS)).cast(pl.Int32).cast(pl.Date),
            "mrn": [None if i == 0 else f"p{i}" for i in ids],
            "sex": rng.choice(["f", "m", "-9", "x"], ROWS),
            "age": pl.Series(rng.integers(0, 99, ROWS)).replace(17, -9),
            "more": rng.random(ROWS),
            "crp": pl.Series(rng.random(ROWS)).round(3),
        }
    )


@pytest.fixture(params=["file", "folder"])
def place(request, tmp_path: Path) -> Path:
    """The rows in a file of small row groups, or in three of them beside another file."""
    if request.param == "file":
        raw().write_parquet(tmp_path / "t.parquet", row_group_size=11)
        return tmp_path / "t.parquet"
    for i, start in enumerate((0, 20, 41)):
        end = (20, 41, ROWS)[i]
        raw()[start:end].write_parquet(tmp_path / f"part-{i}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".left.parquet").touch()
    return tmp_path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(streams, "BLOCK_ROWS", 16)


@pytest.mark.parametrize("size", [1, 5, 16, 40, 1000])
def test_chunks_are_the_table_cut(place, size) -> None:
    table = conform(raw(), schema(), extra="drop")
    stream = open_stream(place, schema())
    found = [chunk.frame for chunk in stream.chunks(size)]
    assert [len(f) for f in found] == [len(f) for f in table.frame.iter_slices(size)]
    assert pl.concat(found).equals(table.frame)
    assert len(stream) == ROWS
    assert stream.frame.equals(table.frame)


def test_columns_and_patients_are_the_table_s(place) -> None:
    table = conform(raw(), schema(), extra="drop")
    stream = open_stream(place, schema())
    np.testing.assert_array_equal(stream.unit_codes(), table.unit_codes())
    np.testing.assert_array_equal(stream.numbers("age"), table.numbers("age"))
    assert stream.texts("sex").equals(table.texts("sex"))
    assert stream["crp"].equals(table["crp"])
    modelled = stream.modelled()
    assert modelled.schema == table.modelled().schema
    assert modelled.columns == table.modelled().columns
    assert modelled.frame.equals(table.modelled().frame)
    np.testing.assert_array_equal(modelled.unit_codes(), np.arange(ROWS))


@pytest.mark.parametrize("rows", [[], [56, 0, 17, 17, 3], list(range(ROWS))])
def test_rows_are_taken_in_the_order_given(place, rows) -> None:
    table, stream = conform(raw(), schema(), extra="drop"), open_stream(place, schema())
    index = np.array(rows, dtype=np.int64)
    assert stream.take(index).frame.equals(table.take(index).frame)
    mask = np.isin(np.arange(ROWS), index)
    assert stream.take(mask).frame.equals(table.take(mask).frame)


def test_only_the_columns_that_are_asked_for_are_read(place, monkeypatch) -> None:
    asked: list[tuple[str, ...]] = []
    whole = streams.Source.tables

    def tables(self, names, block_rows):
        asked.append(tuple(names))
        return whole(self, names, block_rows)

    monkeypatch.setattr(streams.Source, "tables", tables)
    stream = open_stream(place, schema())
    stream.unit_codes()
    list(stream.select(["crp", "age"]).chunks(10))
    assert asked == [("mrn",), ("crp", "age")]


def test_rows_without_a_patient_are_left_out_of_all_that_is_asked(place) -> None:
    table = conform(raw(), schema(), extra="drop", cell_by_cell=True)
    known = table.take(table["mrn"].is_not_null().to_numpy())
    stream = open_stream(place, schema(), cell_by_cell=True).known_patients()
    assert 0 < len(known) < ROWS
    assert len(stream) == len(known)
    assert stream.frame.equals(known.frame)
    assert stream.modelled().frame.equals(known.modelled().frame)
    assert len(stream.modelled()) == len(known)
    np.testing.assert_array_equal(stream.unit_codes(), known.unit_codes())
    assert max(len(chunk) for chunk in stream.chunks(5)) <= 5


def test_rows_in_another_form_are_changed_chunk_by_chunk(place) -> None:
    table = conform(raw(), schema(), extra="drop")
    narrow = table.select(["mrn", "age"])
    stream = open_stream(place, schema()).changed(lambda t: t.select(["mrn", "age"]), narrow.schema)
    assert stream.frame.equals(narrow.frame)
    assert stream.modelled().frame.equals(narrow.modelled().frame)
    np.testing.assert_array_equal(stream.unit_codes(), table.unit_codes())
    np.testing.assert_array_equal(stream.numbers("age"), table.numbers("age"))


def test_patterns_of_missing_cells_are_all_there_and_each_once(place) -> None:
    table = conform(raw(), schema(), extra="drop")
    found = open_stream(place, schema()).missing_patterns(["age", "sex"])
    absent = pl.all().is_null()
    assert found.schema.names == ["age", "sex"]
    expected = table.frame.select("age", "sex").select(absent).unique()
    assert found.frame.select(absent).sort(pl.all()).equals(expected.sort(pl.all()))


def test_decimal_commas_are_a_question_about_the_whole_column(tmp_path) -> None:
    texts = ["1,500"] * 20 + ["2,5"] * 3 + [None] * 20
    frame = raw().head(43).with_columns(pl.Series("crp", texts))
    frame.write_parquet(tmp_path / "t.parquet")
    stream = open_stream(tmp_path / "t.parquet", schema())
    assert stream.frame.equals(conform(frame, schema(), extra="drop").frame)
    assert stream.numbers("crp")[0] == 1.5


def test_cells_that_cannot_be_read(tmp_path) -> None:
    frame = raw().with_columns(age=pl.Series(["old"] + ["50"] * (ROWS - 1)))
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'age': 1 of 15 are not of type integer"):
        list(open_stream(tmp_path / "t.parquet", schema()).chunks(5))
    lenient = open_stream(tmp_path / "t.parquet", schema(), cell_by_cell=True)
    assert lenient["age"].null_count() == 1


def test_no_rows(tmp_path) -> None:
    raw().clear().write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="has no rows"):
        open_stream(tmp_path / "t.parquet", schema())
    stream = open_stream(tmp_path / "t.parquet", schema(), cell_by_cell=True).known_patients()
    assert [len(chunk) for chunk in stream.chunks(10)] == [0]
    assert len(stream.unit_codes()) == 0


def test_what_is_no_stream(tmp_path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "t.csv").write_text("age\n3\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is not enough")
    raw().drop("age").write_parquet(tmp_path / "short.parquet")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    raw().write_parquet(mixed / "a.parquet")
    raw().drop("more").write_parquet(mixed / "b.parquet")
    for name, said in (
        ("absent.parquet", "no such file"),
        ("t.csv", "only Parquet"),
        ("empty", "holds no .parquet file"),
        ("bad.parquet", "truncated or damaged"),
        ("short.parquet", "'age'"),
        ("mixed", "the 2 files differ"),
    ):
        with pytest.raises(DataError, match=said):
            open_stream(tmp_path / name, schema())


def test_a_file_that_is_cut_off_while_it_is_read_is_an_error(tmp_path) -> None:
    path = tmp_path / "t.parquet"
    raw().write_parquet(path, row_group_size=11)
    stream = open_stream(path, schema())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="truncated or damaged"):
        list(stream.chunks(10))


def test_how_much_there_is(place) -> None:
    assert cells(place, schema()) == ROWS * 5
    assert all(f.suffix == ".parquet" for f in parquet_files(place))
