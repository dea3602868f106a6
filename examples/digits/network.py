"""A fitted scikit-learn classifier as plain numbers: what train.py writes, serve.py reads and both can compute.

No pickle: a model file that can run code is nothing one wants to load into a server. A logistic regression is one
dense layer and an MLPClassifier is several, so one small format holds both, and a prediction costs microseconds.
A test holds this arithmetic to scikit-learn's own `predict_proba`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Network:
    """A scaler and dense layers: relu between layers, softmax at the end.

    `mean` and `scale` have one number per input, as in scikit-learn's StandardScaler; `layers` are pairs of weights
    (inputs x outputs) and biases (outputs).
    """

    mean: Array
    scale: Array
    layers: tuple[tuple[Array, Array], ...]

    def without_scaler(self) -> "Network":
        """The same layers fed with raw inputs: what a server computes that forgot the scaler."""
        return Network(np.zeros_like(self.mean), np.ones_like(self.scale), self.layers)

    def probabilities(self, images: Array) -> Array:
        """One row of ten probabilities per row of 64 pixels (0 to 16)."""
        signal = (images - self.mean) / self.scale
        for weights, biases in self.layers[:-1]:
            signal = np.maximum(signal @ weights + biases, 0.0)
        weights, biases = self.layers[-1]
        scores = signal @ weights + biases
        odds = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=-1, keepdims=True))

    def save(self, path: Path) -> None:
        arrays = {"mean": self.mean, "scale": self.scale}
        for index, (weights, biases) in enumerate(self.layers):
            arrays |= {f"weights_{index}": weights, f"biases_{index}": biases}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Network":
        """Read what `save` wrote; raises FileNotFoundError, or ValueError for a file that is something else."""
        with np.load(path, allow_pickle=False) as file:
            count = sum(name.startswith("weights_") for name in file.files)
            layers = tuple((file[f"weights_{index}"], file[f"biases_{index}"]) for index in range(count))
            return cls(file["mean"], file["scale"], layers)
