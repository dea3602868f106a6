"""From the pydantic models to structural schemas of the API server: one description of what users write, not two.

pydantic's JSON Schema is the start. What a structural schema does not allow is turned into what it does (`$ref` is
written out, `X or null` is X, rules for the names in a map become CEL); what pydantic keeps as numbers gets the
default that a person would write; descriptions are the fields' own docstrings; and the rules that span fields
stand at the model they are about.
"""

import ast
import functools
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from controller.crd import cel
from controller.crd.cel import Validation
from controller.crd.models import ANY, Model
from controller.crd.quantities import Quantity

Schema = dict[str, Any]
Forms = Mapping[str, Sequence[Validation]]
"""Validations by the name of the model that `self` is in them."""

_KEPT: Final[tuple[str, ...]] = (
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "nullable",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
"""What means the same in both."""


def structural(model: type[Model], forms: Forms) -> Schema:
    """The structural schema of what `model` reads; ValueError for a form whose model is not part of it."""
    builder = _Builder(model, forms)
    found = builder.object(model.__name__, builder.root)
    missed = set(forms) - builder.built
    if missed:
        raise ValueError(
            f"rules for models that {model.__name__} has no field of: {', '.join(sorted(missed))}"
        )
    return found


class _Builder:
    """Writes pydantic's definitions out, each where it is used."""

    def __init__(self, model: type[Model], forms: Forms) -> None:
        self.root = model.model_json_schema(by_alias=True, ref_template="{model}")
        self.built: set[str] = set()
        self._definitions: Mapping[str, Schema] = self.root.get("$defs", {})
        self._classes = {found.__name__: found for found in (model, *_below(model))}
        self._forms = forms

    def object(self, name: str, node: Schema) -> Schema:
        """The schema of one model."""
        self.built.add(name)
        model = self._classes[name]
        texts = descriptions(model)
        properties = {}
        for field_name, field in model.model_fields.items():
            alias = field.alias or field_name
            properties[alias] = self._field(field, node["properties"][alias], texts[field_name])
            if model.null_is_default:
                properties[alias]["nullable"] = True
        found: Schema = {
            "type": "object",
            "description": _flat(model.__doc__ or ""),
            "properties": properties,
        }
        if node.get("required"):
            found["required"] = node["required"]
        if model.model_config.get("extra") == "allow":
            found |= ANY
        if model.null_is_default:
            found["minProperties"] = 1  # in words that CEL cannot say: it takes null for absent
        return _ruled(found, self._forms.get(name, ()))

    def _field(self, field: FieldInfo, node: Schema, text: str) -> Schema:
        found = self._value(node)
        found["description"] = text
        default = written(field)
        return found if default is None else found | {"default": default}

    def _value(self, node: Schema) -> Schema:
        if "anyOf" in node:
            (inner,) = [option for option in node["anyOf"] if option != {"type": "null"}]
            return self._value(inner | {name: value for name, value in node.items() if name.startswith("x-")})
        if "$ref" in node:
            return self._reference(node)
        found = {name: node[name] for name in _KEPT if name in node}
        if "const" in node:
            found["enum"] = [node["const"]]
        if "items" in node:
            found["items"] = self._value(node["items"])
        if isinstance(node.get("additionalProperties"), dict):
            found["additionalProperties"] = self._value(node["additionalProperties"])
        if not found:
            return dict(ANY)
        return _ruled(found, _shapes(node))

    def _reference(self, node: Schema) -> Schema:
        name = node["$ref"]
        if name not in self._classes:
            return self._value(self._definitions[name])
        found = self.object(name, self._definitions[name])
        return _untyped(found) if ANY.items() <= node.items() else found


def _untyped(schema: Schema) -> Schema:
    """An object that may also be something else: CEL cannot look into it, so patterns say what they can."""
    found = {name: value for name, value in schema.items() if name != "type"} | ANY
    found["properties"] = {name: _patterned(inner) for name, inner in found["properties"].items()}
    return found


def _patterned(schema: Schema) -> Schema:
    found = dict(schema)
    rules = found.pop("x-kubernetes-validations", ())
    pattern = next((rule["rule"] for rule in rules if rule["rule"].startswith("self.matches(")), None)
    return found if pattern is None else found | {"pattern": json.loads(pattern[len("self.matches(") : -1])}


def _below(model: type[BaseModel]) -> Iterator[type[Model]]:
    """Every model that a field of `model`, at any depth, is made of."""
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            yield inner
            yield from _below(inner)


def _models_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _shapes(node: Schema) -> Iterator[Validation]:
    """The rules of a value by itself: the form of a text, or of a map's keys."""
    yield from node.get("x-kubernetes-validations", ())
    if "x-shape" in node:
        yield cel.shaped(**node["x-shape"])
    is_readable = node.get("additionalProperties") not in (None, {"$ref": "JsonValue"})
    if is_readable and "x-shape" in node.get("propertyNames", {}):
        yield cel.keys_shaped(**node["propertyNames"]["x-shape"])


def _ruled(schema: Schema, rules: Sequence[Validation] | Iterator[Validation]) -> Schema:
    found = list(rules)
    return schema | {"x-kubernetes-validations": found} if found else schema


def written(field: FieldInfo) -> Any:
    """A field's default as a person would write it; None where there is none, or where it says nothing (`[]`, `""`)."""
    default = field.default
    if field.is_required() or default is None or (default in ("", [], {}) and default is not False):
        return None
    if isinstance(default, Model):
        if default.model_fields_set:
            raise ValueError(f"{default!r} is not the default of its own model")
        return {}
    quantity = next((found for found in field.metadata if isinstance(found, Quantity)), None)
    return default if quantity is None else quantity.write(default)


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field, inherited ones included, on one line; "" where it has none."""
    found = dict.fromkeys(model.model_fields, "")
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _docstrings(base.__module__).get(base.__name__, {})
    return {name: found[name] for name in model.model_fields}


@functools.cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """Read from the source: at run time nobody needs them, so pydantic is not asked to keep them."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {found.name: dict(_fields(found)) for found in tree.body if isinstance(found, ast.ClassDef)}


def _fields(cls: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, after in zip(cls.body, cls.body[1:], strict=False):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, _flat(text)
            case _:
                continue


def _flat(text: str) -> str:
    return " ".join(text.split())
