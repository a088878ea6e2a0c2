"""The Plotly figures of an edit: ways to mask its keys side by side, and what masks of growing size do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import plotly.graph_objects as go

from keyscope.app.queries.edits import Control, Effect
from keyscope.app.queries.estimate import Estimate
from keyscope.app.web.drawing import interval_bars, interval_words

TITLES = {
    ("concept", ""): "the concept's places",
    ("near", ""): "other places of the same windows",
    ("general", ""): "code without the concept",
}
AXES = {
    "accuracy": ("change of accuracy, in points", 100.0, ".1f"),
    "loss": ("change of loss, in nats", 1.0, ".3f"),
    "kl": ("KL divergence, in nats", 1.0, ".3f"),
}
DASHES = {"random": "dot", "matched": "dash", "damage": "dashdot"}
CONTROL_TITLES = {"damage": "equally damaging keys", "matched": "matched keys", "random": "random keys"}


def ways(conditions: Mapping[str, Mapping[tuple[str, str], Estimate]], measure: str) -> go.Figure:
    """The main dose in each way of masking, and equally damaging keys, by groups of places.

    Args:
        conditions: by title of the way, the change at each group of places.
        measure: loss or kl.
    """
    title, scale, digits = AXES[measure]
    figure = go.Figure()
    for place, name in TITLES.items():
        found = {way: _scaled(changes[place], scale) for way, changes in conditions.items() if place in changes}
        if found:
            figure.add_trace(
                go.Bar(
                    x=list(found),
                    y=[each.value for each in found.values()],
                    error_y=interval_bars(list(found.values())),
                    name=name,
                    hovertext=[interval_words(each, f"+{digits}") for each in found.values()],
                    hovertemplate=f"{name}<br>%{{x}}: %{{y:+{digits}}}<br>%{{hovertext}}<extra></extra>",
                )
            )
    figure.update_yaxes(title=title)
    figure.update_layout(showlegend=True, hovermode="closest", barmode="group")
    return figure


def doses(effects: Sequence[Effect], controls: Sequence[Control], measure: str) -> go.Figure:
    """The change at every dose, with horizontal lines at the means of the controls.

    Args:
        effects: all groups at all doses.
        controls: those of the concept's places.
        measure: accuracy or loss.
    """
    title, scale, digits = AXES[measure]
    figure = go.Figure()
    for place, name in TITLES.items():
        line = [each for each in effects if (each.group, each.name) == place and each.places]
        if line:
            figure.add_trace(_line(line, measure, name, scale, digits))
    span = [min(each.keys for each in effects), max(each.keys for each in effects)] if effects else []
    for control in controls:
        if control.measure == measure:
            figure.add_trace(_control(control, span, scale, digits))
    figure.update_xaxes(title="keys masked", type="log", tickvals=sorted({each.keys for each in effects}))
    figure.update_yaxes(title=title)
    figure.update_layout(showlegend=True, hovermode="closest")
    return figure


def _line(line: Sequence[Effect], measure: str, name: str, scale: float, digits: str) -> go.Scatter:
    changes = [_scaled(each.changes.get(measure), scale) for each in line]
    return go.Scatter(
        x=[each.keys for each in line],
        y=[each.value for each in changes],
        error_y=interval_bars(changes),
        name=name,
        mode="lines+markers",
        hovertext=[
            f"{interval_words(change, f'+{digits}')}; {each.places:,} places in {each.files:,} files"
            for each, change in zip(line, changes, strict=True)
        ],
        hovertemplate=f"{name}<br>%{{x}} keys: %{{y:+{digits}}}<br>%{{hovertext}}<extra></extra>",
    )


def _scaled(change: Estimate | None, scale: float) -> Estimate:
    if change is None:
        return Estimate(0.0)
    low, high = (None if end is None else scale * end for end in (change.low, change.high))
    return replace(change, value=scale * change.value, low=low, high=high)


def _control(control: Control, span: Sequence[int], scale: float, digits: str) -> go.Scatter:
    """The controls' mean as a line, with the range of their draws as bars at its ends."""
    name = f"{CONTROL_TITLES[control.control]} at the concept's places"
    mean, low, high = scale * control.mean, scale * control.smallest, scale * control.largest
    return go.Scatter(
        x=list(span),
        y=[mean] * len(span),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - mean] * len(span),
            "arrayminus": [mean - low] * len(span),
            "thickness": 1,
        },
        name=name,
        mode="lines",
        line={"dash": DASHES[control.control], "width": 1},
        hovertemplate=(
            f"{name}, {control.draws} draws<br>mean %{{y:+{digits}}}, from {low:+{digits}} to {high:+{digits}}<extra></extra>"
        ),
    )
