"""CEL as text: the few expressions from which the API server's rules are made.

Everything here is a function from text to text; `self` and field paths are CEL, patterns are RE2 (which every
pattern of `models` and `quantities` is as well). Kubernetes 1.33 and later have all functions used here.
"""

import json
from typing import Any

Json = dict[str, Any]
Validation = dict[str, str]
"""One entry of `x-kubernetes-validations`."""


def text(words: str) -> str:
    """A CEL string literal."""
    return json.dumps(words, ensure_ascii=False)


def whole(expression: str, pattern: str) -> str:
    """Does all of the string match?"""
    return f"{expression}.matches({text(f'^(?:{pattern})$')})"


def seconds(duration: str) -> str:
    """A duration of ours as seconds (double): Go's, which CEL reads, with days before it."""
    days = f'double("0" + {duration}.find("^[0-9.]+d").replace("d", ""))'
    rest = f'double(duration("0s" + {duration}.find("[^d]*$")).getMilliseconds())'
    return f"({days} * 86400.0 + {rest} / 1000.0)"


def number(quantity: str, unit: str) -> str:
    """`5%` or `0.02pp` as the number before its unit (double)."""
    return f"double({quantity}.replace({text(unit)}, {text('')}))"


def validation(rule: str, holds: str, sentence: str, *, path: str = "") -> Validation:
    """What must hold, and what is said otherwise, in fixed words; `path` is the field's, relative to the schema it stands at."""
    found = {"rule": holds, "message": f"[{rule}] {sentence}"}
    return found | ({"fieldPath": path} if path else {})


def speaking(rule: str, holds: str, sentence: str, *, path: str = "") -> Validation:
    """The same where `sentence` is CEL, so that it can say what was found."""
    found = {"rule": holds, "messageExpression": f"{text(f'[{rule}] ')} + {sentence}"}
    return found | ({"fieldPath": path} if path else {})


def shape(pattern: str, sentence: str, *, rule: str = "pattern", is_secret: bool = False) -> Json:
    """For the schema of a string, read by `schema`: its pattern, what is said otherwise, and not to repeat a secret."""
    return {"x-shape": {"pattern": pattern, "sentence": sentence, "rule": rule, "is_secret": is_secret}}


def shaped(pattern: str, sentence: str, *, rule: str = "pattern", is_secret: bool = False) -> Validation:
    """A string of this pattern, or the sentence, which follows the string itself unless that may hold a secret."""
    if is_secret:
        return validation(rule, whole("self", pattern), sentence)
    return speaking(rule, whole("self", pattern), f'"\'" + self + "\' " + {text(sentence)}')


def keys_shaped(pattern: str, sentence: str, *, rule: str = "pattern", is_secret: bool = False) -> Validation:
    """The same for every key of a map."""
    sound = whole("key", pattern)
    if is_secret:
        return validation(rule, f"self.all(key, {sound})", sentence)
    wrong = f"self.filter(key, !{sound})[0]"
    return speaking(rule, f"self.all(key, {sound})", f'"\'" + {wrong} + "\' " + {text(sentence)}')
