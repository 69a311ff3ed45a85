"""Tables: reading and writing them, fitting them to a schema, splitting them by patient."""

from pegai.data.atomic import atomic_folder, atomic_path, atomic_write_bytes, atomic_write_text
from pegai.data.conform import conform, load_table, scan_table
from pegai.data.csv_dialect import Dialect, sniff_csv
from pegai.data.files import read_frame, scan_frame, write_frame, write_table
from pegai.data.frames import like, to_polars
from pegai.data.splits import Split, split, split_independently
from pegai.data.table import DTYPES, Table

__all__ = [
    "DTYPES",
    "Dialect",
    "Split",
    "Table",
    "atomic_folder",
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_text",
    "conform",
    "like",
    "load_table",
    "read_frame",
    "scan_frame",
    "scan_table",
    "sniff_csv",
    "split",
    "split_independently",
    "to_polars",
    "write_frame",
    "write_table",
]
