"""A mixture of products, fitted to noisy marginals.

Each class c has K components; a component is a product of one-way shares:

    p(c, x) = p(c) sum_k w_ck prod_j theta_ckj(x_j).

Marginals of two columns are then sums over components of outer products, so all of them together
are a handful of matrix products, and a step of the fit takes a millisecond. Mixtures of products
were fitted to noisy marginals by McKenna et al. 2022 (AIM, arXiv:2201.12677, appendix) and Liu et
al. 2021 ("Iterative methods for private synthetic data", RAP-softmax, GEM).

**The penalty.** Cells of pure noise would be fitted as dependence. The fit therefore pays for what
the component tells about a column, in nats a patient (the mutual information I(Z; X_j | C), in the
rate of Tishby's bottleneck), with a price that thinning chooses (see `measurements`), and a small
fixed price for what the class tells, I(C; X_j). Where noise drowns everything, the price drives
the components together and what is left is naive Bayes; where even that is noise, independence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pegai.synth.marginals.measurements import Array, Cells, Layout, Problem, RowBlock

FLOOR = 1e-3
"""Share of the total that starts every cell, so that noise can't close a cell for good."""

CLASS_PRICE = 10.0
"""Price of I(C; X_j), in patients."""

UNIFORM_PRICE = 1.0
"""Price of what a column's shares tell over even ones, in patients: noise alone is even."""

SPREAD = 0.3
"""Standard deviation of the starting logits around the one-way shares."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture.

    Attributes:
        layout: The columns, without the class.
        weights: Share of each component, shape (classes, components); sums to 1.
        shares: Inside each component, shape (classes, components, width); each column sums to 1.
    """

    layout: Layout
    weights: Array
    shares: Array

    def pair(self, first: int, second: int) -> Array:
        """The joint shares of two columns by class, shape (classes, size, size)."""
        left = self.shares[:, :, self.layout.span(first)] * self.weights[:, :, None]
        right = self.shares[:, :, self.layout.span(second)]
        return np.matmul(left.transpose(0, 2, 1), right)

    @property
    def ones(self) -> Array:
        """One-way shares by class, shape (classes, width)."""
        return np.einsum("ck,ckd->cd", self.weights, self.shares)


@dataclass(frozen=True)
class FitSettings:
    """How a mixture is fitted.

    Attributes:
        components: K, for each class.
        steps: Steps of Adam.
        learning_rate: Its largest rate; rises over a tenth of the steps, then falls to nothing.
        price: Of what components tell, in patients.
    """

    components: int = 32
    steps: int = 600
    learning_rate: float = 0.1
    price: float = 100.0


Told = Callable[[float], None]


def _not_told(share: float) -> None:
    """Progress that nobody is told of."""


def fit_mixture(
    problem: Problem,
    settings: FitSettings,
    rng: np.random.Generator,
    *,
    start: Mixture | None = None,
    told: Told = _not_told,
) -> Mixture:
    """Fit by weighted least squares, penalised; Kingma and Ba's Adam on the logits.

    Args:
        problem: What was measured.
        settings: Components, steps, price.
        rng: Starting point only.
        start: A mixture of as many components to go on from.
        told: Told the share that is done.
    """
    if not problem.layout.sizes:
        shares = (problem.totals / problem.totals.sum())[:, None]
        return Mixture(problem.layout, shares, np.zeros((len(shares), 1, 0), np.float32))
    # Its many small products lose more by parting them among threads than they win.
    with threadpool_limits(1, user_api="blas"):
        return _fitted(problem, settings, rng, start, told)


