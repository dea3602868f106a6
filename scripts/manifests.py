"""Writes what of manifests/ and charts/ is generated; a test says when that is due.

The CustomResourceDefinitions come from the models and rules of controller/crd. The chart comes from the manifests: its
CRDs are theirs, and its templates are theirs with the values of the chart in the places named here.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from controller.crd.crds import model_rollouts, rollout_actions

ROOT: Final = Path(__file__).resolve().parents[1]
CRDS: Final = Path("manifests/crds")
CHART: Final = Path("charts/headgate")
HEADER: Final = "# Written by `make manifests` from {}; changes belong there.\n"

_NAMESPACE: Final = ("  namespace: headgate\n", "  namespace: {{ .Release.Namespace }}\n")
_WATCHED: Final = (
    "metadata:\n  name: headgate-controller\n{0}",
    "metadata:\n  name: headgate-controller\n"
    "  {{- if and .Values.controller.namespace (not .Values.controller.allNamespaces) }}\n"
    "  namespace: {{ .Values.controller.namespace }}\n"
    "  {{- end }}\n"
    "{0}",
)
_EVERYWHERE: Final = "kind: {{ if .Values.controller.allNamespaces }}Cluster{{ end }}"
_RIGHTS: Final = (
    _NAMESPACE,
    *(
        (_WATCHED[0].replace("{0}", after), _WATCHED[1].replace("{0}", after))
        for after in ("rules:", "roleRef:")
    ),
    ("kind: RoleBinding\n", f"{_EVERYWHERE}RoleBinding\n"),
    ("kind: Role\n", f"{_EVERYWHERE}Role\n"),
)
"""The Role and its RoleBinding, in the namespace of the rollouts, or of the whole cluster."""

_RESOURCES: Final = """        resources:
          requests: {cpu: 50m, memory: 128Mi}
          limits: {memory: 512Mi}
"""
_DEPLOYMENT: Final = (
    ("  replicas: 2\n", "  replicas: {{ .Values.controller.replicas }}\n"),
    (
        "        image: headgate:0.1.0\n",
        '        image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"\n'
        "        {{- with .Values.image.pullPolicy }}\n"
        "        imagePullPolicy: {{ . }}\n"
        "        {{- end }}\n",
    ),
    (
        "        - --namespace=$(NAMESPACE)\n",
        "        {{- if .Values.controller.allNamespaces }}\n"
        "        - --all-namespaces\n"
        "        {{- else }}\n"
        '        - --namespace={{ .Values.controller.namespace | default "$(NAMESPACE)" }}\n'
        "        {{- end }}\n",
    ),
    (
        "        - --api=0.0.0.0:7000\n",
        "        - --api=0.0.0.0:7000\n"
        "        {{- if .Values.tls.secret }}\n"
        "        - --tls-cert=/etc/headgate/tls/tls.crt\n"
        "        - --tls-key=/etc/headgate/tls/tls.key\n"
        "        {{- end }}\n"
        "        {{- range .Values.controller.args }}\n"
        "        - {{ . | quote }}\n"
        "        {{- end }}\n",
    ),
    (
        "        - {name: temporary, mountPath: /tmp}\n",
        "        - {name: temporary, mountPath: /tmp}\n"
        "        {{- if .Values.tls.secret }}\n"
        "        - {name: tls, mountPath: /etc/headgate/tls, readOnly: true}\n"
        "        {{- end }}\n",
    ),
    (
        "      volumes:\n",
        "      volumes:\n"
        "      {{- with .Values.tls.secret }}\n"
        "      - name: tls\n"
        "        secret: {secretName: {{ . | quote }}}\n"
        "      {{- end }}\n",
    ),
    (_RESOURCES, "        resources: {{- toYaml .Values.controller.resources | nindent 10 }}\n"),
    (
        "      serviceAccountName: headgate-controller\n",
        "      serviceAccountName: headgate-controller\n"
        "      {{- with .Values.imagePullSecrets }}\n"
        "      imagePullSecrets: {{- toYaml . | nindent 6 }}\n"
        "      {{- end }}\n",
    ),
)
_TEMPLATES: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    ("rbac/controller.yaml", "", _RIGHTS),
    ("rbac/identity.yaml", "", (_NAMESPACE,)),
    ("rbac/leader.yaml", "", (_NAMESPACE,)),
    ("rbac/people.yaml", ".Values.people.create", ()),
    ("rbac/tls.yaml", "not .Values.tls.secret", (_NAMESPACE,)),
    ("admission/rolloutactions.yaml", ".Values.admission.create", ()),
    ("controller/deployment.yaml", "", _DEPLOYMENT),
    ("controller/disruption.yaml", "", ()),
    ("controller/secret.yaml", "not .Values.tls.secret", ()),
    ("controller/service.yaml", "", ()),
)
"""Each manifest that becomes a template: what it is made on condition of, and what is replaced in it."""


class _Blocks(yaml.SafeDumper):
    """Aliases of equal parts are not for people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered() -> dict[str, str]:
    """What each generated file should hold, by its path in the repository."""
    found: dict[str, str] = {}
    for definition in (model_rollouts(), rollout_actions()):
        name = f"{definition['metadata']['name']}.yaml"
        text = HEADER.format("controller/crd") + _yaml(definition)
        found |= {str(CRDS / name): text, str(CHART / "crds" / name): text}
    for source, condition, changes in _TEMPLATES:
        name = source.replace("/", "-")
        found[str(CHART / "templates" / name)] = _template(source, condition, changes)
    return found


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=140)


def _template(source: str, condition: str, changes: tuple[tuple[str, str], ...]) -> str:
    """The manifest with the chart's values in it; ValueError when what is to be replaced is not there."""
    text = (ROOT / "manifests" / source).read_text()
    for before, after in changes:
        if before not in text:
            raise ValueError(
                f"manifests/{source} has no {before!r}: say in scripts/manifests.py what is there now"
            )
        text = text.replace(before, after)
    if condition:
        text = f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"
    return HEADER.format(f"manifests/{source}") + text


def main() -> None:
    for path, text in rendered().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
