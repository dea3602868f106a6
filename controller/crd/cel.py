"""CEL as text: the few expressions from which the API server's rules are made.

Everything here is a function from text to text; `self` and field paths are CEL, patterns are RE2 (which every
pattern of `models` and `quantities` is as well). Kubernetes 1.33 and later have all functions used here.
"""

import json
from typing import Any

Json = dict[str, Any]
Validation = dict[str, Any]
"""One entry of `x-kubernetes-validations`."""


def text(words: str) -> str:
    """A CEL string literal."""
    return json.dumps(words, ensure_ascii=False)


def whole(expression: str, pattern: str) -> str:
    """Does all of the string match?"""
    return f"{expression}.matches({text(f'^(?:{pattern})$')})"


_NUMBER = r"[0-9]{1,7}(\.[0-9]{1,6})?"
_CLOCK = rf"({_NUMBER}h)?({_NUMBER}m)?([0-9]{{1,9}}(\.[0-9]{{1,6}})?s)?([0-9]{{1,12}}(\.[0-9]{{1,6}})?ms)?$"


def seconds(duration: str) -> str:
    """A duration of ours as seconds (double): Go's, which CEL reads, with days before it. Of any other text: some number."""
    return _seconds(duration, f"^{_NUMBER}d", _CLOCK)


def sound_seconds(duration: str) -> str:
    """The same in fewer words, of what is known to be a duration."""
    return _seconds(duration, "^[^d]*d", "[^d]*$")


def _seconds(duration: str, day: str, clock: str) -> str:
    days = f'double("0" + {duration}.find({text(day)}).replace("d", ""))'
    rest = f'double(duration("0s" + {duration}.find({text(clock)})).getMilliseconds())'
    return f"({days} * 86400.0 + {rest} / 1000.0)"


def number(quantity: str) -> str:
    """`5%`, `0.02pp` or `p99.9` as its number (double); of any other text: some number."""
    return f'double("0" + {quantity}.find({text(f"{_NUMBER}")}))'


def first(items: str, wrong: str, said: str, *, index: str = "i", item: str = "v") -> str:
    """What is `said` of the first of the items that is `wrong`, both in terms of `index` and `item`."""
    return f"{items}.transformList({index}, {item}, {wrong}, {said})[0]"


def formatted(template: str, *arguments: str) -> str:
    """The template with %s and %d filled in. Unlike `+`, its cost is known whatever the arguments are made of."""
    return f"{text(template)}.format([{', '.join(f'dyn({argument})' for argument in arguments)}])"


def validation(rule: str, holds: str, sentence: str, *arguments: str, path: str = "") -> Validation:
    """What must hold, and what is said otherwise: with arguments (CEL) for the %s and %d in it, or as it is.

    `path` is the field's, relative to the schema that the rule stands at.
    """
    said = f"[{rule}] {sentence}"
    spoken = {"messageExpression": formatted(said, *arguments)} if arguments else {"message": said}
    return {"rule": holds} | spoken | ({"fieldPath": path} if path else {})


def _also(found: Validation, rule: str, sentence: str) -> Validation:
    """With words for when the others cannot be said: the API server refuses a line break in them."""
    return found | {"message": f"[{rule}] it {sentence}"}


def shape(pattern: str, sentence: str, *, rule: str = "pattern", is_secret: bool = False) -> Json:
    """For the schema of a string, read by `schema`: its pattern, what is said otherwise, and not to repeat a secret."""
    return {"x-shape": {"pattern": pattern, "sentence": sentence, "rule": rule, "is_secret": is_secret}}


def shaped(pattern: str, sentence: str, *, rule: str = "pattern", is_secret: bool = False) -> Validation:
    """A string of this pattern, or the sentence, which follows the string itself unless that may hold a secret."""
    sound = whole("self", pattern)
    if is_secret:
        return validation(rule, sound, sentence)
    return _also(validation(rule, sound, f"'%s' {escaped(sentence)}", "self"), rule, sentence)


def keys_shaped(pattern: str, sentence: str, *, rule: str = "pattern", is_secret: bool = False) -> Validation:
    """The same for every key of a map."""
    sound = whole("key", pattern)
    if is_secret:
        return validation(rule, f"self.all(key, {sound})", sentence)
    wrong = f"self.filter(key, !{sound})[0]"
    found = validation(rule, f"self.all(key, {sound})", f"'%s' {escaped(sentence)}", wrong)
    return _also(found, rule, sentence)


def escaped(sentence: str) -> str:
    """For a template: a percent sign that is meant as one."""
    return sentence.replace("%", "%%")
