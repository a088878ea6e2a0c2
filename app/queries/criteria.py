"""What keys can be searched by: each criterion makes one clause of the search's SELECT."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar, Literal, Protocol

from keyscope.app.errors import InvalidParameter
from keyscope.app.queries.firing import RANGES
from keyscope.app.queries.keys import STATISTICS
from keyscope.app.queries.layers import Order
from keyscope.app.queries.tokens import Vocabulary
from keyscope.contract.analyses.firing import CLASSES, SHAPES
from keyscope.contract.keys import KeyId

Direction = Literal["promoted", "suppressed"]
NUMERIC = {column.name: column for column in STATISTICS if column.type in ("FLOAT", "UBIGINT")} | RANGES
"""What can be searched by range: statistics of the run and of the analysis of firing."""
ANY_SHAPE = "any"
"""Positional keys of any shape."""


@dataclass(frozen=True, slots=True)
class Clause:
    """What a criterion adds to the SELECT."""

    sql: str
    """A condition on `keys k`; with measures, a SELECT of layer, index and the measures."""
    values: tuple[object, ...]
    measures: Mapping[str, Order] = field(default_factory=dict)
    """Numbers that the criterion computes for the keys found, each with its default sort order."""


class Criterion(Protocol):
    @property
    def needs(self) -> str | None:
        """The kind of analysis it reads; None if the run is enough."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """The clause that finds keys with the property."""


@dataclass(frozen=True, slots=True)
class Writes:
    """The value promotes or suppresses a token, among the tokens listed for it."""

    needs: ClassVar[str | None] = None
    token: bytes
    direction: Direction
    top: int | None = None
    """Largest rank of the token in the list."""
    logit: float | None = None
    """Smallest absolute logit."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures logit and rank, under the direction's name."""
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

    needs: ClassVar[str | None] = None
    token: bytes
    least: int | None = None
    """Smallest number of stored triggers and samples on the token."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures the count, as `fires_on`."""
        sql = """
            SELECT layer, "index", sum(amount)::BIGINT AS fires_on FROM token_keys
            WHERE relation = 'fires_on' AND token_id IN (SELECT unnest(?))
            GROUP BY ALL HAVING sum(amount) >= coalesce(?, 1)"""
        return Clause(sql, (vocabulary.ids(self.token), self.least), {"fires_on": "desc"})


@dataclass(frozen=True, slots=True)
class InARow:
    """The key has triggers within several tokens in a row, as `search.in_a_row` finds them."""

    needs: ClassVar[str | None] = None
    text: bytes
    """The tokens, joined."""
    keys: tuple[tuple[KeyId, int], ...]
    """The keys, each with the number of such triggers."""
    checked: int
    """Keys whose triggers were read: those that fire most on these tokens."""
    candidates: int
    """All keys that fire on one of these tokens."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures the number of triggers, as `in_a_row`."""
        sql = 'SELECT unnest(?::INTEGER[]) AS layer, unnest(?::INTEGER[]) AS "index", unnest(?::BIGINT[]) AS in_a_row'
        values = [key.layer for key, _ in self.keys], [key.index for key, _ in self.keys], [n for _, n in self.keys]
        return Clause(sql, values, {"in_a_row": "desc"})


@dataclass(frozen=True, slots=True)
class About:
    """The key fires on a token, or its value promotes it."""

    needs: ClassVar[str | None] = None
    token: bytes

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures the count as `fires_on` and the logit as `promoted_logit`; either is NULL if only the other holds."""
        sql = """
            SELECT layer, "index", (sum(amount) FILTER (WHERE relation = 'fires_on'))::BIGINT AS fires_on,
                max(amount) FILTER (WHERE relation = 'promoted') AS promoted_logit
            FROM token_keys
            WHERE relation IN ('fires_on', 'promoted') AND token_id IN (SELECT unnest(?))
            GROUP BY ALL"""
        return Clause(sql, (vocabulary.ids(self.token),), {"fires_on": "desc", "promoted_logit": "desc"})


@dataclass(frozen=True, slots=True)
class Detects:
    """The key detects a token at some level, by the analysis of firing."""

    needs: ClassVar[str | None] = "firing"
    token: bytes

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures the occurrences of the token on which it fires, as `detected`."""
        sql = """
            SELECT layer, "index", max(fired) AS detected FROM firing_detectors
            WHERE token_id IN (SELECT unnest(?)) GROUP BY ALL"""
        return Clause(sql, (vocabulary.ids(self.token),), {"detected": "desc"})


