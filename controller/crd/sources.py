"""Rules about what serves: pods of a template, those of a Deployment, or versions that are there already; one of them."""

import re
from collections.abc import Iterator

from controller.crd.models import VERSION_NAME, RolloutSpec
from controller.crd.revisions import VERSION_LABEL
from controller.crd.table import Finding


def one_way(spec: RolloutSpec) -> Iterator[Finding]:
    """Exactly one of template, workloadRef and versions."""
    if spec.template is None and spec.workload_ref is None and not spec.versions:
        yield (
            "spec",
            "it says not what serves: write versions and target, or (on a cluster) template and port, or workloadRef",
        )
    if spec.workload_ref is not None and (spec.template is not None or spec.versions):
        other = "template" if spec.template is not None else "versions"
        yield "spec.workloadRef", f"workloadRef and {other} are both there: write one of them"
    if spec.template is not None and spec.versions:
        yield "spec.template", "template and versions are both there: write one of them"


def company(spec: RolloutSpec) -> Iterator[Finding]:
    """What goes with versions, and what with template."""
    if spec.versions and spec.target is None:
        yield "spec.target", "it is missing: write the name of the version that shall serve everything"
    is_made = spec.template is not None or spec.workload_ref is not None
    if not is_made and spec.port is not None:
        yield "spec.port", "it is for the pods of template: leave it out"
    if not is_made or spec.versions:
        return
    if spec.port is None and spec.template is not None:
        yield "spec.port", "it is missing: write the port that the pods of template serve at, such as 8080"
    if spec.target is not None:
        yield "spec.target", "the template is the target: leave it out"
    if spec.initial_stable is not None:
        yield "spec.initialStable", "the first template is stable once it serves: leave it out"


def version_label(spec: RolloutSpec) -> Iterator[Finding]:
    """What the template calls its version is a name."""
    name = None if spec.template is None else spec.template.metadata.labels.get(VERSION_LABEL)
    if name is not None and re.fullmatch(VERSION_NAME, name) is None:
        yield (
            "spec.template.metadata.labels",
            f"{VERSION_LABEL}: {name!r} is not a name of a version: lower-case letters, digits and -, such as v8",
        )
