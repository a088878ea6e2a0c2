"""The query of a search, shared by the page, the JSON API and the exports."""

from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import Field

from keyscope.app.errors import InvalidParameter
from keyscope.app.labels.models import Kind
from keyscope.app.labels.repository import keys_of_kind
from keyscope.app.queries.criteria import (
    About,
    Among,
    Between,
    Criterion,
    Dead,
    Detects,
    FiresOn,
    HasRole,
    InLayers,
    OfClass,
    OfConcept,
    Positional,
    Prefers,
    Writes,
)
from keyscope.app.queries.search import CHECKED, Search, in_a_row
from keyscope.app.queries.tokens import parse_token
from keyscope.app.web.dependencies import LabelsDatabase, OpenRun
from keyscope.app.web.forms import BlankIsNone, FormModel
from keyscope.contract.analyses.firing import CLASSES, SHAPES
from keyscope.contract.errors import KeyscopeError
from keyscope.contract.texts import shortest

NEEDS = {
    "detects": "firing",
    "shape": "firing",
    "weight_class": "firing",
    "role": "syntax",
    "concept": "concepts",
}
"""Parameters that need an analysis, each with its kind."""


class AnalysisMissing(KeyscopeError, status=409):
    """A search needs analyses that are not computed; `kinds` are theirs."""

    def __init__(self, run_id: str, kinds: list[str]) -> None:
        few = len(kinds) == 1
        named = " and ".join(kinds)
        super().__init__(
            f"this search needs the {'analysis' if few else 'analyses'} {named} of {run_id}, which {'is' if few else 'are'} "
            f"not computed yet: compute {'it' if few else 'them'} by POST /api/v1/jobs or `keyscope analyse`"
        )
        self.kinds = kinds


Number = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, BlankIsNone]
Count = Annotated[Annotated[int, Field(ge=1, le=2**31)] | None, BlankIsNone]
Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BlankIsNone]
LayerNumber = Annotated[Annotated[int, Field(ge=0, le=2**16)] | None, BlankIsNone]
_NOTATION = r"exactly, white space and case too; \n, \t, \r, \\ and \xE2 stand for bytes"


class SearchParameters(FormModel):
    """Criteria that all have to hold, and an order; what is empty asks for nothing."""

    q: str = Field("", description=f"A token the key fires on, or its value promotes: {_NOTATION}")
    promotes: str = Field("", description=f"A token among those the value promotes: {_NOTATION}")
    promotes_top: Count = Field(None, description="How near to the first of them it has to be")
    promotes_logit: Number = Field(None, description="How large its logit has to be")
    suppresses: str = Field("", description=f"A token among those the value suppresses: {_NOTATION}")
    suppresses_top: Count = Field(None, description="How near to the first of them it has to be")
    suppresses_logit: Number = Field(None, description="How far below 0 its logit has to be, as a positive number")
    fires_on: str = Field("", description=f"A token the key fires on: {_NOTATION}")
    fires_on_count: Count = Field(None, description="On how many stored triggers and samples")
    sequence: str = Field(
        "",
        max_length=200,
        description="Several tokens in a row, with or without a blank in front, one of them a trigger; "
        f"of the {CHECKED:,} keys that fire most on these tokens. {_NOTATION.capitalize()}",
    )
    detects: str = Field("", description=f"A token the key detects, by the analysis firing: {_NOTATION}")
    role: str = Field("", description="Role of the triggers in their code, by the analysis syntax, such as keyword")
    role_share: Share = Field(None, description="Share of the triggers that has to have it; a half by default")
    concept: str = Field("", description="Name of a concept whose keys are wanted, by its analysis")
    shape: str = Field(
        "",
        description="Where in the window keys that know the position fire more, by the analysis firing: any, "
        + ", ".join(SHAPES),
    )
    weight_class: str = Field("", description=f"What keys are by their weights: {', '.join(CLASSES)}")
    layer_from: LayerNumber = Field(None, description="First layer")
    layer_to: LayerNumber = Field(None, description="Last layer")
    language: str = Field("", description="Language in which the key fires most often")
    dead: Literal["", "yes", "no"] = Field("", description="Keys that never fire, or those that do")
    label: Kind | Literal[""] = Field("", description="Keys that somebody has given a label of this kind")
    ranges: str = Field("", description="Ranges of statistics, such as kurtosis:10:,firing_rate:0.001:0.01")
    sort: str = Field("", description="index, a statistic, or what a criterion measures; by default the last")
    order: Literal["", "asc", "desc"] = ""

    def tokens(self) -> list[str]:
        """The tokens in the query, as typed."""
        return [text for text in (self.q, self.promotes, self.suppresses, self.fires_on, self.detects) if text]

    def between(self) -> list[Between]:
        """The ranges.

        Raises:
            InvalidParameter: one cannot be read, there is no such statistic, or it has two.
        """
        ranges = [_range(text) for text in self.ranges.split(",") if text]
        names = [each.statistic for each in ranges]
        for name in names:
            if names.count(name) > 1:
                raise InvalidParameter(f"{name} has {names.count(name)} ranges: give one")
        return ranges

    def criteria(self, n_layers: int) -> list[Criterion]:
        """The criteria that need only the run.

        Raises:
            InvalidParameter: a range cannot be read, or there is no such shape or class.
        """
        found: list[Criterion] = []
        if self.q:
            found.append(About(parse_token(self.q)))
        if self.promotes:
            found.append(Writes(parse_token(self.promotes), "promoted", self.promotes_top, self.promotes_logit))
        if self.suppresses:
            found.append(Writes(parse_token(self.suppresses), "suppressed", self.suppresses_top, self.suppresses_logit))
        if self.fires_on:
            found.append(FiresOn(parse_token(self.fires_on), self.fires_on_count))
        if self.detects:
            found.append(Detects(parse_token(self.detects)))
        if self.role:
            found.append(HasRole(self.role, 0.5 if self.role_share is None else self.role_share))
        if self.concept:
            found.append(OfConcept(self.concept))
        if self.shape:
            found.append(Positional(self.shape))
        if self.weight_class:
            found.append(OfClass(self.weight_class))
        if self.layer_from is not None or self.layer_to is not None:
            found.append(InLayers(self.layer_from or 0, n_layers - 1 if self.layer_to is None else self.layer_to))
        if self.language:
            found.append(Prefers(self.language))
        if self.dead:
            found.append(Dead(self.dead == "yes"))
        return [*found, *self.between()]


