"""Person names by value: faker's lists of first and last names as an offline dictionary."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib import import_module

import polars as pl

from pegai.data.deidentify.profile import Profile

_LOCALES_TEXT = (
    "en_US en_GB en_IN de_DE de_AT de_CH fr_FR fr_CH es_ES es_MX it_IT nl_NL pt_PT pt_BR "
    "pl_PL sv_SE da_DK no_NO fi_FI tr_TR cs_CZ"
)
_LOCALES = _LOCALES_TEXT.split()
_TITLES_TEXT = (
    "mr mrs ms miss dr prof professor sir herr frau hr fr doktor m mme mlle sr sra srta don "
    "dona sig sigra dott dottssa dhr mevr drs ir jr ii iii iv md phd dds dvm rn van von der "
    "den de del della di da la le du dos das y und and e zu zur ten ter 't"
)
_TITLES = frozenset(_TITLES_TEXT.split())
_COMMON_TEXT = (
    "white black brown asian green gray grey gold rose may june april august summer winter "
    "male female young old little long short large small normal mild moderate severe high "
    "low left right north south east west urban rural married single divorced widowed "
    "christian jewish married college school private self none other unknown case control "
    "active england france ireland holland paris london berlin madrid roma milan monday "
    "sunday man woman child baby savage wise good best strong weak cold heart bone hand foot "
    "head neck lung"
)
_COMMON = frozenset(_COMMON_TEXT.split())
"""Words that are names too, but stand in clinical tables as something else."""

_MIN_DISTINCT = 5
_MIN_SHARE = 0.6


@cache
def first_names() -> frozenset[str]:
    """Given names of some twenty locales, lower case and without accents."""
    return _collect(("first_names", "first_names_male", "first_names_female"))


@cache
def last_names() -> frozenset[str]:
    """Family names of some twenty locales, lower case and without accents."""
    return _collect(("last_names", "last_names_male", "last_names_female"))


def _collect(attributes: tuple[str, ...]) -> frozenset[str]:
    found: set[str] = set()
    for locale in _LOCALES:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        for attribute in attributes:
            listed = getattr(provider, attribute, ())
            if not isinstance(listed, property):
                found.update(_plain(name) for name in listed)
    return frozenset(found - _COMMON)


def _plain(text: str) -> str:
    """Lower case without accents; ß is ss and the apostrophe is gone, as in a user's search."""
    spread = unicodedata.normalize("NFKD", text.replace("ß", "ss").lower())
    return spread.encode("ascii", "ignore").decode().replace("'", "").replace(".", "")


def person_share(column: Profile) -> float:
    """Share of a column's cells with a value that are names of persons, or 0.

    One word counts as a name if it is in either list; two to five words if a given and a family
    name are among them. A column is said to hold names from five distinct ones on (one is enough
    for full names), and where they are at least three in five of its distinct values.
    """
    if column.distinct == 0 or column.is_numeric or column.mean_words > 6:
        return 0.0
    few = column.sample(1_000)
    found = [_name_words(value) for value in few.values]
    full = sum(n >= 2 for n in found)
    named = sum(n >= 1 for n in found)
    enough = full >= 1 and full >= _MIN_SHARE * few.distinct
    if not enough and (named < _MIN_DISTINCT or named < _MIN_SHARE * few.distinct):
        return 0.0
    return few.share(pl.Series([n >= 1 for n in found], dtype=pl.Boolean))


def _name_words(value: str) -> int:
    """2 for a full name, 1 for a single name, 0 for anything else."""
    if len(value) > 60 or not value[:1].isalpha():
        return 0
    parts = _plain(value).replace(",", " ").replace("-", " ").split()
    parts = [part.rstrip("0123456789") for part in parts]
    parts = [part for part in parts if part and part not in _TITLES]
    if not 1 <= len(parts) <= 5 or not all(part.isalpha() for part in parts):
        return 0
    given = [part in first_names() for part in parts]
    family = [part in last_names() for part in parts]
    if len(parts) == 1:
        return int(given[0] or family[0])
    pairs = any(g and f for i, g in enumerate(given) for j, f in enumerate(family) if i != j)
    return 2 if pairs else 0
