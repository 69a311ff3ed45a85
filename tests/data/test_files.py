"""Reading and writing files: encodings, delimiters, what is refused, and the round trip."""

import csv
import datetime as dt
import gzip
import io
import os
import threading

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pegai.data import (
    Dialect,
    Table,
    csv_records,
    read_frame,
    scan_frame,
    sniff_csv,
    write_frame,
    write_table,
)
from pegai.errors import DataError, UsageError
from pegai.schema import Column, Schema

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CELL = st.one_of(
    st.none(),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    st.text(alphabet="\",;\t|\r\n'# \ufeff\u2028é", min_size=1, max_size=6),
)


def written(tmp_path, data, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def rows(path, **options):
    return read_frame(path, **options).rows()


class TestReading:
    def test_nothing_is_lost(self, tmp_path):
        path = written(tmp_path, "zip,x\n01234,1.50\n00001,2.0\n")
        assert rows(path) == [("01234", "1.50"), ("00001", "2.0")]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_delimiter_is_found_despite_others_in_quotes(self, tmp_path, delimiter):
        cells = ['"a,b;c\td|e"', '"x ""y"""', "1"]
        text = "\n".join([delimiter.join(["p", "q", "r"]), *[delimiter.join(cells)] * 3]) + "\n"
        frame = read_frame(written(tmp_path, text))
        assert frame.columns == ["p", "q", "r"]
        assert frame.rows() == [("a,b;c\td|e", 'x "y"', "1")] * 3

    def test_semicolon_file_with_decimal_commas(self, tmp_path):
        assert rows(written(tmp_path, "a;b\n1,5;2,5\n3,0;4\n")) == [("1,5", "2,5"), ("3,0", "4")]

    def test_excel_says_its_delimiter(self, tmp_path):
        path = written(tmp_path, "sep=;\r\na;b\r\n1,2;3\r\n")
        assert rows(path) == [("1,2", "3")]

    def test_tsv_by_name_and_delimiter_by_option(self, tmp_path):
        assert rows(written(tmp_path, "a\tb\n1,2,3\t4\n", "t.tsv")) == [("1,2,3", "4")]
        assert rows(written(tmp_path, "a,b|c\n1|2\n"), delimiter="|") == [("1", "2")]
        with pytest.raises(UsageError, match="not one character"):
            read_frame(written(tmp_path, "a\n1\n"), delimiter="::")

    @pytest.mark.parametrize(
        ("encoding", "bom"),
        [
            ("utf-8", b""),
            ("utf-8", b"\xef\xbb\xbf"),
            ("utf-16-le", b"\xff\xfe"),
            ("utf-16-be", b"\xfe\xff"),
            ("utf-16-le", b""),
            ("utf-16-be", b""),
            ("utf-32-le", b"\xff\xfe\0\0"),
        ],
    )
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_unicode_files(self, tmp_path, encoding, bom, end):
        text = end.join(["Größe,naïve", "Łódź,日本", "plain,1"])
        path = written(tmp_path, bom + text.encode(encoding))
        frame = read_frame(path)
        assert frame.columns == ["Größe", "naïve"]
        assert frame.rows() == [("Łódź", "日本"), ("plain", "1")]

    def test_western_file_is_read_and_logged(self, tmp_path, caplog):
        text = "name,Größe\nMüller – “x” 5€,Señor O’Brien\n"
        path = written(tmp_path, text.encode("cp1252"))
        assert read_frame(path).columns == ["name", "Größe"]
        assert rows(path) == [("Müller – “x” 5€", "Señor O’Brien")]
        assert "Windows-1252" in caplog.text

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("cp1251", "имя,возраст\nИванов,63\n"),
            ("cp1253", "όνομα,ηλικία\nΠαπάς,63\n"),
            ("shift-jis", "名前,年齢\n山田,63\n"),
            ("cp850", "name,x\nMüller,Größe\n"),
            ("mac-roman", "name,x\nMüller,Größe\n"),
        ],
    )
    def test_other_codes_are_refused_until_named(self, tmp_path, encoding, text):
        path = written(tmp_path, text.encode(encoding))
        with pytest.raises(DataError, match="encoding="):
            read_frame(path)
        header, row = (line.split(",") for line in text.splitlines())
        frame = read_frame(path, encoding=encoding)
        assert (frame.columns, frame.rows()) == (header, [tuple(row)])

    def test_bad_encoding_names(self, tmp_path):
        path = written(tmp_path, "a\nä\n")
        for name in ("klingon", "base64"):
            with pytest.raises(DataError, match="not an encoding"):
                read_frame(path, encoding=name)
        with pytest.raises(DataError, match="does not decode"):
            read_frame(path, encoding="ascii")

    def test_broken_unicode_files(self, tmp_path):
        for data in (b"\xff\xfea\0\n\0\x00\xd8", "a\nb\n".encode("utf-16") + b"x"):
            with pytest.raises(DataError, match="does not decode"):
                read_frame(written(tmp_path, data))

    def test_broken_text_after_the_sample_is_seen(self, tmp_path):
        # The choice of UTF-8 holds for the whole file, not for its first megabyte.
        good = b"a,b\n" + b"x,y\n" * 3_000_000
        path = written(tmp_path, good + b"\xff\xff\xfe\xfe,1\n")
        with pytest.raises(DataError, match="neither UTF-8"):
            list(scan_frame(path))

    def test_blank_lines_are_skipped_and_empty_records_kept(self, tmp_path):
        path = written(tmp_path, b"\r\n\r\na,b\r\n\r\n1,2\r\n,\r\n\r\n3,4\r\n\r\n")
        assert rows(path) == [("1", "2"), (None, None), ("3", "4")]
        assert rows(written(tmp_path, 'a\n\nx\n""\n\n')) == [("x",), (None,)]

    def test_empty_cells_are_missing_quoted_or_not(self, tmp_path):
        assert rows(written(tmp_path, 'a,b\n,""\n" ",x\n')) == [(None, None), (" ", "x")]

    def test_last_line_needs_no_end(self, tmp_path):
        assert rows(written(tmp_path, "a,b\n1,2\n3,4")) == [("1", "2"), ("3", "4")]
        assert rows(written(tmp_path, 'a,b\n1,"2"')) == [("1", "2")]

    def test_header_over_two_lines(self, tmp_path):
        frame = read_frame(written(tmp_path, '"a\nb",c\n1,2\n'))
        assert (frame.columns, frame.rows()) == (["a\nb", "c"], [("1", "2")])

    def test_header_only_gives_no_rows(self, tmp_path):
        for text in ("a,b\n", "a,b"):
            frame = read_frame(written(tmp_path, text))
            assert (frame.shape, frame.dtypes) == ((0, 2), [pl.String, pl.String])
            assert list(scan_frame(tmp_path / "t.csv")) == []

    def test_names_for_a_file_without_header(self, tmp_path):
        path = written(tmp_path, "63.0,1.0\n67.0,0.0\n", "x.data")
        with pytest.raises(DataError, match="holds numbers") as caught:
            read_frame(path)
        assert "63" not in str(caught.value)
        assert rows(path, header=["age", "sex"]) == [("63.0", "1.0"), ("67.0", "0.0")]

    def test_years_and_quoted_numbers_may_be_names(self, tmp_path):
        assert read_frame(written(tmp_path, "2019,2020\n1,2\n")).columns == ["2019", "2020"]
        assert read_frame(written(tmp_path, '"0","1"\n1,2\n')).columns == ["0", "1"]

    def test_gzip(self, tmp_path):
        path = written(tmp_path, gzip.compress(b"a,b\n1,2\n"), "t.csv.gz")
        assert rows(path) == [("1", "2")]


