"""What keys can be searched by: each criterion gives one clause of the search's SELECT."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, Protocol

from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.firing import RANGES
from keyscope.app.queries.keys import STATISTICS
from keyscope.app.queries.layers import Order
from keyscope.app.queries.tokens import Vocabulary
from keyscope.contract.analyses.firing import CLASSES, SHAPES
from keyscope.contract.keys import KeyId

Direction = Literal["promoted", "suppressed"]
NUMERIC = {column.name: column for column in STATISTICS if column.type in ("FLOAT", "UBIGINT")} | RANGES
"""What has an order, so that a range of it can be asked for: statistics of the run, and of the analysis of firing."""
ANY_SHAPE = "any"
"""Keys that know the position, wherever in the window they fire more."""


@dataclass(frozen=True, slots=True)
class Clause:
    """What a criterion adds to the SELECT."""

    sql: str
    """A condition on `keys k`; or, where there are measures, a SELECT of layer, index and these."""
    values: tuple[object, ...]
    measures: Mapping[str, Order] = field(default_factory=dict)
    """Numbers that only the keys found have; and which end of each comes first, unless asked for otherwise."""


class Criterion(Protocol):
    """Something that a key is or does."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """The clause that finds such keys."""


@dataclass(frozen=True, slots=True)
class Writes:
    """The value promotes or suppresses a token, among the tokens listed for it."""

    token: bytes
    direction: Direction
    top: int | None = None
    """How near to the first of the list the token has to be."""
    logit: float | None = None
    """How large its logit has to be, either way."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Logit and rank under the direction's name."""
        strongest: Order = "desc" if self.direction == "promoted" else "asc"
        sql = f"""
            SELECT layer, "index", {"max" if strongest == "desc" else "min"}(amount) AS {self.direction}_logit,
                min(rank) AS {self.direction}_rank
            FROM token_keys
            WHERE relation = ? AND token_id IN (SELECT unnest(?))
                AND rank <= coalesce(?, rank) AND abs(amount) >= coalesce(?, 0)
            GROUP BY ALL"""  # noqa: S608 - one of two words
        values = self.direction, vocabulary.ids(self.token), self.top, self.logit
        return Clause(sql, values, {f"{self.direction}_logit": strongest, f"{self.direction}_rank": "asc"})


@dataclass(frozen=True, slots=True)
class FiresOn:
    """The key fires on a token, among the tokens listed for it."""

    token: bytes
    least: int | None = None
    """Stored triggers and samples on the token that there have to be."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """The count as `fires_on`."""
        sql = """
            SELECT layer, "index", sum(amount)::BIGINT AS fires_on FROM token_keys
            WHERE relation = 'fires_on' AND token_id IN (SELECT unnest(?))
            GROUP BY ALL HAVING sum(amount) >= coalesce(?, 1)"""
        return Clause(sql, (vocabulary.ids(self.token), self.least), {"fires_on": "desc"})


@dataclass(frozen=True, slots=True)
class About:
    """The key fires on a token, or its value promotes it."""

    token: bytes

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """The count as `fires_on`, the logit as `promoted_logit`; each is empty where only the other holds."""
        sql = """
            SELECT layer, "index", (sum(amount) FILTER (WHERE relation = 'fires_on'))::BIGINT AS fires_on,
                max(amount) FILTER (WHERE relation = 'promoted') AS promoted_logit
            FROM token_keys
            WHERE relation IN ('fires_on', 'promoted') AND token_id IN (SELECT unnest(?))
            GROUP BY ALL"""
        return Clause(sql, (vocabulary.ids(self.token),), {"fires_on": "desc", "promoted_logit": "desc"})


@dataclass(frozen=True, slots=True)
class Detects:
    """The key is a detector of a token, by the analysis of firing, at whichever level."""

    token: bytes

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Occurrences of the token on which it fires, as `detected`."""
        sql = """
            SELECT layer, "index", max(fired) AS detected FROM firing_detectors
            WHERE token_id IN (SELECT unnest(?)) GROUP BY ALL"""
        return Clause(sql, (vocabulary.ids(self.token),), {"detected": "desc"})


