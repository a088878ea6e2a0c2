"""The syntactic place of every token of the corpus: one small number, which has a value for each aspect."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import numpy.typing as npt

from keyscope.contract.analyses.syntax import ASPECTS, NOWHERE
from keyscope.worker.analysis.alike import Aspect
from keyscope.worker.analysis.analysis import Arrays
from keyscope.worker.precompute.token_store import TokenStore
from keyscope.worker.syntax.grammars import grammar
from keyscope.worker.syntax.judge import SCOPES
from keyscope.worker.syntax.outline import NONE, Outline, outline
from keyscope.worker.syntax.role import ROLES, Role
from keyscope.worker.syntax.roles import first_visible, token_roles

IntArray = npt.NDArray[np.int64]
_FIELDS = ("role", "node", "inside", "statement", "expression", "declaration", "scope")


@dataclass(frozen=True)
class PlaceMap:
    """The places of all tokens of a corpus."""

    places: npt.NDArray[np.int32]
    """[tokens], the place of each."""
    values: dict[str, npt.NDArray[np.int32]]
    """By aspect [places], the value of each place as an index into `names`."""
    names: dict[str, tuple[str, ...]]
    """By aspect, the names of its values."""

    @cached_property
    def roles(self) -> IntArray:
        """Index into ROLES of every value of the aspect role."""
        return np.array([ROLES.index(Role(name)) for name in self.names["role"]])

    @property
    def aspects(self) -> dict[str, Aspect]:
        """Every aspect as what can be compared between tokens about as common."""
        return {name: Aspect(len(values), partial(self.of, name)) for name, values in self.names.items()}

    def of(self, aspect: str, tokens: npt.ArrayLike) -> IntArray:
        """Values of one aspect at some tokens of the corpus, as indices into its `names`."""
        found: IntArray = self.values[aspect][self.places[np.asarray(tokens)]].astype(np.int64)
        return found


def read_places(store: TokenStore, files: Sequence[int]) -> Arrays:
    """The places of the tokens of some files, all in one language.

    Returns:
        `table` [places, fields], the distinct places; `codes` [tokens], indices into it; and `language`.
    """
    language = store.language_names[store.languages[files[0]]]
    rows = np.concatenate([_file_rows(store, file, language) for file in files])
    table, codes = np.unique(rows, axis=0, return_inverse=True)
    return {
        "table": table,
        "codes": codes.astype(np.int32).ravel(),
        "language": np.array(store.languages[files[0]]),
    }


def merge_places(parts: Sequence[Arrays], languages: Sequence[str]) -> PlaceMap:
    """Merge what `read_places` returned for all files, in their order, into one map."""
    tables = [
        np.column_stack([np.full(len(part["table"]), int(part["language"])), part["table"].astype(np.int64)])
        for part in parts
    ]
    known, inverse = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    numbers = np.split(inverse.ravel().astype(np.int32), ends)
    places = np.concatenate([found[part["codes"]] for part, found in zip(parts, numbers, strict=True)])
    named = [_named(languages[row[0]], row[1:]) for row in known.tolist()]
    values, names = {}, {}
    for column, aspect in enumerate(ASPECTS):
        found, which = np.unique([each[column] for each in named], return_inverse=True)
        names[aspect] = tuple(map(str, found))
        values[aspect] = which.astype(np.int32)
    return PlaceMap(places, values, names)


def _file_rows(store: TokenStore, file: int, language: str) -> npt.NDArray[np.int16]:
    """[tokens, fields] of one file."""
    text, starts = store.text(file), np.asarray(store.starts[store.tokens_of(file)])
    rows = np.zeros((len(starts), len(_FIELDS)), dtype=np.int16)
    rows[:, 0] = token_roles(text, language, starts)
    tree = outline(text, language)
    if tree is None or not len(starts):
        return rows
    at = tree.at(first_visible(text, starts)[0])
    kinds = _kinds_of(tree)
    node = tree.nodes[at]
    rows[:, 1] = kinds[node]
    rows[:, 2] = _kind_or_none(kinds, tree.nodes, tree.parents[node])
    rows[:, 3] = _kind_or_none(kinds, None, tree.statements[at])
    rows[:, 4] = _kind_or_none(kinds, None, tree.expressions[at])
    rows[:, 5] = _kind_or_none(kinds, None, tree.declarations[at])
    rows[:, 6] = tree.scopes[at]
    return rows


def _kind_or_none(kinds: IntArray, named: IntArray | None, nodes: IntArray) -> IntArray:
    there = np.maximum(nodes, 0)
    return np.where(nodes == NONE, 0, kinds[there if named is None else named[there]])


def _kinds_of(tree: Outline) -> IntArray:
    """Code of each node's type."""
    code = _codes(tree.language)
    return np.array([code.get(kind, 0) for kind in tree.types], dtype=np.int64)


@cache
def _kinds(language: str) -> tuple[str, ...]:
    """Names of a language's node types, after the one for no node; a type's code is its index here."""
    rules = grammar(language)
    if rules is None:
        return (NOWHERE,)
    every = range(rules.language.node_kind_count)
    names = {rules.language.node_kind_for_id(each) or "" for each in every if rules.language.node_kind_is_named(each)}
    return (NOWHERE, "ERROR", *sorted(names - {"ERROR", ""}))


@cache
def _codes(language: str) -> dict[str, int]:
    return {name: code for code, name in enumerate(_kinds(language))}


def _named(language: str, row: Sequence[int]) -> tuple[str, ...]:
    """Names of a place's values, in the order of ASPECTS."""
    kinds = _kinds(language)
    role, node, inside, *around, scope = row
    whole = kinds[node] if inside == 0 else f"{kinds[node]} in {kinds[inside]}"
    return (ROLES[role].value, whole, *(kinds[each] for each in around), SCOPES[scope])
