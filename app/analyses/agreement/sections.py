"""The sections of the page of layer agreement."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import duckdb

from keyscope.app.analyses.agreement import figures
from keyscope.app.database.engine import Database
from keyscope.app.queries.agreement import (
    ByLayer,
    ContextEstimates,
    LensEstimate,
    PartEstimate,
    context_estimates,
    key_estimates,
    layer_estimates,
    lens_estimates,
    lenses_by_layer,
    part_estimates,
    token_estimates,
)
from keyscope.app.runs import Run
from keyscope.app.web import formats
from keyscope.app.web.drawing import in_per_cent
from keyscope.app.web.formats import ROLE_TITLES
from keyscope.app.web.sections import (
    Block,
    Cell,
    Column,
    Figure,
    Format,
    Row,
    counted,
    files,
    layer_table,
    measured,
    with_interval,
)
from keyscope.contract.analyses.agreement import (
    CONTEXT_MEASURES,
    CONTROLS,
    KEY_MEASURES,
    LAYER_MEASURES,
    LENS_CONTROLS,
    LENS_MEASURES,
    LENSES,
    TOKEN_MEASURES,
)

Found = Mapping[tuple[str, str], ByLayer]
"""Measures by name and control."""
Wanted = tuple[str, tuple[str, str], Format]
"""A column: its title, measure and control, and how a number is written."""
_SPLITS = {"role": "role", "continuation": "word", "language": "language", "position": "position"}
_CONTINUATION = {"begins": "the next token begins a word or sign", "goes_on": "the next token goes on with a word"}
_FILES = "Files they are in"


def sections(run: Run, cursor: duckdb.DuckDBPyConnection, database: Database) -> Iterator[Block]:
    """All sections of a run for which the analysis was computed."""
    layers = layer_estimates(cursor)
    yield _agreement(layers)
    yield _depths(layers)
    yield _lenses(lens_estimates(cursor))
    yield _splits(layers)
    yield _tokens(cursor, token_estimates(cursor, "depth"))
    if contexts := context_estimates(cursor):
        yield _contexts(contexts)
    yield _keys_in_layers(layers)
    keys = key_estimates(cursor)
    yield _key_values(keys.layers)
    yield _sure_values(keys.tenths)


def _agreement(found: Found) -> Block:
    return _by_layer(
        "agreement",
        "Agreement with the model's output",
        "How often the top token of each is the one the model predicts in the end: the residual after the layer, through "
        "final norm and head (the logit lens; it is not trained, so early layers may know more than it shows), what the "
        "feed-forward layer adds, taken alone, and the single value that writes most. Dotted: the same by chance.",
        [
            Figure(
                "by_layer", "Top token is the model's own, by layer", lambda: figures.shares(found, figures.AGREEMENT)
            )
        ],
        [
            ("residual", ("residual", ""), formats.share),
            ("feed-forward", ("ff", ""), formats.share),
            ("raw feed-forward", ("ff_raw", ""), formats.share),
            ("strongest value", ("value", ""), formats.share),
            ("residual, elsewhere", ("residual", "other_position"), formats.share),
            ("values dealt anew", ("value", "permuted_values"), formats.share),
            ("probability", ("probability", ""), formats.share),
            ("rank", ("rank", ""), formats.number),
            ("in the top ten", ("top_ten", ""), formats.share),
            ("is right", ("correct", ""), formats.share),
        ],
        found,
    )


def _depths(found: Found) -> Block:
    return _by_layer(
        "depth",
        "Prediction depth and events",
        "A token is settled at the first layer after which its top token never changes. A token settled before the last "
        "layer is called saturated. Events are changes from one layer to the next; elimination is a change of any top "
        "token, right or wrong.",
        [
            Figure("depths", "Tokens settled at each layer", lambda: figures.depths(found)),
            Figure("events", "Changes on top, by layer", lambda: figures.shares(found, figures.EVENTS)),
        ],
        [
            ("settled", ("settled", ""), formats.share),
            ("comes to the top", ("gained", ""), formats.share),
            ("leaves the top", ("lost", ""), formats.share),
            ("any top token leaves", ("eliminated", ""), formats.share),
        ],
        found,
    )


def _lenses(found: Sequence[LensEstimate]) -> Block:
    by_layer, title = lenses_by_layer(found), "Two lenses"
    if not found:
        text = (
            "This analysis has the logit lens alone: it is older than the ridge lens, or had too few tokens to fit one. "
            "Compute it again to have both."
        )
        return Block("lenses", title, text, title, [], [], [], "agreement_lenses")
    depths = [each for each in found if each.measure == "depth" and each.split == "all"]
    said = ", ".join(
        f"{formats.number(each.estimate.value)} by the {each.lens} lens" for each in depths if not each.control
    )
    n = by_layer["ridge", "", "agreement"]
    wanted = (
        ("logit", ("logit", "", "agreement"), formats.share),
        ("ridge", ("ridge", "", "agreement"), formats.share),
        ("ridge, shuffled", ("ridge", "shuffled_targets", "agreement"), formats.share),
        ("logit, KL", ("logit", "", "kl"), formats.number),
        ("ridge, KL", ("ridge", "", "kl"), formats.number),
        ("ridge, shuffled, KL", ("ridge", "shuffled_targets", "kl"), formats.number),
    )
    return layer_table(
        "lenses",
        title,
        "The logit lens reads a residual as if later layers did nothing to it. The ridge lens carries it into the last "
        "residual first, by an affine map fitted on other projects, so it sees what is there in another basis; fitted on "
        "shuffled targets it knows nothing but their mean. A lens shows what can be read, not what the model uses. "
        f"Prediction depth: {said}.",
        [
            *(
                measured(
                    column,
                    f"{LENS_MEASURES[which[2]]}. {LENSES[which[0]]}"
                    + (f". {LENS_CONTROLS[which[1]]}" if which[1] else ""),
                    by_layer.get(which, {}),
                    show,
                )
                for column, which, show in wanted
            ),
            counted("tokens", "Tokens of the files that neither lens was fitted on", n),
            files(_FILES, n),
        ],
        [
            Figure("lenses", "Top token is the model's own, by lens", lambda: figures.lenses(by_layer)),
            Figure(
                "divergences", "KL divergence from the model's own prediction", lambda: figures.divergences(by_layer)
            ),
        ],
        "agreement_lenses",
    )


def _splits(found: Found) -> Block:
    return _by_layer(
        "split",
        "What decides the top token",
        "Let o be the residual after the block, y what the feed-forward layer adds and r = o − y. Residual: only "
        "top(o) = top(r). Agreement: all three are the same. Feed-forward: only top(o) = top(y). Composition: top(o) is "
        "neither. r includes what attention adds, even in blocks where both run in parallel.",
        [Figure("four_ways", "What decides, by layer", lambda: figures.four_ways(found))],
        [(title, which, formats.share) for title, which in figures.SPLIT.items()],
        found,
    )


def _keys_in_layers(found: Found) -> Block:
    return _by_layer(
        "keys-in-layers",
        "How much a layer is more than its keys",
        "The share of tokens for which no single firing key predicts what its layer predicts: none of their values has "
        "the top token of the feed-forward output as its own.",
        [Figure("keys_in_layers", "Keys and their layer", lambda: figures.shares(found, figures.KEYS))],
        [
            ("no key predicts it", ("zero_agreement", ""), formats.share),
            ("keys that fire", ("active", ""), formats.share),
        ],
        found,
    )


def _tokens(cursor: duckdb.DuckDBPyConnection, found: Sequence[PartEstimate]) -> Block:
    shown = [each for split in _SPLITS for each in found if each.split == split and split != "position"]
    shown += sorted((each for each in found if each.split == "position"), key=_first_position)
    by_role = [each for each in found if each.split == "role"]
    return Block(
        "tokens",
        "Which tokens settle early",
        "Prediction depth by the token that follows in the file, whether or not the model predicts it. The export has the "
        "agreement of each layer by role, with intervals.",
        "Prediction depth by kind of token",
        [
            Column("tokens", "A token belongs to one part of each split"),
            Column("by", "Role in its code of the token that follows, whether it goes on with a word, …"),
            Column("prediction depth", TOKEN_MEASURES["depth"]),
            Column("tokens", "Tokens of that kind"),
            Column("files", _FILES),
        ],
        [
            Row(
                _part(each),
                [
                    Cell(_SPLITS[each.split]),
                    with_interval(each.estimate, formats.number),
                    Cell(formats.count(each.estimate.n)),
                    Cell(formats.count(each.estimate.files)),
                ],
            )
            for each in shown
        ],
        [
            Figure(
                "roles", "Prediction depth by role", lambda: figures.roles(by_role, ROLE_TITLES), opens_layers=False
            ),
            Figure(
                "role_layers",
                "Agreement by layer and role",
                lambda: figures.role_layers(part_estimates(cursor, "residual", "role"), ROLE_TITLES),
            ),
        ],
        "agreement",
    )


def _contexts(found: Sequence[ContextEstimates]) -> Block:
    columns: Mapping[str, tuple[str, Format]] = {
        "prediction depth": ("depth", formats.number),
        "as with the longest": ("same_as_full", formats.share),
        "is right": ("correct", formats.share),
        "log frequency": ("log_frequency", formats.number),
    }
    whole = {name: {each.size: each.whole[name] for each in found if name in each.whole} for name in CONTEXT_MEASURES}
    first = next(iter(found[0].whole.values()))
    return layer_table(
        "contexts",
        "Context size",
        f"The same {formats.count(first.n)} tokens of {formats.count(first.files)} files with only the last few tokens "
        "before them. The context is cut off, not moved: with rotary positions only distances count, so the remaining "
        "tokens relate to each other as before; with learned positions they start at 0 again, as in any text that "
        "short. Short contexts also make the model predict commoner tokens, which settle early by themselves: compare "
        "the log frequency.",
        [
            *(measured(title, CONTEXT_MEASURES[name], whole[name], show) for title, (name, show) in columns.items()),
            counted("tokens", "Tokens predicted", whole["depth"]),
            files(_FILES, whole["depth"]),
        ],
        [
            Figure(name, title, draw, opens_layers=False)
            for name, title, draw in (
                ("contexts", "Agreement with its own output", lambda: figures.contexts(found, "residual")),
                (
                    "contexts_full",
                    "Agreement with the output of the longest context",
                    lambda: figures.contexts(found, "residual_full"),
                ),
                (
                    "context_depths",
                    "Prediction depth",
                    lambda: figures.by_size(found, {"prediction depth": "depth"}, "layers"),
                ),
                (
                    "context_shares",
                    "What is predicted",
                    lambda: in_per_cent(
                        figures.by_size(
                            found, {"predicts the same as with the longest": "same_as_full", "is right": "correct"}
                        )
                    ),
                ),
                (
                    "context_frequency",
                    "How common the predicted tokens are",
                    lambda: figures.by_size(
                        found, {"mean log frequency": "log_frequency"}, "ln of the share in the corpus"
                    ),
                ),
            )
        ],
        "agreement_contexts",
        row="{} tokens",
        caption="By size of context",
    )


def _key_values(found: Found) -> Block:
    return _key_block(
        "key-values",
        "Keys and values by layer",
        "Whether the token after a key's strongest trigger is the one that its value promotes most, by L(v).",
        Figure("keys_by_layer", "Key-value agreement, by layer", lambda: figures.keys_by_layer(found)),
        "layer {}",
        found,
    )


def _sure_values(found: Found) -> Block:
    return _key_block(
        "sure-values",
        "Keys and values by how sure the value is",
        "All keys that fire in ten equal parts, by the largest probability that their value alone gives a token.",
        Figure(
            "keys_by_tenth",
            "Key-value agreement, by tenth",
            lambda: figures.keys_by_tenth(found),
            opens_layers=False,
        ),
        "tenth {}",
        found,
    )


def _key_block(name: str, title: str, text: str, figure: Figure, row: str, found: Found) -> Block:
    wanted: list[Wanted] = [
        ("agreement", ("agreement", ""), formats.share),
        ("values dealt anew", ("agreement", "permuted_values"), formats.share),
        ("rank", ("rank", ""), formats.number),
        ("rank, dealt anew", ("rank", "permuted_values"), formats.number),
    ]
    n = found.get(("agreement", ""), {})
    columns = [
        *_columns(wanted, found, KEY_MEASURES),
        counted("keys", "Keys that fire and whose strongest trigger does not end its file", n),
        files("Files that these triggers are in", n),
    ]
    return layer_table(name, title, text, columns, [figure], "agreement_keys", row, caption=title)


def _by_layer(name: str, title: str, text: str, drawn: list[Figure], wanted: Sequence[Wanted], found: Found) -> Block:
    n = found.get(("residual", ""), {})
    columns = [
        *_columns(wanted, found, LAYER_MEASURES),
        counted("tokens", "Tokens that all numbers of the layer rest on", n),
        files(_FILES, n),
    ]
    return layer_table(name, title, text, columns, drawn, "agreement")


def _columns(wanted: Iterable[Wanted], found: Found, measures: Mapping[str, str]) -> list[Column]:
    return [
        measured(title, measures[which[0]] + _control(which[1]), found.get(which, {}), show)
        for title, which, show in wanted
    ]


def _first_position(found: PartEstimate) -> int:
    return int(found.part.split("-")[0])


def _control(name: str) -> str:
    return f". By chance: {CONTROLS[name][0].lower()}{CONTROLS[name][1:]}" if name else ""


def _part(found: PartEstimate) -> str:
    match found.split:
        case "role":
            return ROLE_TITLES[found.part]
        case "continuation":
            return _CONTINUATION[found.part]
        case "language":
            return formats.language(found.part)
        case _:
            low, _, high = found.part.partition("-")
            return f"{low} to {high} tokens before it" if high else f"{low} or more tokens before it"
