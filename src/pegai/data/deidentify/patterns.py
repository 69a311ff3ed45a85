"""What the form of a value says: one regular expression for each kind of identifier.

Expressions are written for the `regex` crate (no look-around), in which polars runs them over a
whole column. A *sharp* pattern is so particular that one cell is enough to be told about; the
others count only when most cells of a column have the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.profile import VALUE, Profile, count_each

_C = IdentifierClass


@dataclass(frozen=True)
class Pattern:
    """The form of one kind of identifier.

    Attributes:
        name: What it is, for people.
        identifier_class: The class it belongs to.
        regex: What a value must match.
        unless: What a value must not match, if given.
        is_sharp: Whether a single matching cell says something; then the regex also finds the
            identifier inside a longer text.
        min_share: Share of the cells with a value that must match, for patterns that are not sharp.
    """

    name: str
    identifier_class: IdentifierClass
    regex: str
    unless: str | None = None
    is_sharp: bool = False
    min_share: float = 0.8

    def test(self, text: pl.Expr) -> pl.Expr:
        """Whether a text has the form; false where it is null."""
        found = text.str.contains(self.regex)
        if self.unless is not None:
            found = found & ~text.str.contains(self.unless)
        return found.fill_null(False)


_DAY = r"(0?[1-9]|[12]\d|3[01])"
_MONTH = r"(0?[1-9]|1[0-2])"
_LIKE_A_DATE = (
    rf"^({_DAY}[./ -]{_MONTH}|{_MONTH}[./ -]{_DAY})[./ -](\d{{4}}|\d{{2}})([T ]\d\d?:.*)?$|"
    r"^\d{4}[-./]"
)
_LIKE_NDC = r"^\d{4,5}-\d{3,4}-\d{1,2}$"
_OCTET = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
_MBI = "[AC-HJKMNP-RT-Y]"
_STREETS = (
    "street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|way|terrace|"
    "square|sq|circle|cir|trail|trl|parkway|pkwy|highway|hwy|route|crescent|close|mews|gate|ridge|"
    "crossing|spur|plaza|points?|turnpike|suite|apt"
)

PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "e-mail address",
        _C.EMAIL,
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
        is_sharp=True,
    ),
    Pattern(
        "photograph",
        _C.PHOTO,
        r"(?i)[\w)-]\.(jpe?g|png|gif|bmp|tiff?|heic|webp|dcm)$",
        is_sharp=True,
    ),
    Pattern(
        "biometric file", _C.BIOMETRIC, r"(?i)\w\.(wsq|fmr|fir|iso19794|ansi378)$", is_sharp=True
    ),
    Pattern(
        "web address", _C.URL, r"(?i)(\b(https?|ftp|s3|file)://\S+|^www\.\S+\.\S+)", is_sharp=True
    ),
    Pattern("MAC address", _C.DEVICE, r"(?i)^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$", is_sharp=True),
    Pattern(
        "UUID",
        _C.UNIQUE_CODE,
        r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        is_sharp=True,
    ),
    Pattern(
        "DICOM UID",
        _C.UNIQUE_CODE,
        r"^[0-2](\.(0|[1-9]\d*)){5,}$",
        unless=r"^1\.2\.840\.10008\.",  # the standard's own, such as storage classes
        is_sharp=True,
    ),
    Pattern(
        "US social security number",
        _C.NATIONAL_ID,
        r"^\d{3}-\d{2}-\d{4}$",
        unless=r"^(000|666)|-00-|-0000$",
        is_sharp=True,
    ),
    Pattern("IPv4 address", _C.IP, rf"^{_OCTET}(\.{_OCTET}){{3}}(/\d\d?|:\d+)?$"),
    Pattern(
        "IPv6 address",
        _C.IP,
        r"(?i)^([0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}$",
        unless=r"^\d\d?:\d\d:\d\d",
    ),
    Pattern(
        "telephone number",
        _C.PHONE,
        r"^(\+\d[\d\s().\-/]{6,20}\d|\(\d{2,5}\)[\d\s.\-/]{5,14}\d|"
        r"0\d{1,5}[\s./-][\d\s./-]{4,14}\d|"
        r"(0{0,2}1[-.\s]?)?\d{3}[-.\s]\d{3}[-.\s]\d{4}|"
        r"(0{0,2}1[-.\s]?)?\(\d{3}\)\s?\d{3}[-.\s]\d{4}|"
        r"(\(0\d{2,5}\)|0\d{2,5})\s?\d{3,10}[\s-]?\d{0,6})(\s?(x|ext\.?)\s?\d{1,6})?$",
        unless=rf"{_LIKE_A_DATE}|{_LIKE_NDC}|^\d+\.\d+$|^\d+$",
        min_share=0.6,
    ),
    Pattern("ZIP+4 code", _C.GEOGRAPHY, r"^\d{5}-\d{4}$"),
    Pattern(
        "postcode",
        _C.GEOGRAPHY,
        r"^([A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d|\d{4} [A-Z]{2}|"
        r"\d{5}-\d{3}|\d{4}-\d{3})$",
        unless=r" (MG|ML|IU|KG|CM|MM|DL|UI|IE|MC)$",
    ),
    Pattern(
        "street address",
        _C.GEOGRAPHY,
        rf"(?i)^\d{{1,6}}[a-z]?,? .*\b({_STREETS})\b\.?|^p\.?\s?o\.? box \d+|"
        r"^(psc|unit|uss) .*\b[af]po\b|"
        r"(straße|strasse|str\.|weg|platz|allee|gasse|ring|damm|straat|laan|plein)"
        r" ?\d{1,4} ?[a-z]?\b|"
        r"^\d{0,4},? ?(rue|avenue|boulevard|chemin|impasse|allée|place|quai) \w|"
        r"^(calle|avenida|plaza|paseo|camino|via|viale|corso|piazza|vicolo|rua|travessa|praça)"
        r" .*\d",
        min_share=0.6,
    ),
    Pattern(
        "house number and street",
        _C.GEOGRAPHY,
        r"^\d{2,6}[a-z]? ([A-Z][A-Za-z'.-]+ ){1,4}[A-Z][a-z]+( (Apt|Suite|Unit|#)\.? ?\w+)?$",
        min_share=0.9,
    ),
    Pattern(
        "coordinates",
        _C.GEOGRAPHY,
        r"^\(?-?\d{1,3}\.\d{3,}°?\s?[NS]?[,; ]\s?-?\d{1,3}\.\d{3,}°?\s?[EW]?\)?$",
    ),
    Pattern(
        "US Medicare number",
        _C.HEALTH_PLAN,
        rf"^[1-9]{_MBI}[0-9{_MBI[1:-1]}]\d-?{_MBI}[0-9{_MBI[1:-1]}]\d-?{_MBI}{{2}}\d{{2}}$",
    ),
    Pattern(
        "vehicle identification number",
        _C.VEHICLE,
        r"^[A-HJ-NPR-Z0-9]{17}$",
        unless=r"^(\d+|[A-Z]+)$",
        min_share=0.95,
    ),
)
"""Every pattern, the most particular first."""

_SAMPLE = 2_000
_MIN_MIXED = 0.8


@dataclass(frozen=True)
class PatternMatch:
    """The pattern that most of a column's cells have, or a sharp one that some have.

    Attributes:
        pattern: The pattern.
        share: Share of the cells with a value that match it.
        rows: Number of cells that match it.
    """

    pattern: Pattern
    share: float
    rows: int


def match_patterns(columns: Sequence[Profile]) -> dict[str, PatternMatch]:
    """The best pattern of each column that has one; numbers with a decimal point have none."""
    able = [c for c in columns if c.distinct and not (c.is_numeric and not c.is_integer)]
    few = [column.sample(_SAMPLE) for column in able]
    counted = count_each(few, [pattern.test(VALUE) for pattern in PATTERNS])
    found = {
        column.name: _best(column, part, rows)
        for column, part, rows in zip(able, few, counted, strict=True)
    }
    return {name: match for name, match in found.items() if match is not None}


def _best(column: Profile, few: Profile, counted: list[int]) -> PatternMatch | None:
    """The first pattern of most cells; else the most frequent of a mixture; else a sharp one."""
    *rows, mixed = counted
    for pattern, matched in zip(PATTERNS, rows, strict=True):
        if matched >= pattern.min_share * few.present:
            return _counted(column, [pattern])
    if mixed >= _MIN_MIXED * few.present:
        return _counted(column, [PATTERNS[rows.index(max(rows))]])
    sharp = [pattern for pattern in PATTERNS if pattern.is_sharp]
    is_whole = few.distinct == column.distinct
    if is_whole and not any(n for p, n in zip(PATTERNS, rows, strict=True) if p.is_sharp):
        return None
    return _counted(column, sharp)


def sharp_cells(values: pl.Series) -> pl.Series:
    """Which values have a sharp pattern; shape (values,)."""
    tests = [p.test(pl.col("text")) for p in PATTERNS if p.is_sharp]
    return values.alias("text").to_frame().select(pl.any_horizontal(*tests)).to_series()


def _counted(column: Profile, patterns: list[Pattern]) -> PatternMatch | None:
    """The pattern of most cells, with their number; None where no cell has any."""
    rows = column.count(*(pattern.test(VALUE) for pattern in patterns))
    most = max(rows)
    if not most:
        return None
    return PatternMatch(patterns[rows.index(most)], most / column.present, most)
