"""An edit on its page: the sentence that says what came of it, and its figures and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from keyscope.app.analyses.edits import judging as edits
from keyscope.app.analyses.edits.judging import Judgement
from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Change, Contrast, Control, Edit, Effect
from keyscope.app.web import formats
from keyscope.app.web.links import Links
from keyscope.app.web.sections import EMPTY, Block, Cell, Column, Figure, Format, Row, with_interval
from keyscope.contract.analyses.edit import GROUPS

MEASURES = {"accuracy": "accuracy", "loss": "loss"}
TOO_FEW = "too few files for an interval"
_PLACES = Column("places", "Tokens predicted on held-out files")
_BEFORE = Column("accuracy before", "Without any mask; the interval is that of its change")
_ACCURACY = Column("accuracy, in points", "Change of the share of places where the most probable token is the true one")
_LOSS = Column("loss, in nats", "Change of the mean −log probability of the true token")
_RANK = Column("rank", "How many times farther back the true token stands, geometric mean")
_CHANGES = (_ACCURACY, _LOSS, _RANK)


@dataclass(frozen=True, slots=True)
class Headline:
    """What came of an edit, by one measure."""

    measure: str
    selective: bool
    text: str


def headline(edit: Edit, found: Judgement) -> Headline:
    """Whether the concept's accuracy, or its loss, changed for the worse more than the controls' and other code's."""
    what = "next-token accuracy" if found.measure == "accuracy" else "loss"
    where = f"{edit.title}: masking {_keys(edit.keys)}"
    moved = f"{where} changes the {what} at its places by {_told(found.concept, found.measure)}"
    level = _level(found.concept, found.measure)
    means = ", ".join(
        f"{each.control} keys {_size(each.mean, found.measure)} (p {formats.number(each.p)})" for each in found.controls
    )
    controls = f"{'more than masking' if found.beats_controls else 'not clearly more than masking'} {means} on average"
    if found.general is None or found.contrast is None:
        return Headline(
            found.measure,
            found.beats_controls,
            f"{moved}, to {level}. That is {controls}; there is no code without it.",
        )
    general = (
        f"{'more than' if found.beats_general else 'not clearly more than'} in code without it, which changes by "
        f"{_told(found.general, found.measure)}; the difference is {_contrast(found.contrast)}"
    )
    joined = "and" if found.beats_controls == found.beats_general else "but"
    return Headline(found.measure, found.selective, f"{moved}, to {level}. That is {controls}, {joined} {general}.")


def blocks(cursor: duckdb.DuckDBPyConnection, links: Links, run_id: str, edit: Edit) -> list[Block]:
    """Everything about an edit, from the dose to the harm done elsewhere."""
    effects = queries.effects(cursor, edit.edit, "dose", "range")
    controls = queries.controls(cursor, edit.edit)
    main = edits.main_effects(cursor, edit)
    before = {(each.group, each.name): each for each in queries.effects(cursor, edit.edit, "baseline")}
    return [
        _doses(links, run_id, edit, effects),
        _controls(links, run_id, edit, controls, queries.likenesses(cursor, edit.edit)),
        _places(links, run_id, main, before),
        _collateral(links, run_id, main, before, controls),
    ]


def _doses(links: Links, run_id: str, edit: Edit, effects: Sequence[Effect]) -> Block:
    def figure(measure: str) -> str:
        return links.to("edit_figure", run=run_id, edit=edit.edit, measure=measure)

    groups = {"concept": "at the concept", "near": "beside it", "general": "code without it"}
    of = {(each.condition, each.group): each for each in effects if not each.name}
    conditions = list(dict.fromkeys((each.condition, each.role, each.keys) for each in effects))
    rows = []
    for condition, role, keys in conditions:
        concept, near, general = (of.get((condition, group)) for group in ("concept", "near", "general"))
        title = _keys(keys) + (", within their range" if role == "range" else "")
        cells = [_cell(concept, "accuracy"), _cell(near, "accuracy"), _cell(general, "accuracy")]
        rows.append(Row(title, [*cells, _cell(concept, "loss"), _cell(near, "loss"), _cell(general, "loss")]))
    return Block(
        name="doses",
        title="Dose and response",
        text=(
            "More and more keys are masked in the order of the ranking. Within their range means that a coefficient is "
            f"changed only where it lies within {formats.plain(edit.tau)} standard deviations of its mean on the concept. "
            f"{_rests_on(of, groups)} Changes have 95 % intervals by bootstrap over files, all with the same windows."
        ),
        figures=[Figure(f"change of {title} by keys masked", figure(measure)) for measure, title in MEASURES.items()],
        caption="Changes at every dose",
        head=[
            Column("masked", "Keys of the ranking, the first ones first"),
            *(Column(f"accuracy {group}", _ACCURACY.help) for group in groups.values()),
            *(Column(f"loss {group}", _LOSS.help) for group in groups.values()),
        ],
        rows=rows,
        exports=links.exports("export_analysis_table", run=run_id, table="edit_effects"),
    )


