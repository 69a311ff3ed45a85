"""Recorded uses of mechanisms, run again and again on both inputs, with their likelihood ratios.

The exact log likelihood ratio is the best test there is (Neyman and Pearson), and ratios of
independent releases add up. Only what differs between the two inputs is run again: what has the
same law in both worlds tells nothing, whatever is released there. Adaptive methods are frozen on
the path that was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pegai.audit.gdp import Array
from pegai.audit.replay import Call
from pegai.privacy.mechanisms import (
    BoundedRangeMechanism,
    ExponentialMechanism,
    GaussianMechanism,
    LaplaceMechanism,
)
from pegai.privacy.samplers import SecureRandom

CHUNK_VALUES = 4_000_000


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a mechanism in both worlds.

    Attributes:
        without: Its recorded call without the patient.
        with_one: The same with them, in a step for which they were sampled.
        sampling_probability: The chance of that, 1 where nobody is sampled.
    """

    without: Call
    with_one: Call
    sampling_probability: float = 1.0

    def ratios(self, world: int, runs: int) -> Array:
        """Log likelihood ratios of "with" to "without" in fresh runs of a world.

        Args:
            world: 0 without the patient, 1 with them.
            runs: How many.

        Returns:
            Shape (runs,).
        """
        if self.without.kind == "choose":
            return self._of_choices(world, runs)
        if self.without.kind == "randomized_response":
            return self._of_answers(world, runs)
        whole = self.without.values.dtype.kind in "iu"
        if self.without.kind == "gaussian" and (self.sampling_probability < 1 or not whole):
            return self._along_difference(world, runs)
        return self._of_cells(world, runs)

    def _of_cells(self, world: int, runs: int) -> Array:
        """Noise on numbers, cell by cell: on integers each has noise of its own."""
        first = np.asarray(self.without.values).ravel()
        second = np.asarray(self.with_one.values).ravel()
        differs = first != second
        if first.dtype.kind == "f":
            # The grid of floats depends on how many there are: all of them are run.
            differs = np.full(first.shape, bool(differs.any()))
        first, second = first[differs], second[differs]
        found = np.zeros(runs)
        chunk = max(CHUNK_VALUES // max(first.size, 1), 1)
        for start in range(0, runs if first.size else 0, chunk):
            count = min(chunk, runs - start)
            released = self._released(second if world else first, count)
            found[start : start + count] = self._score(released, first, second)
        return found

    def _released(self, values: Array, count: int) -> Array:
        mechanism = self.without.mechanism
        if values.size == 1:
            # One number many times is a vector, on a finer grid and with up to 0.1 % more noise.
            return mechanism.release(np.full(count, values[0]))[:, None]
        if values.dtype.kind == "f":
            return np.stack([mechanism.release(values) for _ in range(count)])
        return mechanism.release(np.broadcast_to(values, (count, values.size)))

    def _score(self, y: Array, first: Array, second: Array) -> Array:
        mechanism = self.without.mechanism
        a, b = first.astype(np.float64), second.astype(np.float64)
        if isinstance(mechanism, GaussianMechanism):
            return (y - (a + b) / 2) @ (b - a) / _deviation(mechanism) ** 2
        laplace: LaplaceMechanism = mechanism
        scale = laplace.l1_sensitivity * laplace.noise_multiplier
        return (np.abs(y - a) - np.abs(y - b)).sum(axis=-1) / scale

    def _along_difference(self, world: int, runs: int) -> Array:
        """Gaussian noise on floats, along the direction in which the worlds differ.

        Its law depends on the two inputs through their distance alone, so one number stands for
        the vector; only the grid is another, which is worth 0.1 % of the noise. In a sampled step
        the distance is at least the sensitivity: a gradient may be clipped there, whether or not
        that of the recorded patient was.
        """
        mechanism, q = self.without.mechanism, self.sampling_probability
        change = np.ravel(self.with_one.values - self.without.values).astype(np.float64)
        far = float(np.linalg.norm(change))
        if q < 1:
            far = max(far, float(mechanism.l2_sensitivity))
        taking_part = np.ones(runs, bool) if q == 1 else SecureRandom().bernoulli(q, runs)
        y = mechanism.release(far * taking_part * bool(world))
        loss = (y - far / 2) * far / _deviation(mechanism) ** 2
        return loss if q == 1 else np.log1p(q * np.expm1(loss))

    def _of_choices(self, world: int, runs: int) -> Array:
        """Choices; permute-and-flip is scored as if it were the exponential mechanism."""
        mechanism: BoundedRangeMechanism | ExponentialMechanism = self.without.mechanism
        rate = mechanism.epsilon / (2 * mechanism.sensitivity)
        calls = (self.without, self.with_one)
        logs = [_log_shares(rate * np.asarray(c.values, np.float64)) for c in calls]
        scores = calls[world].values
        if isinstance(mechanism, BoundedRangeMechanism):
            chosen = mechanism.release_many(scores, runs)
        else:
            chosen = np.array([int(mechanism.release(scores)[0]) for _ in range(runs)])
        return (logs[1] - logs[0])[chosen]

    def _of_answers(self, world: int, runs: int) -> Array:
        """Randomized response at the places that differ, by which of the two answers was given."""
        first, second = np.ravel(self.without.values), np.ravel(self.with_one.values)
        differs = first != second
        first, second = first[differs], second[differs]
        values = np.broadcast_to(second if world else first, (runs, first.size))
        answers = self.without.mechanism.release(values)
        return ((answers == second) * 1.0 - (answers == first)).sum(axis=1)


def layer_scores(uses: list[Use], runs: int) -> tuple[Array, Array]:
    """Log likelihood ratios of a whole measurement layer, without and with the patient."""
    scores = [np.zeros(runs), np.zeros(runs)]
    for use in uses:
        for world in (0, 1):
            scores[world] += use.ratios(world, runs)
    return scores[0], scores[1]


def _deviation(mechanism: Any) -> float:
    return mechanism.l2_sensitivity * mechanism.noise_multiplier


def _log_shares(scores: Array) -> Array:
    lowered = scores - scores.max()
    return lowered - np.log(np.exp(lowered).sum())