@dataclass(frozen=True, slots=True)
class HasRole:
    """The key's triggers have a role in their code, by the analysis of syntax."""

    needs: ClassVar[str | None] = "syntax"
    role: str
    share: float = 0.5
    """Smallest share of the triggers with the role."""

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures that share, as `role_share`."""
        sql = """
            SELECT layer, "index", share AS role_share FROM syntax_profiles
            WHERE aspect = 'role' AND value = ? AND share >= ?"""
        return Clause(sql, (self.role, self.share), {"role_share": "desc"})


@dataclass(frozen=True, slots=True)
class OfConcept:
    """The key has more triggers with a concept than chance gives, by the analysis of that concept."""

    needs: ClassVar[str | None] = "concepts"
    name: str

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures which share of the tokens it fires strongly on belong to the concept, as `concept_precision`."""
        sql = """
            SELECT layer, "index", max("precision") AS concept_precision FROM concept_keys JOIN concepts USING (concept)
            WHERE name = ? AND q <= alpha GROUP BY ALL"""
        return Clause(sql, (self.name,), {"concept_precision": "desc"})


@dataclass(frozen=True, slots=True)
class Positional:
    """The key's firing depends on the window position, with a given shape, by the analysis of firing."""

    needs: ClassVar[str | None] = "firing"
    shape: str

    def __post_init__(self) -> None:
        if self.shape not in (ANY_SHAPE, *SHAPES):
            raise InvalidParameter(
                f"there is no shape {self.shape!r} of positional keys: choose {ANY_SHAPE} or one of {', '.join(SHAPES)}"
            )

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """Measures its information on the position in nats, by firing or strong firing, as `position_nats`."""
        sql = """
            SELECT layer, "index", greatest(position_information, position_information_strong) AS position_nats
            FROM firing_keys WHERE CASE WHEN ? THEN position_shape IS NOT NULL ELSE position_shape = ? END"""
        return Clause(sql, (self.shape == ANY_SHAPE, self.shape), {"position_nats": "desc"})


@dataclass(frozen=True, slots=True)
class OfClass:
    """The key is a prediction, suppression or entropy key by its weights, according to the analysis of firing."""

    needs: ClassVar[str | None] = "firing"
    weight_class: str

    def __post_init__(self) -> None:
        if self.weight_class not in CLASSES:
            raise InvalidParameter(
                f"there is no class of keys called {self.weight_class!r}: choose one of {', '.join(CLASSES)}"
            )

    def clause(self, vocabulary: Vocabulary) -> Clause:
        condition = '(k.layer, k."index") IN (SELECT (layer, "index") FROM firing_keys WHERE folded_class = ?)'
        return Clause(condition, (self.weight_class,))


@dataclass(frozen=True, slots=True)
class Between:
    """A statistic is in a range, ends included; keys without the statistic are not."""

    statistic: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.statistic not in NUMERIC:
            raise InvalidParameter(f"there is no range of {self.statistic!r}: choose one of {', '.join(NUMERIC)}")
        if not all(end is None or isfinite(end) for end in (self.low, self.high)):
            raise InvalidParameter(f"a range of {self.statistic} needs finite ends: leave an end out to leave it open")

    @property
    def needs(self) -> str | None:
        return "firing" if self.statistic in RANGES else None

    def clause(self, vocabulary: Vocabulary) -> Clause:
        """A condition on its column; a number of an analysis is measured too, so the results can show it."""
        # DuckDB sorts NaN above every number, infinity included
        low = float("-inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        if self.statistic not in RANGES:
            return Clause(f'k."{self.statistic}" BETWEEN ? AND ?', (low, high))
        sql = f'SELECT layer, "index", "{self.statistic}" FROM firing_keys WHERE "{self.statistic}" BETWEEN ? AND ?'  # noqa: S608
        return Clause(sql, (low, high), {self.statistic: "desc"})


@dataclass(frozen=True, slots=True)
class InLayers:
    """The key is in a range of layers, ends included."""

    needs: ClassVar[str | None] = None
    low: int
    high: int

    def clause(self, vocabulary: Vocabulary) -> Clause:
        return Clause("k.layer BETWEEN ? AND ?", (self.low, self.high))


@dataclass(frozen=True, slots=True)
class Prefers:
    """The key fires most often in a language."""

    needs: ClassVar[str | None] = None
    language: str

    def clause(self, vocabulary: Vocabulary) -> Clause:
        return Clause("k.top_language = ?", (self.language,))


@dataclass(frozen=True, slots=True)
class Dead:
    """The key never fires; with `dead=False`, it does."""

    needs: ClassVar[str | None] = None
    dead: bool = True

    def clause(self, vocabulary: Vocabulary) -> Clause:
        return Clause("k.dead = ?", (self.dead,))


@dataclass(frozen=True, slots=True)
class Among:
    """The key is one of a given set, such as those with a label."""

    needs: ClassVar[str | None] = None
    keys: tuple[KeyId, ...]

    def clause(self, vocabulary: Vocabulary) -> Clause:
        columns = zip(*((key.layer, key.index, key.stack) for key in self.keys), strict=True)
        names = "SELECT (unnest(?::INTEGER[]), unnest(?::INTEGER[]), unnest(?::VARCHAR[]))"
        return Clause(f'(k.layer, k."index", k.stack) IN ({names})', tuple(map(list, columns)) or ([], [], []))
