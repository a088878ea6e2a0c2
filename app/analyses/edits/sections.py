"""An edit on its page: the sentence on what came of it, and its figures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from keyscope.app.analyses.edits import figures
from keyscope.app.analyses.edits.judging import Judgement, Verdict, Way
from keyscope.app.queries import edits as queries
from keyscope.app.queries.edits import Control, Edit, Effect, Likeness, Site
from keyscope.app.queries.estimate import Estimate
from keyscope.app.web import formats
from keyscope.app.web.sections import EMPTY, Block, Cell, Column, Figure, Format, Row, with_interval
from keyscope.contract.analyses.edit import GROUPS

Before = Mapping[tuple[str, str], Effect]
"""Groups of places without any mask, by group and name."""
MEASURES = ("accuracy", "loss")
WAY_MEASURES = ("loss", "kl", "accuracy")
WAY_TITLES = {"mean": "the keys at their means", "resample": "coefficients from random places"}
INSTEAD = "other keys"
OLDER = "measured by a version that only scaled coefficients, so there is no verdict; compute it anew for one."
SITES_SHOWN = 40
_SITE_WAYS = {"mean": "at their means", "zero": "scaled by the edit's factor", "resample": "taken from random places"}
TOO_FEW = "too few projects for an interval"
_PLACES = Column("places", "Tokens predicted on held-out files")
_BEFORE = Column("accuracy before", "Without any mask; the interval is that of its change")
_ACCURACY = Column("accuracy, in points", "Change of the share of places where the most probable token is the true one")
_LOSS = Column("loss, in nats", "Change of the mean −log probability of the true token")
_RANK = Column("rank", "Factor by which the true token's rank grows, geometric mean")
_KL = Column("KL, in nats", "Divergence of the predictions from the unmasked ones, all tokens of the vocabulary")
_CHANGES = (_ACCURACY, _LOSS, _RANK, _KL)
_MEASURE_TITLES = {"accuracy": "accuracy", "loss": "loss", "kl": "KL"}
_MEASURE_HELP = {"accuracy": _ACCURACY.help, "loss": _LOSS.help, "kl": _KL.help}


@dataclass(frozen=True, slots=True)
class Headline:
    """What came of an edit, by one measure."""

    measure: str
    selective: bool
    text: str


def headline(edit: Edit, found: Judgement) -> Headline:
    """How much the edit changed the concept by one measure, in each way of masking."""
    if not found.ways:
        return Headline(found.measure, False, f"{edit.title}: {OLDER}")
    what = "next-token accuracy" if found.measure == "accuracy" else "loss"
    ways = "; ".join(_way(way, operation, found.measure) for operation, way in found.ways.items())
    return Headline(
        found.measure,
        found.selective,
        f"{edit.title}: masking {_keys(edit.keys)} changes the {what} at its places {ways}.",
    )


def _way(way: Way, operation: str, measure: str) -> str:
    said = f"by {_told(way.concept, measure)} with {WAY_TITLES[operation]}"
    if way.control is not None:
        more = "more" if way.beats_controls else "not clearly more"
        said += f", {more} than with equally damaging keys ({_size(way.control.mean, measure)}, p {formats.number(way.control.p)})"
    if way.contrast is not None and way.contrast.difference is not None and way.general is not None:
        more = "more" if way.beats_general else "not clearly more"
        said += f" and {more} than in code without it ({_told(way.general, measure)})"
    return said


def conclusion(edit: Edit, found: Verdict) -> str:
    """The verdict on an edit as a sentence."""
    endpoint = found.endpoint
    if endpoint is None:
        return f"{edit.title}: {OLDER}"
    measured = (
        f"With {_keys(edit.keys)} at their means, the loss at the places of {edit.title} rises by "
        f"{_size(endpoint.value, 'loss')} nats ({_interval(endpoint)}) more than masks of other keys that do as much damage to general code"
    )
    over = f"{_number(endpoint.projects, 'project')}, " if endpoint.projects is not None else ""
    rests = f"{formats.count(endpoint.n)} places, {over}{_number(endpoint.files or 0, 'file')}"
    tested = (
        "" if found.edits < 2 else f", {formats.number(found.corrected)} after Holm for {found.edits} edits of this run"
    )
    told = f"{measured} ({rests}; p {formats.number(found.p)}{tested})."
    if found.conclusion == "too few projects":
        return f"{told} No verdict rests on so few projects."
    if found.conclusion == "inconclusive" and found.detectable is not None:
        return f"{told} A difference of {formats.number(found.detectable)} nats would be found four times in five."
    return told


def sections(cursor: duckdb.DuckDBPyConnection, edit: Edit) -> Iterator[Block]:
    """All sections of an edit, from the ways of masking to every single place."""
    controls = queries.controls(cursor, edit.edit)
    main = [each for each in queries.effects(cursor, edit.edit, "dose", "zero", "resample") if each.main]
    if edit.resamples:
        yield _ways(edit, main, controls)
    yield _doses(edit, queries.effects(cursor, edit.edit, "dose", "range"), controls)
    yield _controls(edit, controls, queries.likenesses(cursor, edit.edit))
    at_dose = [each for each in main if each.role == "dose"]
    before = {(each.group, each.name): each for each in queries.effects(cursor, edit.edit, "baseline")}
    yield _places(at_dose, before)
    yield _collateral(at_dose, before, controls)
    if edit.resamples:
        yield _sites(queries.sites(cursor, edit.edit, SITES_SHOWN), queries.count_sites(cursor, edit.edit))


def _ways(edit: Edit, main: Sequence[Effect], controls: Sequence[Control]) -> Block:
    groups = {"concept": "at the concept", "near": "beside it", "general": "code without it"}
    of = {(each.role, each.group): each for each in main if not each.name}
    titles = {"zero": _zero(edit), "dose": "mean", "resample": "resample"}
    instead = {
        (each.group, each.measure): Estimate(each.mean, each.smallest, each.largest)
        for each in controls
        if (each.control, each.operation, each.name) == ("damage", "mean", "")
    }
    rows = [
        Row(
            title,
            [
                with_interval(of[role, group].changes.get(measure), _sizes(measure)) if (role, group) in of else EMPTY
                for measure in WAY_MEASURES
                for group in groups
            ],
        )
        for role, title in titles.items()
    ]
    cells = [
        with_interval(instead.get((group, measure)), _sizes(measure)) for measure in WAY_MEASURES for group in groups
    ]
    rows.append(Row(INSTEAD, cells))

    def changes(measure: str) -> dict[str, dict[tuple[str, str], Estimate]]:
        found = {
            title: {
                (group, ""): of[role, group].changes[measure]
                for group in groups
                if (role, group) in of and measure in of[role, group].changes
            }
            for role, title in titles.items()
        }
        return {**found, INSTEAD: {(group, ""): each for (group, which), each in instead.items() if which == measure}}

    return Block(
        "ways",
        "Zero, mean and resample",
        f"The same {_keys(edit.keys)} in three ways: their coefficients {_zero_said(edit)}, held at their means over general code "
        f"of the token's language, or taken from a random place there ({edit.resamples} draws, averaged). A coefficient of 0 "
        "is often one that a key never has, so zeroing also breaks what has nothing to do with the concept; the verdict rests "
        "on the other two. Last, as many other keys at their means as do the same damage to general code, with the smallest "
        "and the largest of the draws.",
        "The main dose in three ways",
        [
            Column("masked"),
            *(
                Column(f"{_MEASURE_TITLES[measure]} {group}", _MEASURE_HELP[measure])
                for measure in WAY_MEASURES
                for group in groups.values()
            ),
        ],
        rows,
        [
            Figure(f"ways-{measure}", title, lambda measure=measure: figures.ways(changes(measure), measure), False)  # type: ignore[misc]
            for measure, title in (
                ("loss", "change of loss by way of masking"),
                ("kl", "KL divergence from the baseline"),
            )
        ],
        "edit_effects",
    )


def _sites(sites: Sequence[Site], total: int) -> Block:
    return Block(
        "sites",
        "Every place of the concept",
        f"The {formats.count(len(sites))} places that lose most with the keys at their means, of "
        f"{formats.count(total)}; the export has all, with their projects. The change of the log probability is that of the loss "
        "with the other sign.",
        "Places of the concept, the most harmed first",
        [
            Column("place"),
            Column("token"),
            Column("loss before", "−log probability of the token in nats, unmasked"),
            *(Column(f"{way}", f"Change of the loss with the keys {said}") for way, said in _SITE_WAYS.items()),
            Column("KL", "From the unmasked prediction, with the keys at their means"),
            Column("coefficient", "Of the edit's first key where the token is predicted"),
        ],
        [
            Row(
                f"{each.path}:{each.line}",
                [
                    Cell(formats.visible(each.token)),
                    Cell(formats.fixed(each.loss, 2).lstrip("+")),
                    *(Cell(formats.fixed(found, 2)) for found in (each.loss_mean, each.loss_zero, each.loss_resample)),
                    Cell(formats.number(each.kl)),
                    Cell(formats.number(each.coefficient)),
                ],
            )
            for each in sites
        ],
        table="edit_sites",
    )


def _zero(edit: Edit) -> str:
    return "zero" if not edit.factor else f"× {formats.plain(edit.factor)}"


def _zero_said(edit: Edit) -> str:
    if edit.factor is None:
        return "multiplied by their factors"
    return "set to 0" if not edit.factor else f"multiplied by {formats.plain(edit.factor)}"


def _interval(found: Estimate) -> str:
    ends = _ends(found, "loss")
    return f"95 % interval {ends}" if ends else TOO_FEW


def _number(count: int, thing: str) -> str:
    return f"{formats.count(count)} {thing}{'' if count == 1 else 's'}"


def _doses(edit: Edit, effects: Sequence[Effect], controls: Sequence[Control]) -> Block:
    groups = {"concept": "at the concept", "near": "beside it", "general": "code without it"}
    of = {(each.condition, each.group): each for each in effects if not each.name}
    conditions = dict.fromkeys((each.condition, each.role, each.keys) for each in effects)
    return Block(
        "doses",
        "Dose and response",
        f"More and more keys are {'held at their means' if edit.resamples else 'masked'}, in the order of the ranking. “Within their range” means that a coefficient is "
        f"changed only if it is within {formats.plain(edit.tau)} standard deviations of its mean on the concept. "
        f"{_chosen(edit)}{_rests_on(of, groups)} Changes have 95 % intervals over projects, all on the same windows.",
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
    at_concept = [each for each in controls if each.group == "concept" and each.operation != "resample"]
    return Figure(
        measure,
        f"change of {measure} by keys masked",
        lambda: figures.doses(doses, at_concept, measure),
        opens_layers=False,
    )


def _controls(edit: Edit, controls: Sequence[Control], likenesses: Sequence[Likeness]) -> Block:
    like = "; ".join(_alike(each) for each in likenesses)
    matched = (
        ""
        if edit.damage is None
        else f" The edit raises the loss of general code by {formats.number(edit.damage)} nats there."
    )
    damage = (
        ""
        if edit.damage is None
        else "as many like the edit's as raise the loss of general code by as much as it does, within a tenth, on files that "
        "only doses are chosen on (as damaging); "
    )
    shown = [each for each in controls if each.measure in MEASURES and not each.name]
    shown.sort(key=lambda each: (GROUPS.index(each.group), each.measure))
    return Block(
        "controls",
        "Other keys instead",
        f"Other keys of the same layers, masked like the edit's: {damage}keys that fire as often and have values as long "
        f"(matched); any keys (random).{matched} On average {like}.",
        "The edit among its controls",
        [
            Column("where"),
            Column("draws"),
            Column("mean change", "Over the draws, with the smallest and the largest"),
            Column("the edit beyond it", "The edit's change minus that mean, with its 95 % interval"),
            Column("z", "The same in standard deviations of the draws"),
            Column("p", "Share of the draws, the edit counted among them, that do as much harm"),
        ],
        [
            Row(
                f"{_group(each.group, each.name)}: {_MEASURE_TITLES[each.measure]}, {figures.CONTROL_TITLES[each.control]}"
                + (f", {each.operation}" if each.operation else ""),
                [
                    Cell(formats.count(each.draws)),
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


def _alike(found: Likeness) -> str:
    name = "the edit" if found.role == "dose" else found.role
    damage = f", raise the loss by {formats.number(found.damage)} nats there" if found.damage is not None else ""
    return (
        f"{name}: {formats.number(found.keys)} keys that fire on {formats.share(found.firing_rate)}, with values of length "
        f"{formats.number(found.norm_value)}{damage}"
    )


def _chosen(edit: Edit) -> str:
    if not edit.chosen:
        return ""
    return (
        f"The main dose of {_keys(edit.keys)} was chosen on files of its own: of the doses that raise the loss of general code "
        "little, the one that raises the concept's most beyond that. "
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
    control = "damage" if any(each.control == "damage" for each in controls) else "matched"
    like = {
        each.name: each
        for each in controls
        if (each.control, each.measure) == (control, "loss") and each.operation != "resample"
    }
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
                "p",
                f"Share of the draws of {figures.CONTROL_TITLES[control]}, the edit among them, that raise the loss as much",
            ),
        ],
        [
            _row(
                each.name.rpartition("-")[0],
                each,
                before,
                Cell(formats.number(like[each.name].p)) if each.name in like else EMPTY,
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
    changes = [_cell(effect, measure) for measure in ("accuracy", "loss", "rank", "kl")]
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
    return f"× {formats.number(value)}" if measure == "rank" else formats.fixed(value, 3)


def _keys(number: int) -> str:
    return f"{formats.count(number)} {'key' if number == 1 else 'keys'}"


def _told(effect: Effect, measure: str) -> str:
    change = effect.changes.get(measure, Estimate(0.0))
    unit = "points" if measure == "accuracy" else "nats"
    ends = _ends(change, measure)
    return f"{_size(change.value, measure)} {unit} ({f'95 % interval {ends}' if ends else TOO_FEW})"


def _ends(found: Estimate, measure: str) -> str:
    """The interval; empty if there is none."""
    return with_interval(found, _sizes(measure)).interval
