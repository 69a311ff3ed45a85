"""Sequential CART, synthpop's way (Nowok et al. 2016): what forty lines of scikit-learn reach.

Column by column, a tree is grown on the columns before, and each cell is drawn from the training
rows of its leaf; whether a number is missing has a tree of its own. `cart-smooth` has leaves of 30,
takes the columns by rising number of values, and draws numbers between neighbours of a leaf where
they are not shared by ten rows or more (a capital gain of 0, a full score).

    python cart_peer.py REQUEST.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from meter import Meter
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

LEAF = {"cart": 15, "cart-smooth": 30}
SHARED = 10
Leaves = tuple[DecisionTreeClassifier | DecisionTreeRegressor | None, np.ndarray, np.ndarray]


def shared(values: np.ndarray) -> np.ndarray:
    """Values of ten rows or more."""
    found, counts = np.unique(values, return_counts=True)
    return found[counts >= SHARED]


class Cart:
    """Trees and the training values of their leaves."""

    def __init__(self, frame: pd.DataFrame, discrete: list[str], method: str, seed: int) -> None:
        self.leaf, self.smooth, self.seed = LEAF[method], method == "cart-smooth", seed
        order = sorted(frame, key=lambda n: frame[n].nunique()) if self.smooth else list(frame)
        self.levels = {n: sorted(frame[n].dropna().unique()) for n in discrete}
        coded = {n: frame[n].map({v: i for i, v in enumerate(self.levels[n])}) if n in discrete
                 else frame[n] for n in order}  # fmt: skip
        matrix = np.column_stack([c.astype(float) for c in coded.values()])
        self.shared: dict[str, np.ndarray] = {}
        self.columns: list[tuple[str, Leaves, Leaves]] = []
        for j, name in enumerate(order):
            gone, known = np.isnan(matrix[:, j]), ~np.isnan(matrix[:, j])
            self.shared[name] = shared(matrix[known, j])
            kind = DecisionTreeClassifier if name in discrete else DecisionTreeRegressor
            missing = self.grown(DecisionTreeClassifier, matrix[:, :j], gone.astype(float))
            values = self.grown(kind, matrix[known, :j], matrix[known, j])
            self.columns.append((name, missing, values))

    def grown(self, kind: type, x: np.ndarray, y: np.ndarray) -> Leaves:
        """A tree, and the values of its leaves, sorted by leaf and value."""
        tree = None
        if x.shape[1] and np.unique(y).size > 1:
            tree = kind(min_samples_leaf=self.leaf, random_state=self.seed).fit(x, y)
        ours = np.zeros(len(y)) if tree is None else tree.apply(x)
        order = np.lexsort((y, ours))
        return tree, ours[order], y[order]

    def drawn(
        self,
        leaves: Leaves,
        x: np.ndarray,
        rng: np.random.Generator,
        whole: np.ndarray | None = None,
    ) -> np.ndarray:
        """A training value of each row's leaf; moved where it is none of the whole ones."""
        tree, ours, values = leaves
        theirs = np.zeros(len(x)) if tree is None else tree.apply(x)
        low, high = (np.searchsorted(ours, theirs, side=s) for s in ("left", "right"))
        place = low + (rng.random(len(x)) * (high - low)).astype(int)
        found = values[place]
        if whole is None:
            return found
        above = values[np.minimum(place + 1, high - 1)]
        moved = found + rng.random(len(x)) * (above - found)
        return np.where(np.isin(found, whole) | np.isin(above, whole), found, moved)

    def sample(self, rows: int, decimals: dict[str, int], seed: int) -> pd.DataFrame:
        """Synthetic rows."""
        rng, x, made = np.random.default_rng(seed), np.empty((rows, 0)), {}
        for name, missing, values in self.columns:
            new = np.full(rows, np.nan)
            known = self.drawn(missing, x, rng) == 0
            if len(values[2]):
                numbers = self.smooth and name not in self.levels
                whole = self.shared[name] if numbers else None
                new[known] = self.drawn(values, x[known], rng, whole).round(decimals[name])
            x = np.column_stack([x, new])
            if name in self.levels:
                texts = np.array([*self.levels[name], None], dtype=object)
                made[name] = texts[np.where(np.isnan(new), -1, new).astype(int)]
            else:
                made[name] = new
        return pd.DataFrame(made)


def main() -> None:
    """Fit, sample and write."""
    request = json.loads(Path(sys.argv[1]).read_text())
    texts = dict.fromkeys(request["discrete"], "string")
    frame = pd.read_csv(request["train_csv"], dtype=texts, keep_default_na=False, na_values=[""])
    meter = Meter()
    with meter.part("fit"):
        model = Cart(frame, request["discrete"], request["method"], request["seed"])
    with meter.part("sample"):
        made = model.sample(request["rows"], request["decimals"], request["seed"])
    made[frame.columns].to_csv(request["made"], index=False)
    meter.write(request["run"])


if __name__ == "__main__":
    main()
