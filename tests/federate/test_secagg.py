"""Secure sums: exact, uniform to whoever lacks secrets, and refused where anything is amiss."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pegai.errors import FederationError
from pegai.federate import secagg
from pegai.federate.secagg import Advert, Exchange, SiteMask, unmask_sum

FALSE_ALARM = 1e-7
NAMES = tuple(f"site-{i:02d}" for i in range(12))
KEYS = {name: Ed25519PrivateKey.generate() for name in NAMES}
PINNED = {name: key.public_key().public_bytes_raw() for name, key in KEYS.items()}


def exchange(sites: int = 3, **changes: object) -> Exchange:
    plain = {"plan": "p", "run": "r", "number": 4, "attempt": 0, "asked": "q"} | changes
    return Exchange(participants=NAMES[:sites], **plain)  # pyright: ignore[reportArgumentType]


def masks(about: Exchange) -> dict[str, SiteMask]:
    return {name: SiteMask(about, name, KEYS[name]) for name in about.participants}


def masked(values: dict[str, np.ndarray], about: Exchange) -> dict[str, np.ndarray]:
    secret = masks(about)
    adverts = [mask.advert for mask in secret.values()]
    return {name: secret[name].mask(values[name], adverts, PINNED) for name in values}


def byte_uniformity(vector: np.ndarray) -> float:
    """The p-value of a chi-square test that all 256 bytes are as common."""
    counts = np.bincount(np.frombuffer(vector.tobytes(), np.uint8), minlength=256)
    return float(stats.chisquare(counts).pvalue)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([2, 3, 5, 12]),
    st.lists(st.integers(-(2**58), 2**58), min_size=0, max_size=40),
    st.integers(0, 2**32),
)
def test_the_sum_is_exact(sites: int, numbers: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    about = exchange(sites)
    first = np.array(numbers, np.int64)
    values = {n: rng.permutation(first) * rng.integers(-1, 2) for n in about.participants}
    total = unmask_sum(masked(values, about), about.participants)
    assert total.dtype == np.int64
    assert (total == np.sum(list(values.values()), axis=0)).all()


def test_sums_longer_than_a_chunk_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secagg, "CHUNK", 64)
    about = exchange(3)
    values = {name: np.arange(1000) * (i - 1) for i, name in enumerate(about.participants)}
    assert (unmask_sum(masked(values, about), about.participants) == 0).all()


@pytest.mark.parametrize("constant", [0, 123_456])
def test_what_a_site_sends_is_uniform(constant: int) -> None:
    """Chi-square over bytes, false alarms 1e-7; a table that is not masked fails it at once.

    The same for what any sites but one have sent, summed: the last one's masks are in it.
    """
    about = exchange(4)
    values = {name: np.full(20_000, constant) for name in about.participants}
    sent = masked(values, about)
    assert byte_uniformity(next(iter(values.values()))) < FALSE_ALARM
    for vector in sent.values():
        assert byte_uniformity(vector) > FALSE_ALARM
    for left_out in sent:
        rest = np.sum([v for n, v in sent.items() if n != left_out], axis=0, dtype=np.uint64)
        assert byte_uniformity(rest) > FALSE_ALARM
    assert byte_uniformity(unmask_sum(sent, about.participants)) < FALSE_ALARM


def test_masks_are_those_of_the_formula() -> None:
    """RFC 5869 by hand, AES-CTR from the library, Python's own integers."""
    about = exchange(2)
    secret = masks(about)
    a, b = about.participants
    private = secret[a]._secret
    assert private is not None
    shared = private.exchange(X25519PublicKey.from_public_bytes(secret[b].advert.key))
    salt = hashlib.sha256(about.to_bytes()).digest()
    key = hmac.new(salt, shared, hashlib.sha256).digest()
    info = b"pegai-federation-mask/1\n" + f'["{a}","{b}"]'.encode()
    key = hmac.new(key, info + b"\x01", hashlib.sha256).digest()
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(32))
    mask = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(4)]
    adverts = [m.advert for m in secret.values()]
    values = np.array([0, 1, -1, 2**40])
    added = secret[a].mask(values, adverts, PINNED)
    taken = secret[b].mask(values, adverts, PINNED)
    assert added.tolist() == [(int(v) + m) % 2**64 for v, m in zip(values, mask, strict=True)]
    assert taken.tolist() == [(int(v) - m) % 2**64 for v, m in zip(values, mask, strict=True)]


def test_masks_differ_between_exchanges() -> None:
    values = {name: np.zeros(100, np.int64) for name in NAMES[:3]}
    first, second = masked(values, exchange()), masked(values, exchange(number=5))
    assert not any((first[name] == second[name]).any() for name in values)


@pytest.mark.parametrize(
    "changes",
    [{"plan": "o"}, {"run": "o"}, {"number": 3}, {"attempt": 1}, {"asked": "other"}],
)
def test_a_site_that_was_asked_something_else_is_found_out(changes: dict[str, object]) -> None:
    """And so is whoever replays what a site signed for another exchange."""
    here, there = masks(exchange()), masks(exchange(**changes))
    a, b, c = NAMES[:3]
    adverts = [here[a].advert, here[b].advert, there[c].advert]
    with pytest.raises(FederationError, match="has not signed this exchange"):
        here[a].mask(np.zeros(3, np.int64), adverts, PINNED)


