"""The sections of the page of layer agreement."""

from collections.abc import Callable, Mapping, Sequence

import duckdb

from keyscope.app.analyses.agreement.figures import SPLIT
from keyscope.app.queries.agreement import (
    ByLayer,
    ContextEstimates,
    Estimate,
    PartEstimate,
    context_estimates,
    key_estimates,
    layer_estimates,
    token_estimates,
)
from keyscope.app.web import formats
from keyscope.app.web.links import Links
from keyscope.app.web.sections import Block, Cell, Column, Figure, Row, count, files, number, share
from keyscope.contract.analyses.agreement import (
    CONTEXT_MEASURES,
    CONTROLS,
    KEY_MEASURES,
    LAYER_MEASURES,
    TOKEN_MEASURES,
)

Show = Callable[[Estimate | None], Cell]
ROLE_TITLES = {
    "keyword": "keyword",
    "operator": "operator",
    "punctuation": "punctuation",
    "identifier_defined": "identifier, defined",
    "identifier_used": "identifier, used",
    "identifier_imported": "identifier, imported",
    "call_target": "call target",
    "attribute": "attribute",
    "type": "type",
    "string": "string",
    "number": "number",
    "comment": "comment",
    "indentation": "indentation",
    "whitespace": "white space",
    "other": "other",
    "end_of_file": "end of the file",
}
_SPLITS = {"role": "role", "continuation": "word", "language": "language", "position": "position"}
_CONTINUATION = {"begins": "the next token begins a word or sign", "goes_on": "the next token goes on with a word"}


def blocks(cursor: duckdb.DuckDBPyConnection, links: Links, run_id: str) -> list[Block]:
    """All sections of a run whose agreement is computed."""
    make = _Blocks(links, run_id)
    layers, contexts, keys = layer_estimates(cursor), context_estimates(cursor), key_estimates(cursor)
    found = [
        make.agreement(layers),
        make.depths(layers),
        make.splits(layers),
        make.tokens(token_estimates(cursor, "depth")),
    ]
    if contexts:
        found.append(make.contexts(contexts))
    return [*found, make.neurons(layers), make.keys(keys.layers), make.tenths(keys.tenths)]


