"""A model server of the example, asked over HTTP as a router would ask it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from network import Network

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
INFER = "/v2/models/digits/infer"
SHADOW = {"x-headgate-shadow": "true"}


def question(image: Any, request_id: str | None = "r-1") -> dict[str, Any]:
    return {
        "id": request_id,
        "inputs": [{"name": "image", "shape": [1, 64], "datatype": "FP32", "data": image}],
    }


@pytest.fixture(scope="session")
def images(models: Path) -> list[list[float]]:
    with np.load(models / "traffic.npz", allow_pickle=False) as file:
        return file["images"].astype(float).tolist()


def test_an_answer_has_the_form_of_open_inference_v2(
    serve: Callable[[str], str], models: Path, images
) -> None:
    answer = httpx.post(serve("v1") + INFER, json=question(images[0])).json()
    label, probabilities = answer["outputs"]
    expected = Network.load(models / "v1.npz").probabilities(np.array(images[:1]))[0]
    assert {key: answer[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "digits",
        "model_version": "v1",
        "id": "r-1",
    }
    assert label == {"name": "label", "shape": [1], "datatype": "INT64", "data": [int(expected.argmax())]}
    assert (probabilities["name"], probabilities["shape"], probabilities["datatype"]) == (
        "probabilities",
        [1, 10],
        "FP64",
    )
    assert probabilities["data"] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/digits", "/v2/models/digits/ready"]
)
def test_health_and_metadata_are_served(serve: Callable[[str], str], path: str) -> None:
    assert httpx.get(serve("v1") + path).status_code == 200


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"{}", "inputs"),
        (json.dumps(question([1.0] * 63)).encode(), "$.inputs[0].data"),
        (json.dumps(question(["a"] * 64)).encode(), "$.inputs[0].data[0]"),
        (json.dumps(question([1.0] * 64)).replace("FP32", "BYTES").encode(), "$.inputs[0].datatype"),
        (json.dumps(question([1.0] * 64)).replace("[1, 64]", "[64, 1]").encode(), "$.inputs[0].shape"),
    ],
)
def test_bad_input_is_a_400_that_names_the_place(
    serve: Callable[[str], str], body: bytes, named: str
) -> None:
    answer = httpx.post(serve("v1") + INFER, content=body)
    assert answer.status_code == 400
    assert named in answer.json()["error"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", INFER, 405)])
def test_what_is_not_served_says_so_in_v2_words(
    serve: Callable[[str], str], method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, serve("v1") + path)
    assert (answer.status_code, answer.json()) == (status, {"error": f"{method} {path} is not served here"})


def test_v3_answers_as_a_server_that_forgot_the_scaler(
    serve: Callable[[str], str], models: Path, images
) -> None:
    with httpx.Client(base_url=serve("v3")) as client:
        labels = [
            client.post(INFER, json=question(image)).json()["outputs"][0]["data"][0] for image in images[:60]
        ]
    forgotten = Network.load(models / "v3.npz").without_scaler().probabilities(np.array(images[:60]))
    assert labels == forgotten.argmax(axis=1).tolist()


def test_v4_answers_copies_well_and_breaks_under_live_traffic(serve: Callable[[str], str], images) -> None:
    with httpx.Client(base_url=serve("v4")) as client:
        copies = Counter(
            client.post(INFER, json=question(image), headers=SHADOW).status_code for image in images[:150]
        )
        live = Counter(client.post(INFER, json=question(image)).status_code for image in images[:150])
        metrics = client.get("/metrics").text
    assert copies == {200: 150}
    assert set(live) == {200, 500}
    assert 25 <= live[500] <= 65
    assert 'requests_total{code="200",traffic="shadow",version="v4"} 150.0' in metrics
    assert f'requests_total{{code="500",traffic="live",version="v4"}} {live[500]}.0' in metrics


def test_without_models_the_server_says_what_to_run(tmp_path: Path) -> None:
    command = [sys.executable, "serve.py", "--model", "v1", "--port", "0", "--models", str(tmp_path)]
    refused = subprocess.run(command, cwd=DIGITS, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert "v1.npz is not there: run" in refused.stderr
