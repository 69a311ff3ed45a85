"""Secure summation: the coordinator sees the sum of the sites' vectors, and of each one only noise.

Pairwise masks after Bonawitz et al. 2017 ("Practical secure aggregation for privacy-preserving
machine learning"), without their secret sharing: hospitals are few and come back, so a sum that a
site is missing from is made again with fresh keys.

For each exchange every site makes an X25519 key, and signs it together with everything it took the
exchange to be (`Advert`). The coordinator hands all adverts to all. A site goes on only if every
other one, under the key that the plan pins, has signed the same exchange: the same plan, run,
number, question and participants. So a coordinator that asks two sites two different things, or
puts keys of its own in between, is found out before anything masked leaves a site.

Each pair then shares a secret, from it HKDF-SHA256 makes a key that is bound to the exchange, and
AES-256-CTR under that key a mask of as many 64-bit integers as there are values. One of the two
adds it, the other subtracts it, in the ring of integers modulo 2^64. What a site sends is uniform
there; in the sum of all, masks cancel exactly.

**Who sees what.** Whoever lacks the secrets of at least two sites of an exchange learns the sum of
those sites' vectors and nothing else of them. Two sites alone hide nothing from each other. A
sum is not private by itself: the noise in it is (`privacy.noise_shares`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from pegai.errors import FederationError
from pegai.federate.wire import canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CONTEXT = b"pegai-federation-keys/1\n"
"""Put before what is signed, so that a signature of keys is one of nothing else."""

MASK_LABEL = b"pegai-federation-mask/1\n"
CHUNK = 1 << 20
RING_LIMIT = 2**62
"""Sums stay below this, so that they don't wrap around the ring."""


@dataclass(frozen=True)
class Exchange:
    """What a secure sum is about; every participant must take it for the same.

    Attributes:
        plan: Digest of the plan.
        run: Id of the run.
        number: Of the exchange in the run.
        attempt: How often it was begun before.
        asked: Digest of what was asked.
        participants: Names of the sites, sorted.
    """

    plan: str
    run: str
    number: int
    attempt: int
    asked: str
    participants: tuple[str, ...]

    def __post_init__(self) -> None:
        if list(self.participants) != sorted(set(self.participants)):
            raise FederationError("the participants of a sum must be sorted, each once")
        if len(self.participants) < 2:
            raise FederationError(
                "a secure sum needs at least two sites: the sum of one hides nothing"
            )

    def to_bytes(self) -> bytes:
        """What is signed, and what masks are bound to."""
        plain = [self.plan, self.run, self.number, self.attempt, self.asked]
        return canonical([*plain, list(self.participants)])