class _Blocks:
    """Sections of one run."""

    def __init__(self, links: Links, run_id: str) -> None:
        self._links, self._run_id = links, run_id

    def agreement(self, found: Mapping[tuple[str, str], ByLayer]) -> Block:
        columns: list[tuple[str, tuple[str, str], Show]] = [
            ("residual", ("residual", ""), share),
            ("feed-forward", ("ff", ""), share),
            ("raw feed-forward", ("ff_raw", ""), share),
            ("strongest value", ("value", ""), share),
            ("residual, elsewhere", ("residual", "other_position"), share),
            ("values dealt anew", ("value", "permuted_values"), share),
            ("probability", ("probability", ""), share),
            ("rank", ("rank", ""), number),
            ("in the top ten", ("top_ten", ""), share),
            ("is right", ("correct", ""), share),
        ]
        return self._by_layer(
            "agreement",
            "Agreement with the model's output",
            "How often the top token of each is the one the model says in the end: the residual after the layer through "
            "final norm and head (the logit lens, untrained, so early layers may know more than it shows), what the "
            "feed-forward layer adds taken alone, and the single value that writes most. Dotted: the same by chance.",
            [("by_layer", "Top token is the model's own, by layer")],
            columns,
            found,
        )

    def depths(self, found: Mapping[tuple[str, str], ByLayer]) -> Block:
        columns: list[tuple[str, tuple[str, str], Show]] = [
            (title, (name, ""), share)
            for name, title in (
                ("settled", "settled"),
                ("gained", "comes to the top"),
                ("lost", "leaves the top"),
                ("eliminated", "any top token leaves"),
            )
        ]
        return self._by_layer(
            "depth",
            "Prediction depth and events",
            "A token is settled at the first layer after which its top token never changes; settled before the last "
            "layer is what is called saturation. Events are changes from one layer to the next, elimination being that "
            "of any top token, right or wrong.",
            [("depths", "Tokens settled at each layer"), ("events", "Changes on top, by layer")],
            columns,
            found,
        )

    def splits(self, found: Mapping[tuple[str, str], ByLayer]) -> Block:
        parallel = "What the feed-forward layer gets is counted as everything else in the block's output."
        return self._by_layer(
            "split",
            "What decides the top token",
            "With o the residual after the block, y what the feed-forward layer adds and r = o − y: residual, "
            "top(o) = top(r) only; agreement, all three the same; feed-forward, top(o) = top(y) only; composition, "
            f"top(o) is neither. {parallel}",
            [("four_ways", "Who decides, by layer")],
            [(title, (name, ""), share) for name, title in SPLIT.items()],
            found,
        )

    def neurons(self, found: Mapping[tuple[str, str], ByLayer]) -> Block:
        return self._by_layer(
            "keys-in-layers",
            "How much a layer is more than its keys",
            "No single firing key says what its layer says where none of them has the feed-forward output's top token "
            "as its value's own.",
            [("neurons", "Keys and their layer")],
            [("no key says it", ("zero_agreement", ""), share), ("keys that fire", ("active", ""), share)],
            found,
        )

    def tokens(self, found: Sequence[PartEstimate]) -> Block:
        chosen = [each for split in _SPLITS for each in found if each.split == split and split != "position"]
        chosen += sorted((each for each in found if each.split == "position"), key=_first_position)
        return Block(
            "tokens",
            "Which tokens settle early",
            "Prediction depth by what really follows, which the model need not say. The agreement of each layer by role is in "
            "the exports, with its intervals.",
            [
                self._figure("roles", "Prediction depth by role"),
                self._figure("role_layers", "Agreement by layer and role"),
            ],
            "Prediction depth by kind of token",
            [
                Column("tokens", "A token belongs to one part of each split"),
                Column("by", "Role in its code of the token that really follows, whether it goes on with a word, …"),
                Column("prediction depth", TOKEN_MEASURES["depth"]),
                Column("tokens", "Tokens of that kind"),
                Column("files", "Files they are in"),
            ],
            [
                Row(
                    _part(each),
                    [
                        Cell(_SPLITS[each.split]),
                        number(each.estimate),
                        count(each.estimate),
                        files(each.estimate),
                    ],
                )
                for each in chosen
            ],
            self._exports("agreement"),
        )

    def contexts(self, found: Sequence[ContextEstimates]) -> Block:
        columns: list[tuple[str, str, Show]] = [
            ("prediction depth", "depth", number),
            ("as with the longest", "same_as_full", share),
            ("is right", "correct", share),
            ("log frequency", "log_frequency", number),
        ]
        first = next(iter(found[0].whole.values()))
        return Block(
            "contexts",
            "Context size",
            f"The same {formats.count(first.n)} tokens of {formats.count(first.files)} files with nothing but the last few "
            "tokens before them: cut off, not moved. Where positions are rotary, only distances count, so that the "
            "tokens left stand to each other as in the whole; where positions are learned, they begin at 0 again, as for "
            "any text that short. Short contexts also make the model say commoner tokens, which settle early by "
            "themselves: compare the log frequency.",
            [
                self._figure("contexts", "Agreement with its own output"),
                self._figure("contexts_full", "Agreement with the output of the longest context"),
                self._figure("context_depths", "Prediction depth"),
                self._figure("context_shares", "What is said"),
                self._figure("context_frequency", "How common the tokens said are"),
            ],
            "By size of context",
            [
                Column("context", "Tokens of context"),
                *(Column(title, CONTEXT_MEASURES[name]) for title, name, _ in columns),
                Column("tokens", "Tokens predicted"),
                Column("files", "Files they are in"),
            ],
            [
                Row(
                    f"{each.size} tokens",
                    [
                        *(show(each.whole.get(name)) for _, name, show in columns),
                        count(each.whole.get("depth")),
                        files(each.whole.get("depth")),
                    ],
                )
                for each in found
            ],
            self._exports("agreement_contexts"),
        )

    def keys(self, found: Mapping[tuple[str, str], ByLayer]) -> Block:
        return self._key_block(
            "key-values",
            "Keys and values by layer",
            "Whether the token after a key's strongest trigger is the one that its value promotes most, by L(v).",
            [("keys_by_layer", "Key-value agreement, by layer")],
            "layer",
            found,
        )

    def tenths(self, found: Mapping[tuple[str, str], ByLayer]) -> Block:
        return self._key_block(
            "sure-values",
            "Keys and values by how sure the value is",
            "All keys that fire in ten equal parts, by the largest probability that their value alone gives a token.",
            [("keys_by_tenth", "Key-value agreement, by tenth")],
            "tenth",
            found,
        )

    def _key_block(
        self,
        name: str,
        title: str,
        text: str,
        figures: Sequence[tuple[str, str]],
        what: str,
        found: Mapping[tuple[str, str], ByLayer],
    ) -> Block:
        columns: list[tuple[str, tuple[str, str], Show]] = [
            ("agreement", ("agreement", ""), share),
            ("values dealt anew", ("agreement", "permuted_values"), share),
            ("rank", ("rank", ""), number),
            ("rank, dealt anew", ("rank", "permuted_values"), number),
        ]
        numbers = found.get(("agreement", ""), {})
        return Block(
            name,
            title,
            text,
            [self._figure(figure, caption) for figure, caption in figures],
            title,
            [
                Column(what, ""),
                *(Column(label, KEY_MEASURES[key[0]] + _control(key[1])) for label, key, _ in columns),
                Column("keys", "Keys that fire, and whose strongest trigger does not end its file"),
                Column("files", "Files that these triggers are in"),
            ],
            [
                Row(
                    f"{what} {at}",
                    [
                        *(show(found.get(key, {}).get(at)) for _, key, show in columns),
                        count(numbers.get(at)),
                        files(numbers.get(at)),
                    ],
                    self._links.layer(self._run_id, at) if what == "layer" else None,
                )
                for at in numbers
            ],
            self._exports("agreement_keys"),
        )

    def _by_layer(
        self,
        name: str,
        title: str,
        text: str,
        figures: Sequence[tuple[str, str]],
        columns: Sequence[tuple[str, tuple[str, str], Show]],
        found: Mapping[tuple[str, str], ByLayer],
    ) -> Block:
        numbers = found.get(("residual", ""), {})
        return Block(
            name,
            title,
            text,
            [self._figure(figure, caption, clickable=True) for figure, caption in figures],
            f"{title}, by layer",
            [
                Column("layer", ""),
                *(Column(label, LAYER_MEASURES[key[0]] + _control(key[1])) for label, key, _ in columns),
                Column("tokens", "Tokens that all of the layer's numbers rest on"),
                Column("files", "Files they are in"),
            ],
            [
                Row(
                    f"layer {layer}",
                    [
                        *(show(found.get(key, {}).get(layer)) for _, key, show in columns),
                        count(numbers[layer]),
                        files(numbers[layer]),
                    ],
                    self._links.layer(self._run_id, layer),
                )
                for layer in numbers
            ],
            self._exports("agreement"),
        )

    def _figure(self, name: str, title: str, clickable: bool = False) -> Figure:
        href = self._links.to("agreement_figure", run=self._run_id, figure=name)
        return Figure(title, href, self._links.layer(self._run_id, 0) if clickable else None)

    def _exports(self, table: str) -> dict[str, str]:
        return self._links.exports("export_analysis_table", run=self._run_id, table=table)


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
            return f"{low} to {high} tokens before it" if high else f"{low} and more tokens before it"
