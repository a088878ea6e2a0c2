"""The cells of the tables about syntax."""

from keyscope.app.queries.syntax import BaseRate, LayerMeasure, LayerValue, Measure
from keyscope.app.web import formats
from keyscope.app.web.sections import EMPTY, Cell, Format, with_interval


def pair(found: Measure | None, show: Format, control: bool) -> list[Cell]:
    """A measure with its interval and, where there is one, its control with the range of its draws."""
    cells = [with_interval(found.value, found.low, found.high, show) if found else EMPTY]
    if control:
        cells.append(
            EMPTY
            if found is None or found.control is None
            else with_interval(found.control, found.control_low, found.control_high, show)
        )
    return cells


def spread_of(found: Measure | None, show: Format) -> Cell:
    """From the lower quartile of a layer's keys to the upper; nothing for what is not of a layer's keys."""
    if not isinstance(found, LayerMeasure) or found.lower_quartile is None or found.upper_quartile is None:
        return EMPTY
    return Cell(f"{show(found.lower_quartile)} to {show(found.upper_quartile)}")


def value_cells(found: LayerValue, triggers: int) -> list[Cell]:
    """How common a value is among all triggers of a layer, by chance and in the corpus, and whose commonest it is."""
    return [
        *pair(found, formats.share, control=True),
        Cell(formats.share(found.base)),
        Cell(formats.number(found.lift)),
        Cell(formats.count(found.keys)),
        Cell(formats.count(found.significant)),
        Cell(f"{formats.count(found.n)} of {formats.count(triggers)}"),
    ]


def rate(found: BaseRate | None) -> Cell:
    """A share of the corpus with its interval."""
    if found is None:
        return EMPTY
    return with_interval(found.share, found.low, found.high, formats.share)


def two(value: float) -> str:
    """A number with two digits behind the point."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float) -> str:
    """A relative change in per cent."""
    return f"{100 * value:.1f}\N{NARROW NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def with_sign(show: Format) -> Format:
    """The same with a plus before what is above 0, for differences."""
    return lambda value: f"{'+' if value > 0 else ''}{two(value) if show is two else percent(value)}"
