"""Numbers that prove themselves: national ids, bank accounts and cards by their check digits.

A column passes where at least 95 % of its distinct values of the right form have a right check
digit and chance would hardly do that: with `p` the chance that a random number passes, the
probability of as many hits among as many values is below one in a million (binomial tail).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from scipy.special import bdtrc

from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.profile import VALUE, Profile, count_each

_C = IdentifierClass


@dataclass(frozen=True)
class CheckedNumber:
    """A kind of number with a check digit.

    Attributes:
        name: What it is, for people.
        identifier_class: The class it belongs to.
        module: The module of python-stdnum that checks it, or `npi`, `vin`.
        regex: The form of the number; only values of this form are checked.
        chance: An upper bound of the chance that a random value of that form passes.
    """

    name: str
    identifier_class: IdentifierClass
    module: str
    regex: str
    chance: float


CHECKED: tuple[CheckedNumber, ...] = (
    CheckedNumber("IBAN", _C.ACCOUNT, "iban", r"^[A-Z]{2}\d{2}[ ]?[A-Z0-9 ]{11,38}$", 1 / 90),
    CheckedNumber(
        "Italian fiscal code",
        _C.NATIONAL_ID,
        "it.codicefiscale",
        r"^[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]$",
        1 / 20,
    ),
    CheckedNumber(
        "French social security number",
        _C.NATIONAL_ID,
        "fr.nir",
        r"^[12][ ]?\d{2}[ ]?\d{2}[ ]?\d[\dAB][ ]?\d{3}[ ]?\d{3}[ ]?\d{2}$",
        1 / 90,
    ),
    CheckedNumber("Spanish DNI", _C.NATIONAL_ID, "es.dni", r"^\d{8}-?[A-Z]$", 1 / 20),
    CheckedNumber("Spanish NIE", _C.NATIONAL_ID, "es.nie", r"^[XYZ]-?\d{7}-?[A-Z]$", 1 / 20),
    CheckedNumber(
        "Brazilian CPF", _C.NATIONAL_ID, "br.cpf", r"^\d{3}\.?\d{3}\.?\d{3}-?\d{2}$", 1 / 60
    ),
    CheckedNumber(
        "Belgian national number",
        _C.NATIONAL_ID,
        "be.nn",
        r"^\d{2}\.?\d{2}\.?\d{2}[- ]?\d{3}[.-]?\d{2}$",
        1 / 40,
    ),
    CheckedNumber(
        "Swiss AHV number", _C.NATIONAL_ID, "ch.ssn", r"^756\.?\d{4}\.?\d{4}\.?\d{2}$", 1 / 9
    ),
    CheckedNumber("Italian health card", _C.HEALTH_PLAN, "luhn", r"^80380\d{15}$", 1 / 9),
    CheckedNumber(
        "payment card",
        _C.ACCOUNT,
        "luhn",
        r"^[3-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}$|^3\d{3}[ -]?\d{6}[ -]?\d{4,5}$",
        1 / 9,
    ),
    CheckedNumber("device IMEI", _C.DEVICE, "imei", r"^\d{2}-?\d{6}-?\d{6}-?\d$", 1 / 9),
    CheckedNumber("US provider number", _C.LICENCE, "npi", r"^[12]\d{9}$", 1 / 9),
    CheckedNumber("NHS number", _C.NATIONAL_ID, "gb.nhs", r"^\d{3}[ -]?\d{3}[ -]?\d{4}$", 1 / 9),
    CheckedNumber(
        "German tax number",
        _C.NATIONAL_ID,
        "de.idnr",
        r"^[1-9]\d[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}$",
        1 / 9,
    ),
    CheckedNumber("Polish PESEL", _C.NATIONAL_ID, "pl.pesel", r"^\d{11}$", 1 / 9),
    CheckedNumber(
        "Swedish personal number",
        _C.NATIONAL_ID,
        "se.personnummer",
        r"^(\d{2})?\d{6}[-+]?\d{4}$",
        1 / 9,
    ),
    CheckedNumber(
        "Norwegian birth number", _C.NATIONAL_ID, "no.fodselsnummer", r"^\d{6}[ ]?\d{5}$", 1 / 50
    ),
    CheckedNumber(
        "Finnish personal code", _C.NATIONAL_ID, "fi.hetu", r"^\d{6}[-+A]\d{3}[0-9A-Y]$", 1 / 20
    ),
    CheckedNumber(
        "Austrian insurance number", _C.NATIONAL_ID, "at.vnr", r"^\d{4}[ ]?\d{6}$", 1 / 9
    ),
    CheckedNumber(
        "Turkish identity number", _C.NATIONAL_ID, "tr.tckimlik", r"^[1-9]\d{10}$", 1 / 50
    ),
    CheckedNumber(
        "Aadhaar", _C.NATIONAL_ID, "in_.aadhaar", r"^[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}$", 1 / 9
    ),
    CheckedNumber("Dutch BSN", _C.NATIONAL_ID, "nl.bsn", r"^\d{9}$", 1 / 9),
    CheckedNumber("Portuguese NIF", _C.NATIONAL_ID, "pt.nif", r"^[1-9]\d{8}$", 1 / 8),
    CheckedNumber(
        "Canadian social insurance number",
        _C.NATIONAL_ID,
        "ca.sin",
        r"^[1-9]\d{2}[ -]?\d{3}[ -]?\d{3}$",
        1 / 9,
    ),
    CheckedNumber("Irish PPS number", _C.NATIONAL_ID, "ie.pps", r"^\d{7}[A-W][A-IW]?$", 1 / 18),
    CheckedNumber(
        "vehicle identification number",
        _C.VEHICLE,
        "vin",
        r"^[A-HJ-NPR-Z0-9]{8}[0-9X][A-HJ-NPR-Z0-9]{8}$",
        1 / 9,
    ),
)
"""Every kind of number, the most particular form first."""

_SAMPLE = 500
_MIN_SHARE = 0.95
_MAX_CHANCE = 1e-6


@dataclass(frozen=True)
class CheckMatch:
    """The kind of number a column holds.

    Attributes:
        number: The kind.
        share: Share of the cells with a value of its form.
        rows: Number of cells of its form.
    """

    number: CheckedNumber
    share: float
    rows: int


def match_check_digits(columns: Sequence[Profile]) -> dict[str, CheckMatch]:
    """The kind of number of each column whose check digits are right beyond chance."""
    able = [c for c in columns if c.mean_digits >= 5 and c.mean_words <= 6]
    few = [column.sample(_SAMPLE) for column in able]
    shaped = count_each(few, [VALUE.str.contains(number.regex) for number in CHECKED])
    found: dict[str, CheckMatch] = {}
    for column, part, (*rows, _) in zip(able, few, shaped, strict=True):
        for number, n in zip(CHECKED, rows, strict=True):
            if n >= _MIN_SHARE * part.present and _is_proved(part, number):
                matched = column.count(VALUE.str.contains(number.regex))[0]
                found[column.name] = CheckMatch(number, matched / column.present, matched)
                break
    return found


def _is_proved(few: Profile, number: CheckedNumber) -> bool:
    check = _checker(number.module)
    tried = few.values.filter(few.values.str.contains(number.regex))
    passed = sum(check(value) for value in tried)
    if passed < _MIN_SHARE * tried.len():
        return False
    return bool(bdtrc(passed - 1, tried.len(), number.chance) < _MAX_CHANCE)


@cache
def _checker(module: str) -> Callable[[str], bool]:
    if module == "npi":
        luhn = import_module("stdnum.luhn").is_valid
        return lambda value: bool(luhn("80840" + value))
    if module == "vin":
        return _vin_is_valid
    if module == "luhn":
        luhn = import_module("stdnum.luhn").is_valid
        return lambda value: bool(luhn(value.replace(" ", "").replace("-", "")))
    return import_module(f"stdnum.{module}").is_valid


_VIN_VALUES = {
    **{digit: int(digit) for digit in "0123456789"},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    **{"P": 7, "R": 9},
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def _vin_is_valid(value: str) -> bool:
    """The check digit of 49 CFR 565.15: the ninth place is the weighted sum modulo 11."""
    total = sum(w * _VIN_VALUES[c] for w, c in zip(_VIN_WEIGHTS, value, strict=True))
    return "0123456789X"[total % 11] == value[8]
