"""Concept analyses for the small runs, with scores that follow from the key's number."""

from pathlib import Path
from typing import Any

from keyscope.contract.analyses.concepts import AUROC_LEVELS, TABLES
from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.concepts import SHIPPED, Concept
from tests.made.agreement import analysis_manifest

NAMED = {concept.name: concept for concept in SHIPPED}
LOOPS, NUMPY = NAMED["loops"], NAMED["numpy"]
EXAMPLE = {"before": "def f(<b>):\n    ", "match": "for", "after": " x in y:\n        pass"}
_COLUMNS = {table.name: table.names for table in TABLES}


def score(number: int, keys: int) -> dict[str, Any]:
    """The scores of a key: the higher its number, the better by p and AUROC, the worse by what it gives."""
    q = 10.0 ** -(2 * number)
    return {
        "strong": 100,
        "strong_on_concept": 10 * number,
        "precision": number / 10,
        "recall": number / 20,
        "lift": float(number),
        "f1": number / 30,
        "auroc": 0.5 + number / (2 * keys),
        "auroc_before": 0.5 + number / (4 * keys),
        "log_odds_z": number - 3.0,
        "triggers": 9,
        "hits": min(number, 9),
        "chance": 0.5,
        "p": q / keys,
        "q": q,
        "distinct_p": q / keys,
        "distinct_q": q,
        "significant": q <= 0.05,
        "causal": 1.0 - number,
        "predicted": 1.1 - number if number < 2 else None,
        "masked": 0.9 - number if number < 2 else None,
        "rank_any_hit": number or None,
        "rank_fdr": keys - number if q <= 0.05 else None,
        "rank_auroc": keys - number,
        "rank_auroc_before": keys - number,
        "rank_causal": number + 1,
    }


def write_concepts(
    run: Path, layers: int, keys_per_layer: int, concepts: tuple[Concept, ...] = (LOOPS, NUMPY), part: str | None = None
) -> Path:
    """Write a concept analysis for a run; numpy has neither a match nor a significant key."""
    keys = layers * keys_per_layer
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
    for concept in concepts:
        found = concept.name != "numpy"
        own = {
            "concept": concept.part,
            "name": concept.name,
            "title": concept.title,
            "sha256": concept.sha256,
            "definition": concept.model_dump_json(exclude_none=True),
            "alpha": 0.05,
            "against": "distinct",
            "sites": 30,
            "held_out_files": 2,
            "held_out_sites": 20,
            "causal_windows": 4,
            "causal_sites": 12,
            "masked_sites": 6,
        }
        rows["concepts"].append(own)
        for language in concept.patterns:
            counts = {"files": 3, "files_with": 2, "matches": 15 if found else 0, "tokens": 1000, "concept_tokens": 20}
            rate = {"base_rate": 0.1, "base_rate_low": 0.05, "base_rate_high": 0.2}
            rows["concept_languages"].append({"concept": concept.part, "language": language, **counts, **rate})
            rows["concept_examples"].append(
                {
                    "concept": concept.part,
                    "language": language,
                    "rank": 1,
                    "source": "made",
                    "path": "a/<i>.x",
                    "line": 3,
                }
                | EXAMPLE
            )
        for number in range(keys):
            place = {"layer": number // keys_per_layer, "index": number % keys_per_layer}
            rows["concept_keys"].append({"concept": concept.part, **place, **score(number, keys)})
        for control in (False, True):
            for layer in range(layers):
                significant = layer + 1 if found and not control else 0
                chance = {"expected": 2.5, "expected_low": 1.0, "expected_high": 4.0}
                share = {"triggers": 50, "hit_share": 0.2, "hit_share_low": 0.1, "hit_share_high": 0.3}
                share |= {"chance_share": 0.1, "chance_share_low": 0.05, "chance_share_high": 0.15}
                counts = {
                    "keys": keys_per_layer,
                    "any_hit": keys_per_layer - 1,
                    "significant": significant,
                    "above_random": 2 * significant,
                }
                levels = {f"auroc_{level}": 0 if control else 1 for level in AUROC_LEVELS}
                rows["concept_layers"].append(
                    {"concept": concept.part, "control": control, "layer": layer} | counts | levels | chance | share
                )
    manifest = analysis_manifest(run, "concepts", quantile=0.99).model_copy(update={"part": part})
    with publish_analysis(run, "concepts", part) as connection:
        for table, values in rows.items():
            for row in values:
                columns = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values()))
        write_analysis_manifest(connection, manifest)
    return run
