"""The claim about concepts, tried on the analysis `concepts`."""

from statistics import median

from keyscope.app.analyses.claim import Cursor, Measured, claims_about, judged, percent, rank_correlation
from keyscope.app.queries.estimate import Estimate
from keyscope.app.queries.values import rows
from keyscope.contract.manifest import Manifest

_claim = claims_about("concepts", "concepts_page")
_MAP = """
    SELECT c.name, list(l.significant ORDER BY l.layer), sum(l.significant), sum(l.keys), sum(l.any_hit),
        sum(l.expected), sum(l.expected_low), sum(l.expected_high)
    FROM concepts c JOIN concept_layers l USING (concept) WHERE NOT l.control GROUP BY c.name ORDER BY c.name"""
_SHUFFLED = "SELECT sum(significant) FROM concept_layers WHERE control"


@_claim(
    4,
    "Concepts have keys in every layer, more with depth",
    "Keys whose triggers hit a concept are in all layers, with somewhat more in upper ones (the first author's result "
    "files for two concepts of Java)",
    "Significant: by distinct trigger tokens, calibrated on the twin's keys of the layer where there is a twin. Expected: "
    "significant keys in every layer for most concepts that have any, and more with depth for the median "
    "concept (rank correlation over 0.3). Contrary: fewer with depth (under −0.3), or none at all.",
)
def concept_map(cursor: Cursor, manifest: Manifest) -> Measured | None:
    found = rows(cursor, _MAP, [])
    if not found:
        return None
    shuffled = rows(cursor, _SHUFFLED, [])[0][0] or 0
    carried = [row for row in found if row[2]]
    everywhere = [row for row in carried if all(row[1])]
    rise = median([rank_correlation([float(n) for n in row[1]]) for row in carried] or [0.0])
    parts = tuple(
        f"{name}: {significant:,} significant keys, {100 * hit / keys:.1f} % with any hit, by chance "
        f"{percent(Estimate(*(keys_by_chance / keys for keys_by_chance in chance)))}"
        for name, _layers, significant, keys, hit, *chance in found
    )
    return Measured(
        f"significant keys in every layer for {len(everywhere)} of {len(carried)} concepts that have any, "
        f"with a median rank correlation with depth of {rise:.2f}; {shuffled} such keys for shuffled copies of the concepts",
        judged(len(everywhere) > len(carried) / 2 and rise > 0.3, not carried or rise < -0.3),
        parts,
    )


CLAIMS = (concept_map,)
