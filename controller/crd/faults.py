"""What is wrong with a document, as values: the field, the rule, the sentence that says what would be right."""

import difflib
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

FAULTS_MAX: Final = 32
"""More faults than this are not listed; a person mends the first ones first."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `path` is like `spec.strategy.canary.weights[2]`, "" for the whole document."""

    path: str
    rule: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message} ({self.rule})"


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that was not accepted, and everything known to be wrong with it (at least one fault)."""

    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return "; ".join(str(fault) for fault in self.faults)


def path_of(parts: Iterable[str | int]) -> str:
    """`("spec", "versions", 0, "url")` as `spec.versions[0].url`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def from_pydantic(error: ValidationError, model: type[BaseModel]) -> tuple[Fault, ...]:
    """The faults of a document that does not fit `model`, in the document's order."""
    details = error.errors(include_url=False)[:FAULTS_MAX]
    return tuple(_fault(detail, model) for detail in details)


_SENTENCES: Final = {
    "missing": ("required", "it is missing"),
    "string_type": ("type", "{input} is not a text: put it in quotes"),
    "int_type": ("type", "{input} is not a whole number"),
    "int_from_float": ("type", "{input} is not a whole number"),
    "float_type": ("type", "{input} is not a number"),
    "finite_number": ("bounds", "{input} is not a finite number"),
    "bool_type": ("type", "{input} is not true or false"),
    "list_type": ("type", "{input} is not a list: write - items, or [a, b]"),
    "dict_type": ("type", "{input} is not a mapping of names to values"),
    "model_type": ("type", "{input} is not a mapping of fields to values"),
    "model_attributes_type": ("type", "{input} is not a mapping of fields to values"),
    "literal_error": ("choice", "{input} is none of {expected}"),
    "greater_than_equal": ("bounds", "{input} is out of bounds: at least {ge}"),
    "less_than_equal": ("bounds", "{input} is out of bounds: at most {le}"),
    "string_too_long": ("bounds", "it is too long: at most {max_length} characters"),
    "string_too_short": ("bounds", "it is too short: at least {min_length} characters"),
    "too_long": ("bounds", "there are {actual_length} of them: at most {max_length}"),
    "too_short": ("bounds", "there are {actual_length} of them: at least {min_length}"),
}


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> Fault:
    location = tuple(part for part in detail["loc"] if part != "[key]")
    path, kind = path_of(location), detail["type"]
    if kind == "extra_forbidden":
        return Fault(path, "unknown-field", _unknown(location, model))
    if kind in _SENTENCES:
        rule, sentence = _SENTENCES[kind]
        shown = _shown(detail["input"])
        return Fault(path, rule, sentence.format(input=shown, **detail.get("ctx", {})))
    return Fault(path, kind.replace("_", "-"), detail["msg"])


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _unknown(location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    name = str(location[-1])
    parent = _model_at(model, location[:-1])
    if parent is None:
        return "there is no such field"
    planned: dict[str, str] = getattr(parent, "planned", {})
    if name in planned:
        return f"this version of Headgate does not know it: {planned[name]}"
    known = [field.alias or field_name for field_name, field in parent.model_fields.items()]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6) or [
        field for field in known if field.lower() == name.lower().replace("_", "").replace("-", "")
    ]
    if near:
        return f"there is no such field; did you mean {near[0]}?"
    return f"there is no such field; here one can write {', '.join(known)}"


def _model_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model whose field the location names; None where a plain mapping is."""
    is_key = False
    for part in location:
        if isinstance(part, int) or is_key:
            is_key = False
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        kind = fields[part].annotation if part in fields else None
        found = _model_in(kind)
        if found is None:
            return None
        model, is_key = found, typing.get_origin(kind) is dict
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model inside `X`, `X | None`, `list[X]` or `Annotated[X, …]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((found for found in inner if found is not None), None)
