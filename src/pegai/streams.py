"""Named random streams, so that one seed serves every purpose without sharing a draw.

Four purposes draw random numbers: `noise` (privacy), `model` (weights, batches), `sample`
(synthetic rows) and `split` (who is a holdout patient). Three of them may be seeded. `noise` may
not: it comes from the operating system and is drawn in `pegai.privacy.samplers` only, so there is
deliberately no way to ask for it here.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

import numpy as np

StreamName = Literal["model", "sample", "split"]


@dataclass(frozen=True)
class Streams:
    """The seeded random streams of one run.

    Attributes:
        seed: A non-negative integer. Equal seeds give equal streams on every machine.

    Example:
        >>> bool(Streams(7).get("model").random() == Streams(7).get("model").random())
        True
        >>> bool(Streams(7).get("model").random() == Streams(7).get("sample").random())
        False
    """

    seed: int

    @classmethod
    def fresh(cls) -> Streams:
        """Streams from a secret 64-bit seed that is stored nowhere."""
        return cls(secrets.randbits(64))

    def get(self, name: StreamName, index: int = 0) -> np.random.Generator:
        """The generator of a purpose; `index` separates repeats (replicates, chunks)."""
        digest = hashlib.sha256(f"pegai/{name}/{index}".encode()).digest()
        key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def child(self, name: str) -> Streams:
        """Streams for a part of the run, independent of this one's and of its siblings'."""
        digest = hashlib.sha256(f"pegai/child/{self.seed}/{name}".encode()).digest()
        return Streams(int.from_bytes(digest[:8], "little"))
