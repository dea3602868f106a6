"""The models of the example are what their names say, good and bad."""

from pathlib import Path

import numpy as np
import pytest
from network import Network
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from train import accuracy, digits


@pytest.fixture(scope="module")
def split():
    return digits()


def test_a_logistic_regression_answers_as_scikit_learn_does(split) -> None:
    fitted = LogisticRegression(max_iter=5_000).fit(split.train_images, split.train_labels)
    network = Network(np.zeros(64), np.ones(64), ((fitted.coef_.T, fitted.intercept_),))
    np.testing.assert_allclose(
        network.probabilities(split.test_images), fitted.predict_proba(split.test_images), atol=1e-9
    )


def test_a_neural_network_answers_as_scikit_learn_does(split) -> None:
    fitted = MLPClassifier((20, 10), max_iter=1_000, random_state=0).fit(
        split.train_images, split.train_labels
    )
    layers = tuple(zip(fitted.coefs_, fitted.intercepts_, strict=True))
    network = Network(np.zeros(64), np.ones(64), layers)
    np.testing.assert_allclose(
        network.probabilities(split.test_images), fitted.predict_proba(split.test_images), atol=1e-9
    )


def test_a_file_holds_the_whole_network(tmp_path: Path, split) -> None:
    dice = np.random.default_rng(0)
    layers = (
        (dice.normal(size=(64, 7)), dice.normal(size=7)),
        (dice.normal(size=(7, 10)), dice.normal(size=10)),
    )
    network = Network(dice.normal(size=64), dice.uniform(1, 2, size=64), layers)
    network.save(tmp_path / "n.npz")
    read = Network.load(tmp_path / "n.npz")
    np.testing.assert_array_equal(
        read.probabilities(split.test_images), network.probabilities(split.test_images)
    )


@pytest.mark.parametrize("version", ["v2", "v4", "v5"])
def test_the_good_versions_beat_the_first(models: Path, split, version: str) -> None:
    first = accuracy(Network.load(models / "v1.npz"), split)
    assert first > 0.9
    assert accuracy(Network.load(models / f"{version}.npz"), split) > first + 0.01


def test_v3_is_good_with_its_scaler_and_wrong_about_fours_without(models: Path, split) -> None:
    v2, v3 = (Network.load(models / f"{version}.npz") for version in ("v2", "v3"))
    assert accuracy(v3, split) > 0.95
    before = v2.probabilities(split.test_images).argmax(axis=1)
    agrees = v3.without_scaler().probabilities(split.test_images).argmax(axis=1) == before
    by_digit = {digit: float(agrees[before == digit].mean()) for digit in range(10)}
    assert 0.7 < agrees.mean() < 0.85
    assert min(by_digit, key=lambda digit: by_digit[digit]) == 4
    assert by_digit[4] < 0.4


def test_the_traffic_is_the_held_out_images(models: Path, split) -> None:
    with np.load(models / "traffic.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["images"], split.test_images)
        np.testing.assert_array_equal(file["labels"], split.test_labels)
    train = {row.tobytes() for row in split.train_images}
    assert sum(row.tobytes() in train for row in split.test_images) == 0