@dataclass(frozen=True)
class Advert:
    """A site's key for one exchange.

    Attributes:
        site: Whose.
        key: Public X25519 key, 32 bytes.
        signature: Of the exchange, the site and the key, by the site's own key.
    """

    site: str
    key: bytes
    signature: bytes

    @staticmethod
    def signed(exchange: Exchange, site: str, key: bytes) -> bytes:
        """What the signature is of."""
        return CONTEXT + canonical([exchange.to_bytes().decode(), site, key.hex()])

    def is_by(self, identity: bytes, exchange: Exchange) -> bool:
        """Whether the site whose public key is `identity` signed this key for this exchange."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            public = Ed25519PublicKey.from_public_bytes(identity)
            public.verify(self.signature, self.signed(exchange, self.site, self.key))
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_dict(self) -> dict[str, str]:
        """JSON types."""
        return {"site": self.site, "key": self.key.hex(), "signature": self.signature.hex()}

    @classmethod
    def from_dict(cls, plain: Any) -> Advert:
        """Read what `to_dict` wrote.

        Raises:
            FederationError: It is none.
        """
        try:
            key, signature = bytes.fromhex(plain["key"]), bytes.fromhex(plain["signature"])
            advert = cls(str(plain["site"]), key, signature)
        except (KeyError, TypeError, ValueError):
            raise FederationError("an advert of keys can't be read") from None
        if len(advert.key) != 32 or len(advert.signature) != 64:
            raise FederationError("an advert of keys has the wrong length")
        return advert


class SiteMask:
    """One site's secret of one exchange: masks once, and is gone with the process.

    Args:
        exchange: What the sum is about.
        site: This one.
        identity: Its own private key, whose public one the plan pins.

    Raises:
        FederationError: The site is no participant.
    """

    def __init__(self, exchange: Exchange, site: str, identity: Ed25519PrivateKey) -> None:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        if site not in exchange.participants:
            raise FederationError(f"site {site!r} is not among the participants of the sum")
        self.exchange = exchange
        self._site = site
        self._secret: X25519PrivateKey | None = X25519PrivateKey.generate()
        key = self._secret.public_key().public_bytes_raw()
        self.advert = Advert(site, key, identity.sign(Advert.signed(exchange, site, key)))

    def mask(
        self, values: np.ndarray, adverts: Sequence[Advert], pinned: Mapping[str, bytes]
    ) -> np.ndarray:
        """The values under the masks of all pairs that this site is in.

        Args:
            values: Signed integers, shape (n,).
            adverts: Of all participants, as the coordinator handed them out.
            pinned: The public key of each site, from the plan.

        Returns:
            uint64 of shape (n,); uniform to whoever lacks a secret.

        Raises:
            FederationError: The adverts are not those of this exchange, a value is too large, or
                this secret was used before.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        self.check(adverts, pinned)
        check_range(values, len(self.exchange.participants))
        secret, self._secret = self._secret, None
        if secret is None:
            raise FederationError("a mask is used once: begin the exchange anew")
        masked = values.astype(np.int64).view(np.uint64).copy()
        for advert in adverts:
            if advert.site == self._site:
                continue
            try:
                shared = secret.exchange(X25519PublicKey.from_public_bytes(advert.key))
            except ValueError:  # a key of low order, whose secret everyone knows
                raise FederationError(f"the key of site {advert.site!r} is a weak one") from None
            _add_mask(masked, shared, self.exchange, self._site, advert.site)
        return masked

    def check(self, adverts: Sequence[Advert], pinned: Mapping[str, bytes]) -> None:
        """Refuse adverts unless everybody is there, once, and has signed this very exchange.

        Raises:
            FederationError: As said.
        """
        if sorted(a.site for a in adverts) != list(self.exchange.participants):
            raise FederationError(
                "the keys handed out are not those of the participants, one each",
                hint="the coordinator must hand out what all sites sent, and nothing else",
            )
        if self.advert not in adverts:
            raise FederationError("the keys handed out do not hold this site's own")
        if len({advert.key for advert in adverts}) < len(adverts):
            raise FederationError("two sites have the same key")
        for advert in adverts:
            known = pinned.get(advert.site)
            if known is None or not advert.is_by(known, self.exchange):
                raise FederationError(
                    f"site {advert.site!r} has not signed this exchange: it was asked something "
                    "else, or its key is not its own",
                    hint="nothing was sent; ask the coordinator, and that site by another way",
                )

    def __copy__(self) -> NoReturn:
        raise FederationError("a mask can't be copied: it would be used twice")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce__(self) -> NoReturn:
        self.__copy__()


def check_range(values: np.ndarray, sites: int) -> None:
    """Refuse values whose sum over so many sites could wrap around the ring.

    Raises:
        FederationError: They are no signed integers, or one is too large.
    """
    if values.dtype != np.int64:
        raise FederationError(f"secure sums are of 64-bit integers, not of {values.dtype}")
    most = RING_LIMIT // sites
    if values.size and (values.max() > most or values.min() < -most):
        raise FederationError("a value is too large to be summed")


def unmask_sum(parts: Mapping[str, np.ndarray], participants: Sequence[str]) -> np.ndarray:
    """The sum of all sites' values, int64, from what they sent.

    Raises:
        FederationError: A part is missing or is none of a participant's, or shapes differ.
    """
    if sorted(parts) != sorted(participants):
        raise FederationError(
            "a secure sum needs the part of every participant, and no other",
            hint="what is missing hides all: begin the exchange anew",
        )
    arrays = list(parts.values())
    if any(a.dtype != np.uint64 or a.shape != arrays[0].shape for a in arrays):
        raise FederationError("the parts of a secure sum differ in length or type")
    total = np.zeros(arrays[0].shape, np.uint64)
    for array in arrays:
        total += array
    return total.view(np.int64)


def new_run() -> str:
    """An id for a run, 32 hexadecimal digits."""
    return secrets.token_hex(16)


def _add_mask(masked: np.ndarray, shared: bytes, exchange: Exchange, site: str, other: str) -> None:
    """Add the pair's mask in place, or subtract it: the site whose name sorts first adds."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = _mask_key(shared, exchange, *sorted((site, other)))
    # The key serves this one stream, so that a fixed counter to start from is safe.
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    for start in range(0, len(masked), CHUNK):
        part = masked[start : start + CHUNK]
        mask = np.frombuffer(stream.update(bytes(8 * len(part))), "<u8")
        if site < other:
            part += mask
        else:
            part -= mask


def _mask_key(shared: bytes, exchange: Exchange, first: str, second: str) -> bytes:
    """HKDF-SHA256 (RFC 5869), salted with the exchange and told the pair."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    salt = sha256(exchange.to_bytes()).digest()
    info = MASK_LABEL + canonical([first, second])
    return HKDF(SHA256(), 32, salt, info).derive(shared)
