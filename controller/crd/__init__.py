"""What users write: the ModelRollout, read strictly, and converted to what the core thinks with.

    documents = load_documents(text)           # tuple[Document, ...] | Refused
    parsed = parse(documents[0].content)       # Parsed | Refused
    faults = changes(old, parsed.document, status)
    spec = to_core(parsed.document, generation)            # Spec | Refused
    versions = version_documents(parsed.document)          # {identity: version} | Refused

Nothing here raises for what a user may have written: `Refused` carries every `Fault` with its field, its rule and
what would be right.
"""

from controller.crd.documents import Document, load_documents
from controller.crd.faults import Fault, Refused
from controller.crd.models import API_VERSION, BASE_DIR, KIND, ModelRollout
from controller.crd.parse import Parsed, changes, parse, to_core, version_documents

__all__ = [
    "API_VERSION",
    "BASE_DIR",
    "KIND",
    "Document",
    "Fault",
    "ModelRollout",
    "Parsed",
    "Refused",
    "changes",
    "load_documents",
    "parse",
    "to_core",
    "version_documents",
]
