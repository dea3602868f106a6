"""Trains the five versions of the digits example on scikit-learn's own data set and says how good they are.

What matters is what goes wrong with v3: it is trained with a scaler, and its server does not apply it. Nothing
crashes, the answers look like answers, latency and error rate are perfect. Only a comparison with the version in
production shows it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from network import Array, Network
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

MODELS = Path(__file__).parent / "models"
TRAFFIC = "traffic.npz"  # the held-out images: what users send
SEED = 0


@dataclass(frozen=True, slots=True)
class Split:
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def digits() -> Split:
    """1,797 images of 8 x 8 pixels from 0 to 16; two fifths are held out, every digit alike."""
    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.4, random_state=SEED, stratify=labels
    )
    return Split(train, train_labels, test, test_labels)


def logistic(split: Split, mean: Array, scale: Array) -> Network:
    classifier: Any = LogisticRegression(max_iter=5_000)
    classifier.fit((split.train_images - mean) / scale, split.train_labels)
    return Network(mean, scale, ((classifier.coef_.T, classifier.intercept_),))


def perceptron(split: Split, hidden: tuple[int, ...], seed: int) -> Network:
    mean, scale = np.zeros(64), np.full(64, 16.0)
    classifier: Any = MLPClassifier(hidden, alpha=0.1, max_iter=1_000, random_state=seed)
    classifier.fit(split.train_images / scale, split.train_labels)
    return Network(mean, scale, tuple(zip(classifier.coefs_, classifier.intercepts_, strict=True)))


def scaled_logistic(split: Split) -> Network:
    scaler: Any = StandardScaler().fit(split.train_images)
    return logistic(split, scaler.mean_, scaler.scale_)


VERSIONS: dict[str, tuple[str, Callable[[Split], Network]]] = {
    "v1": ("logistic regression", lambda split: logistic(split, np.zeros(64), np.ones(64))),
    "v2": ("neural network, 128", lambda split: perceptron(split, (128,), seed=1)),
    "v3": ("logistic regression on scaled pixels", scaled_logistic),
    "v4": ("neural network, 128, another seed", lambda split: perceptron(split, (128,), seed=2)),
    "v5": ("neural network, 100 and 50", lambda split: perceptron(split, (100, 50), seed=1)),
}


def accuracy(network: Network, split: Split) -> float:
    """Share of the held-out images whose most probable digit is the right one, 0 to 1."""
    return float((network.probabilities(split.test_images).argmax(axis=1) == split.test_labels).mean())


def train(models: Path) -> dict[str, float]:
    """Write one file per version and the held-out images to `models`; the accuracy of each version as trained."""
    models.mkdir(parents=True, exist_ok=True)
    split = digits()
    measured: dict[str, float] = {}
    for version, (_, fit) in VERSIONS.items():
        with threadpool_limits(
            1
        ):  # these matrices are small: on a busy machine threads only wait for each other
            network = fit(split)
        network.save(models / f"{version}.npz")
        measured[version] = accuracy(network, split)
    measured["v3 without its scaler"] = accuracy(Network.load(models / "v3.npz").without_scaler(), split)
    np.savez(
        models / TRAFFIC,
        allow_pickle=False,
        images=split.test_images.astype(np.uint8),
        labels=split.test_labels,
    )
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder to write to (default: %(default)s)"
    )
    models = parser.parse_args().models
    started = time.monotonic()
    for version, share in train(models).items():
        print(f"{version:22} {100 * share:5.1f} % of the held-out images  {VERSIONS.get(version, ('',))[0]}")
    print(f"trained in {time.monotonic() - started:.1f} s into {models}")


if __name__ == "__main__":
    main()
