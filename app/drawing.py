"""The Plotly figures: data and axes only; colours and fonts are the page's, so that both themes can wear them.

Points of the map carry the name of their key as custom data, bars the number of their layer. Languages come as name → title.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from app.queries import LayerMap, LayerSummary


def firing_rate_by_layer(layers: Sequence[LayerSummary]) -> go.Figure:
    """The mean share of tokens on which the keys of each layer fire."""
    rates = [layer.mean_firing_rate for layer in layers]
    figure = go.Figure(_layer_bars(layers, rates, "fires on %{y:.2%} of tokens on average"))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return _by_layer(figure)


def kurtosis_by_layer(layers: Sequence[LayerSummary]) -> go.Figure:
    """The median kurtosis of the keys of each layer, on a logarithmic axis."""
    numbers = [layer.layer for layer in layers]
    figure = go.Figure(
        go.Scatter(
            x=numbers,
            y=[layer.median_kurtosis for layer in layers],
            customdata=numbers,
            mode="lines+markers",
            marker={"size": 9},
            hovertemplate="layer %{x}<br>median kurtosis %{y:.3~g}<extra></extra>",
        )
    )
    figure.update_yaxes(type="log", minor_showgrid=False)
    return _by_layer(figure)


def languages_by_layer(layers: Sequence[LayerSummary], languages: Mapping[str, str]) -> go.Figure:
    """The share of each layer's live keys that fire most often in each language."""
    figure = go.Figure(
        [
            _layer_bars(
                layers,
                [layer.languages.get(language, 0.0) for layer in layers],
                f"%{{y:.0%}} of the live keys fire most in {title}",
                title,
            )
            for language, title in languages.items()
        ]
    )
    figure.update_layout(barmode="stack", showlegend=True)
    figure.update_yaxes(tickformat=".0%", range=[0, 1])
    return _by_layer(figure)


def map_of_layer(keys: LayerMap, languages: Mapping[str, str]) -> go.Figure:
    """Every key of a layer, how often it fires against how strongly; one trace a language it prefers.

    A key that never fires has no place on a logarithmic axis: those stand in a trace of their own at the left edge.
    """
    rates = [rate for rate in keys.firing_rate if rate]
    edge = min(rates, default=1.0) / 2
    traces = [_points(keys, _preferring(keys, language), title, edge) for language, title in languages.items()]
    traces.append(_points(keys, _never(keys), "never fires", edge, symbol="x-thin-open"))
    figure = go.Figure([trace for trace in traces if len(trace.x)])
    figure.update_xaxes(
        type="log", title="share of tokens on which the key fires", tickformat="~%", minor_showgrid=False
    )
    figure.update_yaxes(title="largest coefficient")
    figure.update_layout(showlegend=True, hovermode="closest", dragmode="zoom")
    return figure


def _layer_bars(
    layers: Sequence[LayerSummary], heights: Sequence[float | None], hover: str, name: str | None = None
) -> go.Bar:
    numbers = [layer.layer for layer in layers]
    return go.Bar(
        x=numbers, y=heights, customdata=numbers, name=name, hovertemplate=f"layer %{{x}}<br>{hover}<extra></extra>"
    )


def _by_layer(figure: go.Figure) -> go.Figure:
    figure.update_xaxes(title="layer", tick0=0, dtick=1 if len(figure.data[0].x) <= 16 else 4)
    figure.update_layout(bargap=0.25, hovermode="closest")
    return figure


def _preferring(keys: LayerMap, language: str) -> list[int]:
    return [at for at, rate in enumerate(keys.firing_rate) if rate and keys.top_language[at] == language]


def _never(keys: LayerMap) -> list[int]:
    return [at for at, rate in enumerate(keys.firing_rate) if not rate]


def _points(keys: LayerMap, chosen: Sequence[int], name: str, edge: float, symbol: str = "circle") -> go.Scattergl:
    return go.Scattergl(
        x=[keys.firing_rate[at] or edge for at in chosen],
        y=[keys.maximum[at] for at in chosen],
        customdata=[keys.names[at] for at in chosen],
        name=name,
        mode="markers",
        marker={"size": 6, "opacity": 0.7, "symbol": symbol},
        hovertemplate="%{customdata}<br>fires on %{x:.3~%}<br>at most %{y:.3~g}<extra></extra>",
    )