@dataclass(frozen=True, slots=True)
class HasRole:
    """The key's triggers have a role in their code, by the analysis of syntax."""

    role: str
    share: float = 0.5
    """Share of the triggers that has to have it."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """That share as `role_share`."""
        sql = """
            SELECT layer, "index", share AS role_share FROM syntax_profiles
            WHERE aspect = 'role' AND value = ? AND share >= ?"""
        return Clause(sql, (self.role, self.share), {"role_share": "desc"})


@dataclass(frozen=True, slots=True)
class OfConcept:
    """The key has more triggers with a concept than chance gives, by the analysis of that concept."""

    name: str

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """The share of the tokens it fires strongly on that are of the concept, as `concept_precision`."""
        sql = """
            SELECT layer, "index", max("precision") AS concept_precision FROM concept_keys JOIN concepts USING (concept)
            WHERE name = ? AND q <= alpha GROUP BY ALL"""
        return Clause(sql, (self.name,), {"concept_precision": "desc"})


@dataclass(frozen=True, slots=True)
class Positional:
    """The key knows the position in the window and fires more in some part of it, by the analysis of firing."""

    shape: str

    def __post_init__(self) -> None:
        if self.shape not in (ANY_SHAPE, *SHAPES):
            raise InvalidParameter(
                f"no positional key has the shape {self.shape!r}: choose {ANY_SHAPE} or one of {', '.join(SHAPES)}"
            )

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """What it knows of the position in nats, by firing or by firing strongly, as `position_nats`."""
        sql = """
            SELECT layer, "index", greatest(position_information, position_information_strong) AS position_nats
            FROM firing_keys WHERE CASE WHEN ? THEN position_shape IS NOT NULL ELSE position_shape = ? END"""
        return Clause(sql, (self.shape == ANY_SHAPE, self.shape), {"position_nats": "desc"})


@dataclass(frozen=True, slots=True)
class OfClass:
    """The key is a prediction, suppression or entropy key by its weights, by the analysis of firing."""

    weight_class: str

    def __post_init__(self) -> None:
        if self.weight_class not in CLASSES:
            raise InvalidParameter(
                f"there is no class of keys called {self.weight_class!r}: choose one of {', '.join(CLASSES)}"
            )

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on its class."""
        condition = '(k.layer, k."index") IN (SELECT (layer, "index") FROM firing_keys WHERE weight_class = ?)'
        return Clause(condition, (self.weight_class,))


@dataclass(frozen=True, slots=True)
class Between:
    """A statistic lies in a range, ends included; a key without it does not."""

    statistic: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.statistic not in NUMERIC:
            raise InvalidParameter(f"there is no range of {self.statistic!r}: choose one of {', '.join(NUMERIC)}")
        if not all(end is None or isfinite(end) for end in (self.low, self.high)):
            raise InvalidParameter(f"a range of {self.statistic} needs finite ends: leave one out to have it open")

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on its column; what only an analysis has is measured, too, so that it can be seen."""
        # DuckDB takes NaN for larger than every number, infinity included.
        low = float("-inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        if self.statistic not in RANGES:
            return Clause(f'k."{self.statistic}" BETWEEN ? AND ?', (low, high))
        sql = f'SELECT layer, "index", "{self.statistic}" FROM firing_keys WHERE "{self.statistic}" BETWEEN ? AND ?'  # noqa: S608
        return Clause(sql, (low, high), {self.statistic: "desc"})


@dataclass(frozen=True, slots=True)
class InLayers:
    """The key is in one of some layers, both ends included."""

    low: int
    high: int

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on the layer."""
        return Clause("k.layer BETWEEN ? AND ?", (self.low, self.high))


@dataclass(frozen=True, slots=True)
class Prefers:
    """The key fires most often in a language."""

    language: str

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on its column."""
        return Clause("k.top_language = ?", (self.language,))


@dataclass(frozen=True, slots=True)
class Dead:
    """The key never fires, or it does."""

    dead: bool = True

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on its column."""
        return Clause("k.dead = ?", (self.dead,))


@dataclass(frozen=True, slots=True)
class Among:
    """The key is one of some, such as those that have a label."""

    keys: tuple[KeyId, ...]

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on its name."""
        layers, indices = [key.layer for key in self.keys], [key.index for key in self.keys]
        condition = '(k.layer, k."index") IN (SELECT (unnest(?::INTEGER[]), unnest(?::INTEGER[])))'
        return Clause(condition, (layers, indices))
