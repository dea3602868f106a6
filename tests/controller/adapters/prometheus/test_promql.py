"""A version's name can only ever be a label's value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.prometheus.promql import for_version


@pytest.mark.parametrize(
    ("query", "version", "written"),
    [
        ('x{version="{{version}}"}', "v8", 'x{version="v8"}'),
        ("x{version='{{version}}'}", "v8", "x{version='v8'}"),
        ("x{version=`{{version}}`}", "v8", "x{version=`v8`}"),
        ('x{pod=~"m-{{version}}-.*"}', "v1.2", 'x{pod=~"m-v1\\\\.2-.*"}'),
        ('x{pod!~ "{{version}}"}', "v1.2", 'x{pod!~ "v1\\\\.2"}'),
        ('x{version="{{version}}"}', 'a"b', 'x{version="a\\"b"}'),
        ('x{version="{{version}}"}', "a\\", 'x{version="a\\\\"}'),
        ('x{a="\\"",version="{{version}}"}', "v8", 'x{a="\\"",version="v8"}'),
    ],
)
def test_the_name_is_escaped_for_where_it_stands(query: str, version: str, written: str) -> None:
    assert for_version(query, version) == written


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("x{version={{version}}}", "in quotes"),
        ("x_{{version}}", "in quotes"),
        ("x", "has no"),
        ('x{version="{{version}}}', "never closed"),
        ('x{version="{{version}}\\"}', "never closed"),
    ],
)
def test_a_placeholder_elsewhere_is_refused_in_words(query: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        for_version(query, "v8")


@given(st.text(max_size=20))
def test_no_name_can_leave_its_quotes(version: str) -> None:
    written = for_version('x{version="{{version}}"}[5m]', version)
    literal = written[len('x{version="') : -len('"}[5m]')]
    position = 0
    while position < len(literal):
        assert literal[position] not in '"\n'
        position += 2 if literal[position] == "\\" else 1
    assert position == len(literal)
