"""The recipe of an edit: its concept, its picker's analysis, and its keys with what became of them."""

import duckdb

from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Edit
from keyscope.app.runs import Run
from keyscope.contract.recipes import Masked, Recipe, recipe


def recipe_of(run: Run, cursor: duckdb.DuckDBPyConnection, edit: Edit) -> Recipe:
    """The recipe of an edit.

    Raises:
        NoRecipe: the edit is older than recipes.
    """
    concept = queries.definition(cursor, edit)
    masked = [Masked(operation="scale", masks=list(map(str, queries.masks(cursor, edit))))]
    for language in run.manifest.languages:
        if means := queries.mean_masks(cursor, edit, language):
            masked.append(Masked(operation="mean", language=language, masks=list(map(str, means))))
    return recipe(
        run.manifest,
        run.analyses["edit", edit.edit],
        concept=concept,
        concept_sha256=concept.sha256 if concept else None,
        masked=masked,
    )