def test_other_participants_are_another_exchange() -> None:
    few = masks(exchange(3))
    many = masks(exchange(4))
    adverts = [few[NAMES[0]].advert, *(many[n].advert for n in NAMES[1:3])]
    with pytest.raises(FederationError, match="has not signed this exchange"):
        few[NAMES[0]].mask(np.zeros(3, np.int64), adverts, PINNED)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda adverts: adverts[:2],
        lambda adverts: [*adverts, adverts[1]],
        lambda adverts: [adverts[0], adverts[1], adverts[1]],
        lambda adverts: [adverts[0], replace(adverts[1], site="stranger"), adverts[2]],
        lambda adverts: [adverts[0], replace(adverts[1], site=NAMES[2]), adverts[2]],
        lambda adverts: [adverts[0], replace(adverts[1], key=adverts[2].key), adverts[2]],
        lambda adverts: [adverts[0], replace(adverts[1], key=bytes(31) + b"x"), adverts[2]],
        lambda adverts: [adverts[0], replace(adverts[1], signature=bytes(64)), adverts[2]],
        lambda adverts: [replace(adverts[0], signature=bytes(64)), *adverts[1:]],
        lambda adverts: [adverts[0], _of_another_key(adverts[1]), adverts[2]],
    ],
)
def test_keys_that_are_not_those_of_the_participants_are_refused(
    tamper: Callable[[list[Advert]], list[Advert]],
) -> None:
    secret = masks(exchange())
    adverts = tamper([m.advert for m in secret.values()])
    with pytest.raises(FederationError):
        secret[NAMES[0]].mask(np.zeros(3, np.int64), adverts, PINNED)


def _of_another_key(advert: Advert) -> Advert:
    """The coordinator puts a key of its own in, and signs it itself."""
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    signed = Ed25519PrivateKey.generate().sign(Advert.signed(exchange(), advert.site, key))
    return Advert(advert.site, key, signed)


@pytest.mark.parametrize("weak", [bytes(32), b"\x01" + bytes(31)])
def test_a_weak_key_is_refused_though_it_is_signed(weak: bytes) -> None:
    """Its shared secret is known to everyone."""
    secret, (a, b, c) = masks(exchange()), NAMES[:3]
    signed = Advert(b, weak, KEYS[b].sign(Advert.signed(exchange(), b, weak)))
    adverts = [secret[a].advert, signed, secret[c].advert]
    with pytest.raises(FederationError, match="weak"):
        secret[a].mask(np.zeros(3, np.int64), adverts, PINNED)


def test_an_unpinned_site_is_refused() -> None:
    secret = masks(exchange())
    adverts = [m.advert for m in secret.values()]
    known = {name: PINNED[name] for name in NAMES[:2]}
    with pytest.raises(FederationError, match="has not signed"):
        secret[NAMES[0]].mask(np.zeros(3, np.int64), adverts, known)


def test_a_secret_masks_once() -> None:
    secret = masks(exchange())
    adverts = [m.advert for m in secret.values()]
    secret[NAMES[0]].mask(np.zeros(3, np.int64), adverts, PINNED)
    with pytest.raises(FederationError, match="once"):
        secret[NAMES[0]].mask(np.ones(3, np.int64), adverts, PINNED)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_secret_is_not_copied(duplicate: Callable[[object], object]) -> None:
    mask = masks(exchange())[NAMES[0]]
    with pytest.raises(FederationError, match="copied"):
        duplicate(mask)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.array([2**61]), "too large"),
        (np.array([-(2**62)]), "too large"),
        (np.array([1.0]), "integers"),
        (np.array([1], np.uint64), "integers"),
    ],
)
def test_values_that_could_wrap_are_refused(values: np.ndarray, text: str) -> None:
    secret = masks(exchange())
    adverts = [m.advert for m in secret.values()]
    with pytest.raises(FederationError, match=text):
        secret[NAMES[0]].mask(values, adverts, PINNED)


def test_a_sum_needs_every_part_and_no_other() -> None:
    about = exchange(3)
    sent = masked({name: np.arange(4) for name in about.participants}, about)
    a = about.participants[0]
    for parts in (
        {n: v for n, v in sent.items() if n != a},
        sent | {"stranger": sent[a]},
        sent | {a: sent[a][:3]},
        sent | {a: sent[a].view(np.int64)},
    ):
        with pytest.raises(FederationError):
            unmask_sum(parts, about.participants)


@pytest.mark.parametrize("participants", [("a",), (), ("b", "a"), ("a", "a")])
def test_sums_of_too_few_or_unsorted_sites_are_refused(participants: tuple[str, ...]) -> None:
    with pytest.raises(FederationError):
        Exchange("p", "r", 0, 0, "q", participants)


def test_who_takes_no_part_makes_no_mask() -> None:
    with pytest.raises(FederationError, match="not among"):
        SiteMask(exchange(3), NAMES[5], KEYS[NAMES[5]])


def test_adverts_travel() -> None:
    advert = masks(exchange())[NAMES[0]].advert
    assert Advert.from_dict(advert.to_dict()) == advert


@pytest.mark.parametrize(
    "plain", [None, [], {}, {"site": "a", "key": "zz", "signature": ""}, "advert"]
)
def test_adverts_that_are_none_are_refused(plain: object) -> None:
    with pytest.raises(FederationError, match="advert"):
        Advert.from_dict(plain)