def sequence_of(typed: str) -> bytes:
    """The bytes of tokens in a row; a blank before or after them does not count."""
    return parse_token(typed).removeprefix(b" ").rstrip(b" ")


def format_ranges(ranges: list[Between]) -> str:
    """Ranges in an address's notation."""
    return ",".join(f"{each.statistic}:{_end(each.low)}:{_end(each.high)}" for each in ranges)


def build_search(parameters: SearchParameters, run: OpenRun, database: LabelsDatabase) -> Search:
    """The search a query describes.

    Raises:
        InvalidParameter: a range cannot be read, or there is no such shape or class.
        AnalysisMissing: a criterion reads an analysis that is not computed.
        DatabaseUnavailable: labels are asked for and cannot be read.
    """
    criteria = parameters.criteria(run.manifest.model.n_layers)
    computed = {kind for kind, _ in run.analyses}
    if missing := {each.needs: None for each in criteria if each.needs and each.needs not in computed}:
        raise AnalysisMissing(run.run_id, list(missing))
    if parameters.sequence:
        with run.reading() as cursor:
            criteria.insert(0, run.recall(in_a_row, cursor, run.vocabulary, sequence_of(parameters.sequence), CHECKED))
    if parameters.label:
        weights, kind = run.manifest.model.weights_sha256, Kind(parameters.label)
        with database.transaction() as session:
            criteria.append(Among(tuple(keys_of_kind(session, weights, kind))))
    return Search(tuple(criteria), parameters.sort or None, parameters.order or None)


Parameters = Annotated[SearchParameters, Query()]


def _search(parameters: Parameters, run: OpenRun, database: LabelsDatabase) -> Search:
    return build_search(parameters, run, database)


def _unknown_tokens(parameters: Parameters, run: OpenRun) -> list[str]:
    return [text for text in parameters.tokens() if not run.vocabulary.ids(parse_token(text))]


Searched = Annotated[Search, Depends(_search)]
"""The search in the query."""
UnknownTokens = Annotated[list[str], Depends(_unknown_tokens)]
"""Tokens in the query that the tokenizer does not have."""


def _range(text: str) -> Between:
    name, *ends = text.split(":")
    try:
        low, high = (float(end) if end.strip() else None for end in ends)
    except ValueError:
        raise InvalidParameter(
            f"{text!r} is not a range: write statistic, lowest and highest, as in kurtosis:10: or mean:-0.1:0.1"
        ) from None
    return Between(name.strip(), low, high)


def _end(value: float | None) -> str:
    return "" if value is None else shortest(value)