class TestRefused:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "is empty"),
            (b"\n \n", "is empty"),
            (b"a,b,a\n1,2,3\n", "columns 1 and 3 have the same name 'a'"),
            (b"a, a\n1,2\n", "columns 1 and 2 have the same name"),
            (b"a,,b\n1,2,3\n", "column 2 of 3 has no name"),
            (b"a,b,\n1,2,\n", "column 3 of 3 has no name"),
            (b"a,b\n1,2\n\n3\n", "line 4: 1 cells, the header has 2"),
            (b'a,b\n"1\n1",2\n3,4,5\n', "line 4: 3 cells, the header has 2"),
            (b"a,b\n1,2\n3,\x004\n", "line 3: holds a NUL"),
            (b'a,b\n1,5" tube\n', "line 2: a double quote inside"),
            (b'a,b\n1,2\n"x"y,2\n', "line 3: a double quote inside"),
            (b'a,b\n1,2\n3,"open\n4,5\n', "line 3: a double quote is opened"),
            (b'a,"b\n1,2\n', "header line can't be read"),
        ],
    )
    def test_broken_csv(self, tmp_path, data, message):
        path = written(tmp_path, data)
        for read in (read_frame, lambda p: list(scan_frame(p))):
            with pytest.raises(DataError, match=r"t\.csv") as caught:
                read(path)
            assert message in str(caught.value)

    def test_a_doubled_number_in_the_header_is_not_shown(self, tmp_path):
        with pytest.raises(DataError) as caught:
            read_frame(written(tmp_path, "x,y,41.7,41.7\n1,2,3,4\n"))
        assert "3 and 4" in str(caught.value)
        assert "41.7" not in str(caught.value)

    def test_line_numbers_hold_across_blocks(self, tmp_path):
        good = 'a,b\n"x\ny",2\n' + "1,2\n" * 3_000_000
        path = written(tmp_path, good + "1,2,3\n")
        with pytest.raises(DataError, match=r"line 3000004: 3 cells"):
            read_frame(path)

    def test_unclosed_quote_does_not_fill_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(csv_records, "MAX_RECORD_BYTES", 1 << 20)
        path = written(tmp_path, 'a,b\n1,"open\n' + "1,2\n" * 4_000_000)
        with pytest.raises(DataError, match="line 2: a double quote is opened"):
            read_frame(path)

    def test_no_such_file_folder_or_format(self, tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_frame(tmp_path / "absent.csv")
        with pytest.raises(DataError, match="is a folder"):
            read_frame(tmp_path)
        with pytest.raises(DataError, match="format can't be told"):
            read_frame(written(tmp_path, b"x", "t.xlsx"))
        with pytest.raises(UsageError, match="at least 1"):
            scan_frame(written(tmp_path, "a\n1\n"), batch_rows=0)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
    def test_no_permission(self, tmp_path):
        path = written(tmp_path, "a\n1\n")
        path.chmod(0)
        with pytest.raises(DataError, match="can't be read"):
            read_frame(path)

    def test_damaged_gzip(self, tmp_path):
        packed = gzip.compress(b"a,b\n" + os.urandom(5000).hex().encode() + b",1\n")
        for data in (packed[:-20], b"no gzip at all", packed[:100] + bytes(300) + packed[400:]):
            with pytest.raises(DataError, match="gzip"):
                read_frame(written(tmp_path, data, "t.csv.gz"))

    @pytest.mark.parametrize("cut", ["half", "empty", "middle", "text", "footer"])
    def test_damaged_parquet(self, tmp_path, cut):
        path = tmp_path / "t.parquet"
        pl.DataFrame({"a": range(10_000)}).write_parquet(path)
        data = path.read_bytes()
        path.write_bytes(
            {
                "half": data[: len(data) // 2],
                "empty": b"",
                "middle": data[:100] + bytes(3000) + data[3100:],
                "text": b"a,b\n1,2\n",
                "footer": data[:-12] + b"\xff\xff\xff\x7f" + data[-8:],
            }[cut]
        )
        for read in (read_frame, lambda p: list(scan_frame(p))):
            with pytest.raises(DataError, match="Parquet"):
                read(path)

    def test_nested_parquet(self, tmp_path):
        pl.DataFrame({"a": [[1, 2]]}).write_parquet(tmp_path / "t.parquet")
        with pytest.raises(DataError, match="column 'a' holds lists"):
            read_frame(tmp_path / "t.parquet")


class TestScan:
    @pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
    @pytest.mark.parametrize("batch_rows", [1, 7, 100, 1000])
    def test_batches_add_up(self, tmp_path, name, batch_rows):
        frame = pl.DataFrame({"a": [f"x\n{i}" for i in range(100)], "b": [None, "y"] * 50})
        write_frame(frame, tmp_path / name)
        batches = list(scan_frame(tmp_path / name, batch_rows=batch_rows))
        assert [b.height for b in batches[:-1]] == [batch_rows] * (len(batches) - 1)
        assert_frame_equal(pl.concat(batches), frame)

    def test_small_blocks_give_the_same_rows(self, tmp_path, monkeypatch):
        cells = [("x\ny", '"'), ("", "é"), ("plain", None), ("\r\n", ",")] * 40
        frame = pl.DataFrame(cells, schema=["a", "b"], orient="row")
        write_frame(frame, tmp_path / "t.csv")
        whole = read_frame(tmp_path / "t.csv")
        for size in (1, 2, 3, 7, 64):
            monkeypatch.setattr("pegai.data.csv_encoding.CHUNK_BYTES", size)
            dialect = Dialect("utf-8", ",", "\n", tuple(whole.columns), 1)
            blocks = list(csv_records.read_blocks(tmp_path / "t.csv", dialect))
            assert sum(block.rows for block in blocks) == whole.height
            text = b"".join(block.data for block in blocks).decode()
            cells = csv.reader(io.StringIO(text, newline=""))
            assert [tuple(cell or None for cell in row) for row in cells] == whole.rows()


class TestWriting:
    @QUICK
    @given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20))
    def test_any_text_comes_back(self, tmp_path, cells):
        frame = pl.DataFrame(cells, schema={"a": pl.String, "b": pl.String}, orient="row")
        for name in ("t.csv", "t.tsv", "t.csv.gz", "t.parquet"):
            write_frame(frame, tmp_path / name)
            assert_frame_equal(read_frame(tmp_path / name), frame)

    @QUICK
    @given(st.lists(CELL, min_size=1, max_size=20))
    def test_a_single_column_comes_back(self, tmp_path, cells):
        frame = pl.DataFrame({"a": cells}, schema={"a": pl.String})
        write_frame(frame, tmp_path / "t.csv")
        assert_frame_equal(read_frame(tmp_path / "t.csv", delimiter=","), frame)

    @QUICK
    @given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=10))
    def test_the_csv_module_reads_the_same(self, tmp_path, cells):
        frame = pl.DataFrame(cells, schema={"a": pl.String, "b": pl.String}, orient="row")
        write_frame(frame, tmp_path / "t.csv")
        with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
            read = [tuple(cell or None for cell in row) for row in csv.reader(file)][1:]
        assert read == frame.rows()

    def test_decimals_are_padded_and_rounded(self, tmp_path):
        frame = pl.DataFrame({"a": [1.0, 2.675, -0.04, 1e30, None, float("nan")], "n": [1] * 6})
        write_frame(frame, tmp_path / "t.csv", decimals={"a": 1, "n": 2, "absent": 1})
        cells = [row[0] for row in rows(tmp_path / "t.csv")]
        assert cells[:3] == ["1.0", "2.7", "0.0"]
        assert float(cells[3]) == 1e30
        assert cells[4:] == [None, None]
        assert [row[1] for row in rows(tmp_path / "t.csv")] == ["1"] * 6
        write_frame(frame, tmp_path / "t.parquet", decimals={"a": 1})
        assert read_frame(tmp_path / "t.parquet")["a"].to_list()[:2] == [1.0, 2.7]

    def test_zero_decimals(self, tmp_path):
        write_frame(pl.DataFrame({"a": [1.6, 2.0]}), tmp_path / "t.csv", decimals={"a": 0})
        assert (tmp_path / "t.csv").read_text() == "a\n2\n2\n"

    def test_write_table_is_golden(self, tmp_path):
        schema = Schema(
            fields=(
                Column(name="age", type="integer"),
                Column(name="bmi", type="number", pegai={"decimals": 1}),
                Column(name="ok", type="boolean"),
                Column(name="seen", type="date"),
                Column(name="born", type="date", format="%d.%m.%Y"),
                Column(name="at", type="datetime"),
                Column(name="note", type="string"),
            )
        )
        day, moment = dt.date(2021, 3, 4), dt.datetime(2021, 3, 4, 5, 6, 7, 500_000)
        frame = pl.DataFrame(
            [
                (63, 25.0, True, day, day, moment, 'a "b", c'),
                (None, None, None, None, None, None, None),
                (0, 31.46, False, day, day, moment.replace(microsecond=0), "two\nlines"),
            ],
            schema={
                "age": pl.Int64,
                "bmi": pl.Float64,
                "ok": pl.Boolean,
                "seen": pl.Date,
                "born": pl.Date,
                "at": pl.Datetime("us"),
                "note": pl.String,
            },
            orient="row",
        )
        write_table(Table(frame, schema), tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_bytes().decode() == (
            "age,bmi,ok,seen,born,at,note\n"
            '63,25.0,true,2021-03-04,04.03.2021,2021-03-04T05:06:07.500,"a ""b"", c"\n'
            ",,,,,,\n"
            '0,31.5,false,2021-03-04,04.03.2021,2021-03-04T05:06:07,"two\nlines"\n'
        )

    def test_same_table_same_bytes(self, tmp_path):
        frame = pl.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
        for name in ("t.csv", "t.csv.gz", "t.parquet"):
            write_frame(frame, tmp_path / name)
            first = (tmp_path / name).read_bytes()
            write_frame(frame, tmp_path / f"again-{name}")
            assert (tmp_path / f"again-{name}").read_bytes() == first

    def test_what_csv_cannot_hold_is_refused_and_nothing_written(self, tmp_path):
        for frame in (pl.DataFrame({"a": [[1]]}), pl.DataFrame({"a": ["x\0y"]})):
            with pytest.raises(DataError, match="column 'a'"):
                write_frame(frame, tmp_path / "t.csv")
        assert list(tmp_path.iterdir()) == []

    def test_no_rows(self, tmp_path):
        write_frame(pl.DataFrame(schema={"a": pl.Int64, "b": pl.String}), tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_text() == "a,b\n"

    def test_sniffing_says_what_was_found(self, tmp_path):
        dialect = sniff_csv(written(tmp_path, b"\xef\xbb\xbf\r\na;b\r\n1;2\r\n"))
        assert (dialect.encoding, dialect.delimiter, dialect.names) == (
            "utf-8-sig",
            ";",
            ("a", "b"),
        )
        assert dialect.skip_lines == 2


def test_readers_see_the_old_or_the_new_file(tmp_path):
    path = tmp_path / "t.csv"
    frames = [pl.DataFrame({"a": [str(i)] * 5000}) for i in range(2)]
    write_frame(frames[0], path)
    stop, wrong = threading.Event(), []

    def watch():
        while not stop.is_set():
            seen = set(path.read_text().split()[1:])
            if len(seen) != 1 or path.stat().st_size < 10_000:
                wrong.append(seen)

    thread = threading.Thread(target=watch)
    thread.start()
    for i in range(20):
        write_frame(frames[i % 2], path)
    stop.set()
    thread.join()
    assert not wrong
