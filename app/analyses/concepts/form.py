"""The form that defines a concept, and a preview of what its patterns match in a run."""

from dataclasses import dataclass
from typing import Any

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from keyscope.app.concepts.preview import Preview, preview
from keyscope.app.concepts.repository import KnownConcept
from keyscope.app.runs import Run
from keyscope.app.web.forms import Typed
from keyscope.contract.concepts import Concept, InvalidConcept, define

KINDS = {
    "regex": "an expression (RE2)",
    "identifiers": "identifiers",
    "query": "a tree-sitter query",
}


class ConceptForm(BaseModel):
    """A concept as the form sends it: languages, kinds and patterns as parallel lists."""

    model_config = ConfigDict(extra="ignore")

    name: str = ""
    title: str = ""
    description: str = ""
    based_on: int = Field(0, ge=0)
    language: list[str] = Field(default_factory=list)
    kind: list[str] = Field(default_factory=list)
    pattern: list[Typed] = Field(default_factory=list)

    @property
    def patterns(self) -> dict[str, dict[str, Any]]:
        """The patterns by language, without empty ones."""
        written = zip(self.language, self.kind, self.pattern, strict=False)
        return {
            language: {kind: text.replace(",", " ").split() if kind == "identifiers" else text}
            for language, kind, text in written
            if text.strip()
        }

    def concept(self) -> Concept:
        """The concept as defined by the form.

        Raises:
            InvalidConcept: the name or a pattern cannot be used.
        """
        name = self.name.strip()
        if not self.patterns:
            raise InvalidConcept("the concept has no pattern: write one for at least one language")
        return define(
            {
                "name": name,
                "title": self.title.strip() or name,
                "description": self.description.strip(),
                "patterns": self.patterns,
            }
        )


@dataclass(frozen=True, slots=True)
class PatternField:
    language: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What a pattern matches, or why it cannot be used."""

    language: str
    found: Preview | None = None
    problem: str | None = None


def fields_of(run: Run, form: ConceptForm) -> list[PatternField]:
    """A field for each language of the run, with what was typed so far."""
    written = {
        language: (kind, text) for language, kind, text in zip(form.language, form.kind, form.pattern, strict=False)
    }
    return [PatternField(language, *written.get(language, ("regex", ""))) for language in run.manifest.languages]


def form_of(known: KnownConcept, copy: bool) -> ConceptForm:
    """The form filled with a concept, to change it or to duplicate it."""
    concept = known.concept
    patterns = concept.patterns.items()
    return ConceptForm(
        name="" if copy else concept.name,
        title="" if copy else concept.title,
        description=concept.description,
        based_on=0 if copy else known.version,
        language=[language for language, _ in patterns],
        kind=[pattern.kind for _, pattern in patterns],
        pattern=[pattern.text for _, pattern in patterns],
    )


def try_out(run: Run, cursor: duckdb.DuckDBPyConnection, form: ConceptForm) -> list[Tried]:
    """Every pattern in the form, tried on windows of the run."""
    tried = []
    for language, pattern in form.patterns.items():
        try:
            given = define({"name": "tried", "title": "tried", "patterns": {language: pattern}})
        except InvalidConcept as error:
            tried.append(Tried(language, problem=error.detail))
            continue
        tried.append(Tried(language, found=preview(cursor, run.vocabulary, given.patterns[language], language)))
    return tried
