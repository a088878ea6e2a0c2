"""Edit analyses for the small runs: changes are proportional to the dose, and controls change almost nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyscope.contract.analyses.digest import digests
from keyscope.contract.analyses.edit import CHANGED, CONTROLS, MEASURES, TABLES
from keyscope.contract.analyses.files import publish_analysis, write_analysis_manifest
from keyscope.contract.concepts import SHIPPED, Concept
from tests.made.agreement import analysis_manifest

LOOPS = next(concept for concept in SHIPPED if concept.name == "loops")
NUMPY = next(concept for concept in SHIPPED if concept.name == "numpy")
PROMPT = "values = [1, 2]\n<i>\n"
MAIN = (("range", "mean"), ("zero", "scale"), ("resample", "resample"))
"""Roles and operations of the main dose besides its keys at their means."""
FALL = {"concept": -0.02, "near": -0.001, "general": -0.001, "collateral": -0.005}
"""Change of accuracy per masked key."""
_COLUMNS = {table.name: table.names for table in TABLES}


@dataclass(frozen=True)
class MadeEdit:
    """How an edit differs from one that harms only its concept."""

    concept: Concept = LOOPS
    picker: str = "auroc"
    doses: tuple[int, ...] = (1, 2, 4)
    main: int = 2
    selective: bool = True
    few_files: bool = False
    """Whether its sites are in too few files for intervals."""
    scaled_only: bool = False
    """Whether it is of a version that only scaled coefficients."""
    ending: str = "0a1b2c"

    @property
    def name(self) -> str:
        return f"{self.concept.part}-{self.ending}"


def write_edit(run: Path, made: MadeEdit = MadeEdit()) -> str:
    """Write an edit for a run; returns its name."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
    rows["edits"].append(
        {
            "concept": made.concept.part,
            "title": made.concept.title,
            "languages": list(made.concept.patterns),
            "picker": made.picker,
            "factor": 0.0,
            "share": 0.01,
            "keys": made.main,
            "draws": 20,
            "resamples": 5,
            "chosen": True,
            "damage": 0.02,
            **_primary(made),
            "tau": 2.0,
            "windows": 30,
            "general_windows": 60,
        }
    )
    for rank in range(max(made.doses)):
        key = {"rank": rank + 1, "layer": rank % 2, "index": rank}
        rows["edit_keys"].append({**key, "factor": 0.0})
        if rank < made.main:
            rows["edit_means"].append({**key, "language": "python", "mean": 0.25 * (rank + 1)})
    conditions = [("baseline", None, 0, False, None)]
    conditions += [("dose", "mean", dose, dose == made.main, None) for dose in made.doses]
    conditions += [(role, operation, made.main, True, None) for role, operation in MAIN]
    conditions += [(control, "mean", made.main, False, draw) for control in CONTROLS for draw in range(2)]
    conditions += [("damage", "resample", made.main, False, draw) for draw in range(2)]
    for number, (role, operation, keys, main, draw) in enumerate(conditions):
        like = {"firing_rate": 0.1, "norm_value": 1.5} if keys else {}
        like |= {"damage": 0.021} if role == "damage" else {}
        rows["edit_conditions"].append(
            {
                "condition": number,
                "role": role,
                "operation": operation,
                "main": main,
                "draw": draw,
                "keys": keys,
                **like,
            }
        )
        rows["edit_effects"] += [
            _effect(number, group, name, _fall(made, role, keys, group)) for group, name in _places()
        ]
        if role in CHANGED:
            for against in ("near", "general"):
                difference = _fall(made, role, keys, "concept") - _fall(made, role, keys, against)
                rows["edit_contrasts"] += [
                    {"condition": number, "against": against, "measure": measure, "projects": 12}
                    | _around(difference, measure)
                    for measure in MEASURES
                ]
    for group, name in _places():
        fall = _fall(made, "dose", made.main, group)
        rows["edit_controls"] += [
            _control(group, name, control, measure, fall) | {"operation": operation}
            for control, operation in (*((control, "mean") for control in CONTROLS), ("damage", "resample"))
            for measure in MEASURES
        ]
    rows["edit_sites"] = [
        {
            "language": "python",
            "project": f"p{number}",
            "source": "demo",
            "path": f"a/{number}.py",
            "line": 7,
            "column": 4,
        }
        | {
            "token": "for",
            "loss": 1.0,
            "loss_mean": 0.5 - number / 10,
            "loss_zero": 0.7,
            "loss_resample": 0.4,
            "kl": 0.2,
        }
        | {"right": True, "right_mean": False, "coefficient": 1.5}
        for number in range(3)
    ]
    rows["edit_prompts"] = [
        {"rank": 1, "language": "python", "path": "a/<b>.py", "line": 3, "prompt": PROMPT, "token": "for", "loss": 0.5}
        | {"masked_loss": 2.5}
    ]
    if made.scaled_only:
        _forget(rows)
    settings = {"concept": made.concept.part, "picker": made.picker, "doses": [0.01, 0.02]}
    if made.few_files:
        for row in (
            row for table in ("edits", "edit_effects", "edit_controls", "edit_contrasts") for row in rows[table]
        ):
            row |= {name: None for name in row if name.endswith(("low", "high"))}
    with publish_analysis(run, "edit", made.name) as connection:
        for table, columns in _COLUMNS.items():
            for row in rows[table]:
                values = [{"edit": made.name, **row}.get(column) for column in columns]
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", values)
        noted = {} if made.scaled_only else {"rows": digests(connection, TABLES), "rests_on": {"run": "0" * 64}}
        manifest = analysis_manifest(run, "edit", **settings).model_copy(update={"part": made.name, **noted})
        write_analysis_manifest(connection, manifest)
    return made.name