def _fitted(
    problem: Problem,
    settings: FitSettings,
    rng: np.random.Generator,
    start: Mixture | None,
    told: Told,
) -> Mixture:
    fit = _Fit(problem, settings.price)
    logits, gates = _start(problem, settings, rng) if start is None else _resume(start)
    adam = _Adam([logits, gates])
    for step in range(settings.steps):
        shares, log_shares = _softmax_blocks(logits, problem.layout)
        inner = _softmax(gates)
        gradient, inner_gradient = fit.gradient(shares, log_shares, inner)
        rate = settings.learning_rate * _rate(step / settings.steps)
        adam.step([_through_softmax(gradient, shares, problem.layout), inner_gradient], rate)
        if step % 50 == 0:
            told(step / settings.steps)
    shares, _ = _softmax_blocks(logits, problem.layout)
    weights = _softmax(gates) * fit.class_shares[:, None]
    return Mixture(problem.layout, weights.astype(np.float64), shares)


def misfit(mixture: Mixture, problem: Problem) -> float:
    """Weighted squared distance of a mixture from what was measured: -2 log likelihood."""
    total = float(problem.totals.sum())
    ones = mixture.ones * total
    distance = _squares(problem.split_ones, ones)
    distance += _squares(problem.ones, ones.sum(axis=0, keepdims=True))
    for block in problem.blocks:
        left = mixture.shares[:, :, problem.layout.span(block.column)]
        left = left * mixture.weights[:, :, None]
        joint = total * np.matmul(left.transpose(0, 2, 1), mixture.shares[:, :, block.places])
        distance += _squares(block.split, joint)
        distance += _squares(block.whole, joint.sum(axis=0, keepdims=True))
    return distance


def _squares(cells: Cells, expected: Array) -> float:
    return float((cells.precision * (expected - cells.counts) ** 2).sum())


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Cells as shares, with weights of the squared distance, in float32; None is nothing."""

    target: Array
    weight: Array

    @classmethod
    def of(cls, cells: Cells, total: float) -> _Scaled | None:
        if cells.is_empty:
            return None
        target = (cells.counts / total).astype(np.float32)
        return cls(target, (cells.precision * total**2).astype(np.float32))

    def slope(self, expected: Array) -> Array:
        """Derivative of the weighted squared distance."""
        return 2.0 * self.weight * (expected - self.target)


class _Fit:
    """The objective's gradient; class totals are fixed."""

    def __init__(self, problem: Problem, price: float) -> None:
        total = float(problem.totals.sum())
        self.layout = problem.layout
        self.class_shares = (problem.totals / total).astype(np.float32)
        self.price = np.float32(price)
        self.ones = _Scaled.of(problem.ones, total)
        self.split_ones = _Scaled.of(problem.split_ones, total)
        self.blocks = [
            (b, _Scaled.of(b.whole, total), _Scaled.of(b.split, total)) for b in problem.blocks
        ]

    def gradient(self, shares: Array, log_shares: Array, inner: Array) -> tuple[Array, Array]:
        """Slopes at the shares (classes, components, width) and at the gates' logits."""
        weights = inner * self.class_shares[:, None]
        ones = np.matmul(weights[:, None, :], shares)[:, 0, :]
        # Each slope at a share has its component's weight as a factor: multiplied in at the end.
        at = self._price_slope(log_shares, ones)
        at += self._ones_slope(ones)[:, None, :]
        once = np.einsum("ckd,ckd->ck", at, shares)
        for block, whole, split in self.blocks:
            self._add_block(at, shares, weights, block, whole, split)
        # A pair reaches `at` from both of its columns, but the component's weight only once.
        at_inner = (once + np.einsum("ckd,ckd->ck", at, shares)) / 2 * self.class_shares[:, None]
        gates = inner * (at_inner - (inner * at_inner).sum(axis=1, keepdims=True))
        at *= weights[:, :, None]
        return at, gates

    def _price_slope(self, log_shares: Array, ones: Array) -> Array:
        inside = np.log(np.maximum(ones / self.class_shares[:, None], 1e-12))
        return self.price * (log_shares - inside[:, None, :])

    def _ones_slope(self, ones: Array) -> Array:
        slope = np.zeros_like(ones) if self.split_ones is None else self.split_ones.slope(ones)
        if self.ones is not None:
            slope = slope + self.ones.slope(ones.sum(axis=0, keepdims=True))
        pooled = np.log(np.maximum(ones.sum(axis=0), 1e-12))
        slope = slope + UNIFORM_PRICE * pooled
        if len(ones) > 1:
            inside = np.log(np.maximum(ones / self.class_shares[:, None], 1e-12))
            slope = slope + CLASS_PRICE * (inside - pooled)
        return slope

    def _add_block(
        self,
        at: Array,
        shares: Array,
        weights: Array,
        block: RowBlock,
        whole: _Scaled | None,
        split: _Scaled | None,
    ) -> None:
        span = self.layout.span(block.column)
        partners = block.places
        left, right = shares[:, :, span], shares[:, :, partners]
        joint = np.matmul((left * weights[:, :, None]).transpose(0, 2, 1), right)
        slope = np.zeros_like(joint) if split is None else split.slope(joint)
        if whole is not None:
            slope += whole.slope(joint.sum(axis=0, keepdims=True))
        at[:, :, span] += np.matmul(right, slope.transpose(0, 2, 1))
        at[:, :, partners] += np.matmul(left, slope)