def _controls(
    links: Links, run_id: str, edit: Edit, controls: Sequence[Control], likenesses: Sequence[queries.Likeness]
) -> Block:
    like = "; ".join(
        f"{'the edit' if each.role == 'dose' else each.role} fire on {formats.share(each.firing_rate)} with values of length "
        f"{formats.number(each.norm_value)}"
        for each in likenesses
    )
    shown = [each for each in controls if each.measure in MEASURES and not each.name]
    shown.sort(key=lambda each: (GROUPS.index(each.group), each.measure))
    return Block(
        name="controls",
        title="Other keys instead",
        text=(
            f"{edit.draws} draws each of as many other keys of the same layers: any (random), or such that fire as often and "
            f"have values as long (matched). On average {like}."
        ),
        figures=[],
        caption="The edit among its controls",
        head=[
            Column("where", ""),
            Column("mean change", "Over the draws, with the smallest and the largest"),
            Column("the edit beyond it", "The edit's change less that mean, with its 95 % interval"),
            Column("z", "The same in standard deviations of the draws"),
            Column("p", "Share of the draws, the edit counted among them, that do as much harm"),
        ],
        rows=[
            Row(
                f"{_group(each.group, each.name)}: {each.measure}, {each.control} keys",
                [
                    with_interval(each.mean, each.smallest, each.largest, _sizes(each.measure)),
                    with_interval(each.excess, each.excess_low, each.excess_high, _sizes(each.measure)),
                    Cell(formats.number(each.z)),
                    Cell(formats.number(each.p)),
                ],
            )
            for each in shown
        ],
        exports=links.exports("export_analysis_table", run=run_id, table="edit_controls"),
    )


def _places(links: Links, run_id: str, main: Sequence[Effect], before: dict[tuple[str, str], Effect]) -> Block:
    shown = [each for each in main if each.group != "collateral" and each.places]
    shown.sort(key=lambda each: (GROUPS.index(each.group), each.name))
    return Block(
        name="places",
        title="Where it acts",
        text="Before and after at the main dose: at the concept, beside it in the same windows, and in windows without it by language.",
        figures=[],
        caption="The main dose by place",
        head=[Column("where", ""), _PLACES, _BEFORE, *_CHANGES],
        rows=[_row(_group(each.group, each.name), each, before) for each in shown],
        exports=links.exports("export_analysis_table", run=run_id, table="edit_contrasts"),
    )


def _collateral(
    links: Links,
    run_id: str,
    main: Sequence[Effect],
    before: dict[tuple[str, str], Effect],
    controls: Sequence[Control],
) -> Block:
    matched = {each.name: each for each in controls if (each.control, each.measure) == ("matched", "loss")}
    shown = sorted(
        (each for each in main if each.group == "collateral" and each.places),
        key=lambda each: -(each.measures["loss"].change or 0.0),
    )
    return Block(
        name="collateral",
        title="Harm to other concepts",
        text="The same windows, counted at the places of every other concept whose keys are known; tokens of both are left out.",
        figures=[],
        caption="Other concepts, the most harmed first",
        head=[
            Column("concept", ""),
            _PLACES,
            _BEFORE,
            *_CHANGES,
            Column(
                "p, matched", "Share of the draws of matched keys, the edit among them, that raise the loss as much"
            ),
        ],
        rows=[
            Row(row.head, [*row.cells, Cell(formats.number(matched[each.name].p)) if each.name in matched else EMPTY])
            for each in shown
            for row in [_row(each.name.rpartition("-")[0], each, before)]
        ],
        exports=links.exports("export_analysis_table", run=run_id, table="edit_effects"),
    )


def _rests_on(effects: Mapping[tuple[int, str], Effect], groups: Mapping[str, str]) -> str:
    """How many places each group has; every dose has the same."""
    of_group = {group: each for (_, group), each in effects.items()}
    counted = [
        f"{formats.count(of_group[group].places)} places of {formats.count(of_group[group].files)} files {title}"
        for group, title in groups.items()
        if group in of_group
    ]
    return f"They are measured on {', '.join(counted)}." if counted else ""


def _row(title: str, effect: Effect, before: dict[tuple[str, str], Effect]) -> Row:
    level = before[effect.group, effect.name].measures["accuracy"].level
    changes = [_cell(effect, measure) for measure in ("accuracy", "loss", "rank")]
    return Row(title, [Cell(formats.count(effect.places)), Cell(formats.share(level)), *changes])


def _group(group: str, name: str) -> str:
    if group == "concept":
        return "the concept"
    if group == "near":
        return "beside it"
    if group == "general":
        return f"without it, {formats.language(name)}" if name else "without it"
    return name.rpartition("-")[0]


def _cell(effect: Effect | None, measure: str) -> Cell:
    change = effect.measures[measure] if effect else None
    if change is None or change.change is None:
        return EMPTY
    return with_interval(change.change, change.low, change.high, _sizes(measure))


def _sizes(measure: str) -> Format:
    return lambda value: _size(value, measure)


def _size(value: float, measure: str) -> str:
    """A change as it is said: −12.3 points, +0.35 nats, × 1.8."""
    if measure == "accuracy":
        return formats.fixed(100 * value, 1)
    return formats.fixed(value, 3) if measure == "loss" else f"× {formats.number(value)}"


def _keys(number: int) -> str:
    return f"{formats.count(number)} {'key' if number == 1 else 'keys'}"


def _unit(measure: str) -> str:
    return "points" if measure == "accuracy" else "nats"


def _told(change: Change, measure: str) -> str:
    ends = _ends(change.low, change.high, measure)
    return f"{_size(change.change or 0.0, measure)} {_unit(measure)} ({f'95 % interval {ends}' if ends else TOO_FEW})"


def _level(change: Change, measure: str) -> str:
    return formats.share(change.level) if measure == "accuracy" else f"{formats.number(change.level)} nats"


def _contrast(contrast: Contrast) -> str:
    difference = _size(contrast.difference or 0.0, contrast.measure)
    return f"{difference} ({_ends(contrast.low, contrast.high, contrast.measure) or TOO_FEW})"


def _ends(low: float | None, high: float | None, measure: str) -> str:
    """An interval; nothing where there is none."""
    return "" if low is None or high is None else f"{_size(low, measure)} to {_size(high, measure)}"
