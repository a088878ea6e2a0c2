"""`/runs/{run}/keys/{key}/card`: a key at a glance, shown beside links to it."""

from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from keyscope.app import queries
from keyscope.app.pages.keys import automatic, bars, examples, stacked
from keyscope.app.pages.keys.automatic import Clause
from keyscope.app.pages.keys.stacked import Row
from keyscope.app.queries import Statistics
from keyscope.app.web.code import Heat
from keyscope.app.web.delivery.revalidation import RunRoute
from keyscope.app.web.dependencies import Cursor, Key, OpenRun
from keyscope.app.web.render import templates
from keyscope.contract.keys import KeyId

router = APIRouter(route_class=RunRoute)

TRIGGERS, PROMOTED = 4, 5


@dataclass(frozen=True, slots=True)
class Glance:
    """What the card shows."""

    key: KeyId
    statistics: Statistics
    rows: list[Row]
    """Its strongest triggers."""
    automatic: list[Clause]
    promoted: list[str]


@router.get("/runs/{run}/keys/{key}/card", name="key_card")
def key_card(run: OpenRun, key: Key, cursor: Cursor) -> HTMLResponse:
    """The card alone: it shows the run's file and no labels, so it can be kept."""
    numbers = run.numbers(cursor, key)
    heat = Heat(examples.scale_of(numbers.statistics))
    triggers = [each for each in numbers.trigger_tokens if each.polarity == "max"]
    value = numbers.value["normed"]
    glance = Glance(
        key=key,
        statistics=numbers.statistics,
        rows=[
            stacked.draw(each, run.vocabulary, heat)
            for each in queries.first_examples(cursor, run.windows, key, "max", limit=TRIGGERS)
        ],
        automatic=automatic.line(triggers[: run.manifest.settings.top_k], [], value.promoted, run.vocabulary),
        promoted=[bar.token for bar in bars.of_value(value, lambda _: "")[0][:PROMOTED]],
    )
    return HTMLResponse(templates.get_template("keys/card.html").render(glance=glance))
