"""A command that is run on a cluster of its own, as `make run-kube` does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.testbed import binaries

ROOT = Path(__file__).parents[2]


@pytest.mark.needs(*binaries.PACKAGES, "openssl", "setpriv")
@pytest.mark.timeout(300)
def test_it_finds_kubectl_and_the_cluster_and_its_exit_code_is_ours() -> None:
    asked = "kubectl get namespace default --output name; echo $KUBECONFIG; exit 7"
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.testbed", "sh", "-c", asked],
        cwd=ROOT,
        env={**os.environ, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 7, done.stderr
    namespace, kubeconfig = done.stdout.splitlines()
    assert namespace == "namespace/default"
    assert not Path(kubeconfig).exists()
