import pytest
from markupsafe import Markup, escape

from keyscope.app.labels.models import Kind
from keyscope.app.pages.keys.search import SearchState
from keyscope.app.pages.keys.state import KeyState
from keyscope.app.web.forms import PageState
from keyscope.app.web.render import environment

VALUES = ["", "plain", "<b>&'\"", Markup("<b>bold</b>"), 7, -1.5, True, None, Kind.MIXED, ["<", Markup("<")]]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_template_escapes_a_value_as_markupsafe_does(value: object) -> None:
    drawn = environment().from_string("{% macro same(value) %}{{ value }}{% endmacro %}{{ value }} {{ same(value) }}")
    assert drawn.render(value=value) == f"{escape(value)} {escape(value)}"


@pytest.mark.parametrize(
    "state",
    [
        KeyState(),
        KeyState(show="90-100", all=True, mask="L1.K2:0"),
        SearchState(label=Kind.MIXED, promotes="<", layer_from=0, offset=50),
    ],
)
def test_the_query_of_a_state_is_what_differs_from_an_empty_one(state: PageState) -> None:
    for changes in ({}, {"mask": "", "offset": 0, "all": False}):
        wanted = state.model_copy(update={name: changes[name] for name in changes if hasattr(state, name)})
        found = state.query(**{name: changes[name] for name in changes if hasattr(state, name)})
        assert found == wanted.model_dump(mode="json", exclude_defaults=True, exclude=state.not_in_query)
        assert list(found) == [name for name in type(state).model_fields if name in found]
