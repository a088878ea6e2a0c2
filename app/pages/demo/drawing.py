"""Draws the demo's figures: the curve of doses and the matrix of prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyscope.app.live.effects import Effect
from keyscope.app.live.measurements import Measured
from keyscope.app.live.prompts import Prompt
from keyscope.app.web.code import Heat

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 150, 44, 84, 10, 24
"""Size of the curve and its margins, in units of its view box."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One measured probability."""

    x: float
    y: float
    keys: int
    probability: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Probability of the next token by number of removed keys: the keys behind it, and as many random ones."""

    masked: list[Dot]
    control: list[Dot]
    ticks: list[tuple[float, float]]
    """Height and probability of each tick of the vertical axis."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    """Where the curve begins."""
    right: int = WIDTH - RIGHT
    """Where it ends."""

    @staticmethod
    def points(dots: Sequence[Dot]) -> str:
        """The dots as SVG takes them."""
        return " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots)


def dose_curve(effect: Effect) -> Curve:
    """The curve of an effect; doses are evenly spaced."""
    keys = [0, *(dose.keys for dose in effect.doses)]
    masked = [effect.baseline, *(dose.masked for dose in effect.doses)]
    control = [effect.baseline, *(dose.control for dose in effect.doses)]
    highest = max(*masked, *control)
    step = (WIDTH - LEFT - RIGHT) / (len(keys) - 1)

    def height(probability: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - probability / highest), 1)

    def dots(values: Sequence[float]) -> list[Dot]:
        return [
            Dot(round(LEFT + at * step, 1), height(value), number, value)
            for at, (number, value) in enumerate(zip(keys, values, strict=True))
        ]

    return Curve(dots(masked), dots(control), [(height(value), value) for value in (0.0, highest / 2, highest)])


@dataclass(frozen=True, slots=True)
class Cell:
    """How much of a prompt's next token is left; None before it is measured."""

    share: float | None
    css: str
    own: bool
    """Whether the removed keys are the prompt's own."""


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """What removing one prompt's keys does to every prompt."""

    prompt: Prompt
    cells: list[Cell]


def matrix(measured: Measured) -> list[MatrixRow]:
    """The rows, whose keys are removed, by the columns, which prompt is continued."""
    return [matrix_row(measured.prompts, measured.left, whose) for whose in measured.prompts]


def matrix_row(prompts: Sequence[Prompt], left: Mapping[tuple[str, str], float], whose: Prompt) -> MatrixRow:
    """One row; what is taken is shaded in one colour and what is added in the other, the deepest at all of it."""
    cells = []
    for prompt in prompts:
        share = left.get((whose.name, prompt.name))
        css = "" if share is None else Heat(1).css(1 - share)
        cells.append(Cell(share, css, whose.name == prompt.name))
    return MatrixRow(whose, cells)
