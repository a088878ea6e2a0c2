"""An edit on its page: the sentence on what came of it, and its figures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from keyscope.app.analyses.edits import figures, judging
from keyscope.app.analyses.edits.judging import Judgement
from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Control, Edit, Effect, Likeness
from keyscope.app.queries.estimate import Estimate
from keyscope.app.web import formats
from keyscope.app.web.sections import EMPTY, Block, Cell, Column, Figure, Format, Row, with_interval
from keyscope.contract.analyses.edit import GROUPS

Before = Mapping[tuple[str, str], Effect]
"""Groups of places without any mask, by group and name."""
MEASURES = ("accuracy", "loss")
TOO_FEW = "too few files for an interval"
_PLACES = Column("places", "Tokens predicted on held-out files")
_BEFORE = Column("accuracy before", "Without any mask; the interval is that of its change")
_ACCURACY = Column("accuracy, in points", "Change of the share of places where the most probable token is the true one")
_LOSS = Column("loss, in nats", "Change of the mean −log probability of the true token")
_RANK = Column("rank", "Factor by which the true token's rank grows, geometric mean")
_CHANGES = (_ACCURACY, _LOSS, _RANK)


@dataclass(frozen=True, slots=True)
class Headline:
    """What came of an edit, by one measure."""

    measure: str
    selective: bool
    text: str


def headline(edit: Edit, found: Judgement) -> Headline:
    """How much the edit changed the concept, compared with masks of other keys and with other code."""
    measure = found.measure
    what = "next-token accuracy" if measure == "accuracy" else "loss"
    moved = (
        f"{edit.title}: masking {_keys(edit.keys)} changes the {what} at its places by {_told(found.concept, measure)}"
    )
    means = ", ".join(
        f"{each.control} keys {_size(each.mean, measure)} (p {formats.number(each.p)})" for each in found.controls
    )
    controls = f"{'more than masking' if found.beats_controls else 'not clearly more than masking'} {means} on average"
    start = f"{moved}, to {_level(found.concept, measure)}. That is {controls}"
    if found.general is None or found.contrast is None:
        return Headline(measure, found.beats_controls, f"{start}; there is no code without it.")
    difference = found.contrast.difference or Estimate(0.0)
    general = (
        f"{'more than' if found.beats_general else 'not clearly more than'} in code without it, which changes by "
        f"{_told(found.general, measure)}; the difference is {_size(difference.value, measure)} "
        f"({_ends(difference, measure) or TOO_FEW})"
    )
    joined = "and" if found.beats_controls == found.beats_general else "but"
    return Headline(measure, found.selective, f"{start}, {joined} {general}.")


def sections(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> Iterator[Block]:
    """All sections of an edit, from its dose to the harm done elsewhere."""
    controls = queries.controls(cursor, edit.edit)
    yield _doses(edit, queries.effects(cursor, edit.edit, "dose", "range"), controls)
    yield _controls(edit, controls, queries.likenesses(cursor, edit.edit))
    main = judging.main_effects(cursor, edit)
    before = {(each.group, each.name): each for each in queries.effects(cursor, edit.edit, "baseline")}
    yield _places(main, before)
    yield _collateral(main, before, controls)


def _doses(edit: Edit, effects: Sequence[Effect], controls: Sequence[Control]) -> Block:
    groups = {"concept": "at the concept", "near": "beside it", "general": "code without it"}
    of = {(each.condition, each.group): each for each in effects if not each.name}
    conditions = dict.fromkeys((each.condition, each.role, each.keys) for each in effects)
    return Block(
        "doses",
        "Dose and response",
        "More and more keys are masked, in the order of the ranking. “Within their range” means that a coefficient is "
        f"masked only if it is within {formats.plain(edit.tau)} standard deviations of its mean on the concept. "
        f"{_rests_on(of, groups)} Changes have 95 % intervals over projects, all on the same windows.",
        "Changes at every dose",
        [
            Column("masked", "Keys of the ranking, the first ones first"),
            *(Column(f"accuracy {group}", _ACCURACY.help) for group in groups.values()),
            *(Column(f"loss {group}", _LOSS.help) for group in groups.values()),
        ],
        [
            Row(
                _keys(keys) + (", within their range" if role == "range" else ""),
                [_cell(of.get((condition, group)), measure) for measure in MEASURES for group in groups],
            )
            for condition, role, keys in conditions
        ],
        [_figure(measure, effects, controls) for measure in MEASURES],
        "edit_effects",
    )


def _figure(measure: str, effects: Sequence[Effect], controls: Sequence[Control]) -> Figure:
    doses = [each for each in effects if each.role == "dose"]
    at_concept = [each for each in controls if each.group == "concept"]
    return Figure(
        measure,
        f"change of {measure} by keys masked",
        lambda: figures.doses(doses, at_concept, measure),
        opens_layers=False,
    )


def _controls(edit: Edit, controls: Sequence[Control], likenesses: Sequence[Likeness]) -> Block:
    like = "; ".join(
        f"{'the edit' if each.role == 'dose' else each.role} fire on {formats.share(each.firing_rate)} with values of length "
        f"{formats.number(each.norm_value)}"
        for each in likenesses
    )
    shown = [each for each in controls if each.measure in MEASURES and not each.name]
    shown.sort(key=lambda each: (GROUPS.index(each.group), each.measure))
    return Block(
        "controls",
        "Other keys instead",
        f"{edit.draws} draws of as many other keys from the same layers, of each kind: any keys (random), or keys that "
        f"fire as often and have values as long (matched). On average {like}.",
        "The edit among its controls",
        [
            Column("where"),
            Column("mean change", "Over the draws, with the smallest and the largest"),
            Column("the edit beyond it", "The edit's change minus that mean, with its 95 % interval"),
            Column("z", "The same in standard deviations of the draws"),
            Column("p", "Share of the draws, the edit counted among them, that do as much harm"),
        ],
        [
            Row(
                f"{_group(each.group, each.name)}: {each.measure}, {each.control} keys",
                [
                    with_interval(Estimate(each.mean, each.smallest, each.largest), _sizes(each.measure)),
                    with_interval(each.excess, _sizes(each.measure)),
                    Cell(formats.number(each.z)),
                    Cell(formats.number(each.p)),
                ],
            )
            for each in shown
        ],
        table="edit_controls",
    )


def _places(main: Sequence[Effect], before: Before) -> Block:
    shown = [each for each in main if each.group != "collateral" and each.places]
    shown.sort(key=lambda each: (GROUPS.index(each.group), each.name))
    return Block(
        "places",
        "Where it acts",
        "Before and after, at the main dose: at the concept, beside it in the same windows, and in windows without it, by "
        "language.",
        "The main dose by place",
        [Column("where"), _PLACES, _BEFORE, *_CHANGES],
        [_row(_group(each.group, each.name), each, before) for each in shown],
        table="edit_contrasts",
    )


def _collateral(main: Sequence[Effect], before: Before, controls: Sequence[Control]) -> Block:
    matched = {each.name: each for each in controls if (each.control, each.measure) == ("matched", "loss")}
    shown = [each for each in main if each.group == "collateral" and each.places]
    shown.sort(key=lambda each: -each.changes["loss"].value if "loss" in each.changes else 0.0)
    return Block(
        "collateral",
        "Harm to other concepts",
        "The same windows, measured at the places of every other concept with known keys; tokens that belong to both are "
        "left out.",
        "Other concepts, the most harmed first",
        [
            Column("concept"),
            _PLACES,
            _BEFORE,
            *_CHANGES,
            Column(
                "p, matched", "Share of the draws of matched keys, the edit among them, that raise the loss as much"
            ),
        ],
        [
            _row(
                each.name.rpartition("-")[0],
                each,
                before,
                Cell(formats.number(matched[each.name].p)) if each.name in matched else EMPTY,
            )
            for each in shown
        ],
        table="edit_effects",
    )


def _rests_on(effects: Mapping[tuple[int, str], Effect], groups: Mapping[str, str]) -> str:
    """How many places each group has, which is the same at every dose."""
    of_group = {group: each for (_, group), each in effects.items()}
    counted = [
        f"{formats.count(of_group[group].places)} places in {formats.count(of_group[group].files)} files {title}"
        for group, title in groups.items()
        if group in of_group
    ]
    return f"Measured on {', '.join(counted)}." if counted else ""


def _row(title: str, effect: Effect, before: Before, *more: Cell) -> Row:
    level = before[effect.group, effect.name].levels["accuracy"]
    changes = [_cell(effect, measure) for measure in ("accuracy", "loss", "rank")]
    return Row(title, [Cell(formats.count(effect.places)), Cell(formats.share(level)), *changes, *more])


def _group(group: str, name: str) -> str:
    if group == "concept":
        return "the concept"
    if group == "near":
        return "beside it"
    if group == "general":
        return f"without it, {formats.language(name)}" if name else "without it"
    return name.rpartition("-")[0]


def _cell(effect: Effect | None, measure: str) -> Cell:
    return with_interval(effect.changes.get(measure) if effect else None, _sizes(measure))


def _sizes(measure: str) -> Format:
    return lambda value: _size(value, measure)


def _size(value: float, measure: str) -> str:
    """A change in the unit of its measure: −12.3 points, +0.35 nats, × 1.8."""
    if measure == "accuracy":
        return formats.fixed(100 * value, 1)
    return formats.fixed(value, 3) if measure == "loss" else f"× {formats.number(value)}"


def _keys(number: int) -> str:
    return f"{formats.count(number)} {'key' if number == 1 else 'keys'}"


def _told(effect: Effect, measure: str) -> str:
    change = effect.changes.get(measure, Estimate(0.0))
    unit = "points" if measure == "accuracy" else "nats"
    ends = _ends(change, measure)
    return f"{_size(change.value, measure)} {unit} ({f'95 % interval {ends}' if ends else TOO_FEW})"


def _level(effect: Effect, measure: str) -> str:
    level = effect.levels[measure]
    return formats.share(level) if measure == "accuracy" else f"{formats.number(level)} nats"


def _ends(found: Estimate, measure: str) -> str:
    """The interval; empty if there is none."""
    return with_interval(found, _sizes(measure)).interval