def _primary(made: MadeEdit) -> dict[str, float]:
    """The registered endpoint."""
    value = 0.4 if made.selective else 0.01
    found = {"primary": value, "primary_low": value - 0.05, "primary_high": value + 0.05, "detectable": 0.07}
    return {**found, "primary_p": 0.0004 if made.selective else 0.6}


def _forget(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Leave only what a version wrote that knew neither means nor places to resample from."""
    for name in ("resamples", "chosen", "damage", "primary", "primary_low", "primary_high", "primary_p", "detectable"):
        del rows["edits"][0][name]
    old = [each["condition"] for each in rows["edit_conditions"] if each["role"] not in ("zero", "resample", "damage")]
    for table in ("edit_conditions", "edit_effects", "edit_contrasts"):
        rows[table] = [row for row in rows[table] if row["condition"] in old]
    rows["edit_controls"] = [row for row in rows["edit_controls"] if row["control"] != "damage"]
    rows["edit_sites"], rows["edit_means"] = [], []
    for row in (row for each in rows.values() for row in each):
        row.pop("operation", None)
        for name in [name for name in row if name.startswith("kl")]:
            del row[name]


def _places() -> list[tuple[str, str]]:
    return [("concept", ""), ("near", ""), ("general", ""), ("general", "python"), ("collateral", NUMPY.part)]


def _fall(made: MadeEdit, role: str, keys: int, group: str) -> float:
    """Change of accuracy; an unselective edit changes no more than its controls."""
    if role in CONTROLS or not made.selective:
        return -0.001 * keys
    return FALL[group] * keys


def _around(change: float, measure: str) -> dict[str, float]:
    """A change with its interval, in the sign and scale of a measure."""
    ends = (change - 0.005, change + 0.005)
    if measure == "accuracy":
        return {"difference": change, "low": ends[0], "high": ends[1]}
    return {"difference": -10 * change, "low": -10 * ends[1], "high": -10 * ends[0]}


def _effect(condition: int, group: str, name: str, change: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "condition": condition,
        "group": group,
        "name": name,
        "places": 200,
        "files": 24,
        "projects": 12,
    }
    for measure, level in (("accuracy", 0.6), ("loss", 1.5), ("rank", 2.0), ("kl", 0.0)):
        told = _around(change, measure)
        row[measure] = level + told["difference"]
        row |= {f"{measure}_change": told["difference"], f"{measure}_low": told["low"], f"{measure}_high": told["high"]}
    return row


def _control(group: str, name: str, control: str, measure: str, fall: float) -> dict[str, Any]:
    mean = _around(-0.002, measure)["difference"]
    told = _around(fall + 0.002, measure)
    harm = fall < -0.01
    return {
        "group": group,
        "name": name,
        "control": control,
        "measure": measure,
        "draws": 20,
        "mean": mean,
        "deviation": 0.001,
        "smallest": mean - 0.002,
        "largest": mean + 0.002,
        "z": -9.0 if harm else 0.1,
        "p": 1 / 21 if harm else 0.5,
        "excess": told["difference"],
        "excess_low": told["low"],
        "excess_high": told["high"],
        "files": 12,
        "projects": 12,
    }
