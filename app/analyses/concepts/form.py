"""The form that defines a concept, and a preview of what its patterns match in a run."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from keyscope.app.accounts.identity import Person
from keyscope.app.concepts.preview import Preview
from keyscope.app.concepts.previews import Previews
from keyscope.app.concepts.repository import KnownConcept
from keyscope.app.runs import Run
from keyscope.app.web.forms import Typed
from keyscope.contract.concepts import Concept, InvalidConcept, Pattern, define
from keyscope.matching.process import PatternTooLarge
from keyscope.serving.clients import unless_gone

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
    """What a pattern matches, or why it was not tried; neither for a query."""

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


async def try_out(
    request: Request, previews: Previews, visitor: Person | None, run: Run, form: ConceptForm
) -> list[Tried]:
    """The form's patterns for the run's languages, tried on windows of the run.

    Raises:
        ClientGone: the client left.
        PreviewReplaced, TooManyPreviews: too many are running.
    """
    given = await run_in_threadpool(_read, run, form)
    texts = {
        language: pattern for language, pattern in given.items() if isinstance(pattern, Pattern) and not pattern.query
    }
    found = await unless_gone(request, previews.run(_who(request, visitor), run, texts)) if texts else {}
    return [_tried(language, pattern, found.get(language)) for language, pattern in given.items()]


def untried(run: Run, form: ConceptForm, problem: str) -> list[Tried]:
    """The form's patterns, with the reason why none was tried."""
    return [Tried(language, problem=problem) for language in run.manifest.languages if language in form.patterns]


def _read(run: Run, form: ConceptForm) -> dict[str, Pattern | InvalidConcept]:
    read: dict[str, Pattern | InvalidConcept] = {}
    for language, pattern in form.patterns.items():
        if language in run.manifest.languages:
            try:
                given = define({"name": "tried", "title": "tried", "patterns": {language: pattern}})
                read[language] = given.patterns[language]
            except InvalidConcept as error:
                read[language] = error
    return read


def _tried(language: str, pattern: Pattern | InvalidConcept, found: Preview | PatternTooLarge | None) -> Tried:
    if isinstance(pattern, InvalidConcept):
        return Tried(language, problem=pattern.detail)
    if isinstance(found, PatternTooLarge):
        return Tried(language, problem=found.detail)
    return Tried(language, found=found)


def _who(request: Request, visitor: Person | None) -> str:
    """Whose previews replace each other: those of an account, or of an address where nobody signs in."""
    if visitor is not None and visitor.account_id is not None:
        return f"account {visitor.account_id}"
    return f"address {request.client.host if request.client else 'unknown'}"
