"""Whether nearly every row has a code of its own: running numbers, record keys, hashes.

Measured quantities are unique too, so a number is a code only if it has the marks of one: whole,
and running, or long with a fixed number of digits and not rounded.
"""

from __future__ import annotations

from pegai.data.deidentify.profile import Profile

_MIN_ROWS = 20
_MIN_UNIQUE = 0.95

_CODES_OF_VOCABULARIES = "|".join(
    (
        r"^[A-TV-Z]\d[0-9A-Z]\.[0-9A-Z]{1,4}$",  # ICD-10 with its dot
        r"^[VE]?\d{3}\.\d{1,2}$",  # ICD-9 with its dot
        r"^[A-Z]\d{2}[A-Z]{2}\d{2}$",  # ATC
        r"^\d{1,6}-\d$",  # LOINC
        r"^\d{4,5}-\d{3,4}-\d{1,2}$",  # NDC
        r"^rs\d+$",  # dbSNP
        r"^(HP|ORPHA|OMIM|GO|MONDO|SNOMED|LOINC|RXNORM|ICD10|ICD9):",
    )
)


def is_unique_code(column: Profile) -> bool:
    """Whether the column is a code that tells rows apart."""
    if column.present < _MIN_ROWS or column.uniqueness < _MIN_UNIQUE:
        return False
    if column.is_integer:
        return _is_running(column) or _is_long_number(column)
    if column.is_numeric:
        return False
    return _is_text_code(column)


def _is_running(column: Profile) -> bool:
    """All different, and hardly a gap: 1, 2, 3 and so on, in any order."""
    if column.uniqueness < 1:
        return False
    numbers = column.numbers.drop_nulls()
    low, high = float(numbers.min() or 0), float(numbers.max() or 0)  # pyright: ignore[reportArgumentType]
    return column.present / (high - low + 1) >= 0.9


def _is_long_number(column: Profile) -> bool:
    """At least five digits, nearly all of one length or written with leading zeros, not rounded."""
    lengths = column.values.str.len_chars()
    usual = int(lengths.median() or 0)  # pyright: ignore[reportArgumentType]
    padded = column.share(column.values.str.starts_with("0")) > 0.02
    if usual < (4 if padded else 5):
        return False
    fixed = column.share(lengths == usual) >= (0.6 if usual >= 6 else 0.95)
    rounded = column.share(column.numbers % 10 == 0) > 0.3
    return (fixed or padded) and not rounded


def _is_text_code(column: Profile) -> bool:
    """One word with digits in it, or long words without a vowel pattern, and no public code."""
    few = column.sample(1_000)
    values = few.values
    if few.share(values.str.contains(_CODES_OF_VOCABULARIES)) >= 0.3:
        return False
    one_word = ~values.str.contains(r"\s")
    has_digit = values.str.contains(r"\d")
    # 120/80 and 3.4-5.2 are measures; a code has a letter or a run of five digits.
    coded = one_word & has_digit & values.str.contains(r"[A-Za-z]|\d{5}")
    measures = values.str.contains(
        r"^[<>=~≤≥]*\s?-?\d+([.,]\d+)?\s?[-/]?\s?(\d+([.,]\d+)?)?\s?[a-zA-Z/%µ]*\d?$"
    )
    letters = one_word & (values.str.len_chars() >= 6) & values.str.contains(r"^[A-Z0-9_-]+$")
    code = (coded & ~(measures & ~values.str.contains(r"\d{5}"))) | letters
    return few.share(code) >= 0.8
