"""Fresh fictitious values in the place of identifiers, with faker's names, streets and towns.

Values come from ranges that belong to nobody where there are such ranges: 555-01xx telephones,
example.org, social security numbers from 900 on, the benchmarking network 198.18.0.0/15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.persons import first_names
from pegai.errors import UsageError

_C = IdentifierClass
Draw = Callable[[int], list[str]]

_POOL = 1_200
_DIGITS, _UPPER, _LOWER, _HEX = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "", "0123456789abcdef"
_LOWER = _UPPER.lower()
_UUID = "hhhhhhhh-hhhh-4hhh-ahhh-hhhhhhhhhhhh"


@dataclass(frozen=True, eq=False)
class Fictitious:
    """A source of fictitious values.

    Attributes:
        rng: Where the randomness comes from; equal states give equal values.
        locale: Faker's name of a language and country, as in `de_DE`.
    """

    rng: np.random.Generator
    locale: str = "en_US"

    def replacements(self, kind: IdentifierClass, originals: pl.Series) -> pl.Series:
        """As many different values as there are originals, none of which is an original.

        Args:
            kind: What the originals are; its form is kept where that gives nothing away.
            originals: Distinct texts, none missing; shape (distinct,).

        Returns:
            Texts; shape (distinct,).
        """
        return self._distinct(self._drawer(kind, originals), originals)

    def codes(self, originals: pl.Series, *, whole_numbers: bool) -> pl.Series:
        """Patient codes that tell nothing: `P` and eight digits, or whole numbers.

        Args:
            originals: Distinct texts; shape (distinct,).
            whole_numbers: Whether the codes must be numbers.
        """
        digits = max(8, len(str(originals.len())) + 2)
        mask = ("1" if whole_numbers else "P1") + "0" * (digits - 1)
        return self._distinct(lambda n: self._from_mask(mask, n, literal="P"), originals)

    def _distinct(self, draw: Draw, originals: pl.Series) -> pl.Series:
        taken = {value.casefold() for value in originals}
        found: list[str] = []
        attempt = 0
        while len(found) < originals.len():
            wanted = originals.len() - len(found)
            for value in draw(wanted + wanted // 4 + 4):
                # A space of values that is nearly used up is widened by digits.
                tail = "" if attempt < 12 else str(self.rng.integers(10 ** (attempt - 10)))
                if (value + tail).casefold() not in taken:
                    taken.add((value + tail).casefold())
                    found.append(value + tail)
            attempt += 1
        return pl.Series(originals.name, found[: originals.len()], pl.String)

    def _drawer(self, kind: IdentifierClass, originals: pl.Series) -> Draw:
        if kind == _C.NAME:
            return self._names(originals)
        if kind == _C.GEOGRAPHY and not originals.str.contains(r"^[\d -]+$|^\S{1,4} \S{3}$").all():
            return self._places(originals)
        by_kind: dict[IdentifierClass, Draw] = {
            _C.PHONE: self._phones,
            _C.FAX: self._phones,
            _C.EMAIL: self._emails,
            _C.URL: lambda n: [f"https://example.org/{c}" for c in self._hex(n, 10)],
            _C.PHOTO: lambda n: [f"{code}.jpg" for code in self._hex(n, 12)],
            _C.IP: self._addresses,
        }
        if kind in by_kind:
            return by_kind[kind]
        if kind == _C.NATIONAL_ID and originals.str.contains(r"^\d{3}-\d{2}-\d{4}$").all():
            return self._social_security
        mask = _mask(originals)
        return lambda n: self._from_mask(mask, n)

    def _names(self, originals: pl.Series) -> Draw:
        faker = self._faker()
        first = _pool(faker.first_name, originals.len())
        last = _pool(faker.last_name, originals.len())
        words = originals.str.count_matches(r"\s+").mean()
        if isinstance(words, float) and words >= 0.5:
            family_first = originals.str.contains(",").mean() or 0.0
            form = "{1}, {0}" if float(family_first) > 0.5 else "{0} {1}"  # pyright: ignore[reportArgumentType]
            return lambda n: [form.format(*pair) for pair in self._pairs(first, last, n)]
        known = originals.head(500).str.to_lowercase().is_in(list(first_names())).mean()
        pool = first if float(known or 0) > 0.5 else last  # pyright: ignore[reportArgumentType]
        if originals.len() < len(pool) // 3:
            return lambda n: list(self.rng.choice(pool, n))
        return lambda n: ["-".join(pair) for pair in self._pairs(pool, last, n)]

    def _places(self, originals: pl.Series) -> Draw:
        faker = self._faker()
        if float(originals.str.contains(r"\d").mean() or 0) > 0.5:  # pyright: ignore[reportArgumentType]
            streets = _pool(faker.street_name, originals.len())
            return lambda n: [
                f"{number} {street}"
                for number, street in zip(
                    self.rng.integers(1, 10_000, n), self.rng.choice(streets, n), strict=True
                )
            ]
        towns = _pool(faker.city, originals.len())
        return lambda n: list(self.rng.choice(towns, n))

    def _emails(self, n: int) -> list[str]:
        faker = self._faker()
        pairs = self._pairs(_pool(faker.first_name, 20), _pool(faker.last_name, 20), n)
        numbers = self.rng.integers(1, 100_000, n)
        plain = [f"{f}.{s}{i}".replace(" ", "") for (f, s), i in zip(pairs, numbers, strict=True)]
        return [f"{name.lower()}@example.org" for name in plain]

    def _phones(self, n: int) -> list[str]:
        area, line = self.rng.integers(200, 999, n), self.rng.integers(0, 100, n)
        return [f"{a}-555-01{b:02d}" for a, b in zip(area, line, strict=True)]

    def _social_security(self, n: int) -> list[str]:
        parts = (self.rng.integers(*r, n) for r in ((900, 1000), (1, 50), (1, 10_000)))
        return [f"{a}-{b:02d}-{c:04d}" for a, b, c in zip(*parts, strict=True)]

    def _addresses(self, n: int) -> list[str]:
        parts = (self.rng.integers(*r, n) for r in ((18, 20), (0, 256), (0, 256)))
        return [f"198.{a}.{b}.{c}" for a, b, c in zip(*parts, strict=True)]

    def _pairs(self, left: list[str], right: list[str], n: int) -> list[tuple[str, str]]:
        drawn = (self.rng.choice(left, n), self.rng.choice(right, n))
        return [(str(a), str(b)) for a, b in zip(*drawn, strict=True)]

    def _hex(self, n: int, length: int) -> list[str]:
        return self._from_mask("h" * length, n)

    def _from_mask(self, mask: str, n: int, *, literal: str = "") -> list[str]:
        """Random codes of a form: 0 a digit, 1 a digit above 0, A and a letters, h hexadecimal."""
        sets = {"0": _DIGITS, "1": _DIGITS[1:], "A": _UPPER, "a": _LOWER, "h": _HEX}
        columns = [
            self.rng.choice(list(sets[mark]), n)
            if mark in sets and mark not in literal
            else np.full(n, mark)
            for mark in mask
        ]
        return ["".join(row) for row in zip(*columns, strict=True)]

    def _faker(self) -> Any:
        from faker import Faker

        try:
            faker = Faker(self.locale)
        except AttributeError:
            raise UsageError(
                f"faker has no locale {self.locale!r}", hint="for example en_US, de_DE or fr_FR"
            ) from None
        faker.seed_instance(int(self.rng.integers(2**62)))
        return faker


def _pool(draw: Callable[[], str], wanted: int) -> list[str]:
    """Different words of faker, in order; enough to choose from, never more than needed."""
    return sorted({draw() for _ in range(min(_POOL, 60 + 3 * wanted))})


def _mask(originals: pl.Series) -> str:
    """The form that most originals have, wide enough for twenty times as many values."""
    if originals.str.contains(r"(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$").all():
        return _UUID
    if originals.len() == 0:
        return "00000000"
    hexadecimal = originals.str.contains(r"^[0-9a-f:-]{8,}$") & originals.str.contains("[a-f]")
    if float(hexadecimal.mean() or 0) > 0.5:  # pyright: ignore[reportArgumentType]
        forms = originals.str.replace_all(r"[0-9a-f]", "h")
    else:
        # First every letter of any script, then digits: nothing of an original but its form stays.
        forms = originals.str.replace_all(r"\p{Ll}", "a").str.replace_all(r"[^\x20-\x7Ea]", "A")
        forms = forms.str.replace_all(r"[A-Z]", "A").str.replace_all(r"\d", "0")
        forms = forms.str.replace(r"^0", "1")
    counted = (
        forms.str.head(40)
        .value_counts(sort=True, name="rows")
        .sort(["rows", originals.name], descending=[True, False])
    )
    mask = str(counted[originals.name][0])
    space = np.prod(
        [{"0": 10.0, "1": 9.0, "A": 26.0, "a": 26.0, "h": 16.0}.get(m, 1.0) for m in mask]
    )
    missing = np.log10(20.0 * max(originals.len(), 50) / max(float(space), 1.0))
    return mask + "0" * max(0, int(np.ceil(missing)))