class _Adam:
    """Kingma and Ba 2015 (arXiv:1412.6980), in place on arrays."""

    def __init__(self, arrays: list[Array]) -> None:
        self.arrays = arrays
        self.first = [np.zeros_like(a) for a in arrays]
        self.second = [np.zeros_like(a) for a in arrays]
        self.steps = 0

    def step(self, gradients: list[Array], rate: float) -> None:
        """Move every array against its gradient."""
        self.steps += 1
        fix_first, fix_second = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for i, gradient in enumerate(gradients):
            self.first[i] *= np.float32(0.9)
            self.first[i] += np.float32(0.1) * gradient
            self.second[i] *= np.float32(0.999)
            self.second[i] += np.float32(0.001) * gradient * gradient
            scale = np.sqrt(self.second[i] / np.float32(fix_second))
            scale += np.float32(1e-8)
            self.arrays[i] -= np.float32(rate / fix_first) * self.first[i] / scale


def _rate(done: float) -> float:
    """One cycle: up over a tenth, then a cosine to nothing."""
    if done < 0.1:
        return 0.04 + 0.96 * done / 0.1
    return 0.5 * (1 + float(np.cos(np.pi * (done - 0.1) / 0.9)))


def _start(
    problem: Problem, settings: FitSettings, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Logits around the one-way shares; gates all alike."""
    classes, width = len(problem.totals), problem.layout.width
    base = np.log(problem.known_ones / problem.totals.sum() + FLOOR)
    spread = SPREAD * rng.standard_normal((classes, settings.components, width))
    gates = np.zeros((classes, settings.components), np.float32)
    return (base + spread).astype(np.float32), gates


def _resume(start: Mixture) -> tuple[Array, Array]:
    inner = start.weights / start.weights.sum(axis=1, keepdims=True)
    logits = np.log(np.maximum(start.shares, 1e-12)).astype(np.float32)
    return logits, np.log(np.maximum(inner, 1e-12)).astype(np.float32)


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _softmax_blocks(logits: Array, layout: Layout) -> tuple[Array, Array]:
    """Shares and their logarithms; each column sums to 1."""
    starts, sizes = layout.starts, np.asarray(layout.sizes)
    lowered = logits - np.repeat(np.maximum.reduceat(logits, starts, axis=-1), sizes, axis=-1)
    shares = np.exp(lowered)
    sums = np.add.reduceat(shares, starts, axis=-1)
    lowered -= np.repeat(np.log(sums), sizes, axis=-1)
    shares /= np.repeat(sums, sizes, axis=-1)
    return shares, lowered


def _through_softmax(gradient: Array, shares: Array, layout: Layout) -> Array:
    """Slopes at the logits from slopes at the shares."""
    inner = gradient * shares
    sums = np.add.reduceat(inner, layout.starts, axis=-1)
    inner -= shares * np.repeat(sums, np.asarray(layout.sizes), axis=-1)
    return inner
