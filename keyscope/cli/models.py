"""`keyscope models`."""

import typer
from rich.console import Console
from rich.table import Table

from keyscope.cli.options import Json, print_json


def models(as_json: Json = False) -> None:
    """List the architectures Keyscope can read, and how far each was compared with plain transformers."""
    from keyscope.worker.model.families import ENCODER_DECODERS, FAMILIES, REFUSED
    from keyscope.worker.model.proved import bound, read_proved

    proved = read_proved()
    of_family = {
        name: [each for each in proved.comparisons if each.architecture == name] for name in FAMILIES | ENCODER_DECODERS
    }
    if as_json:
        print_json(
            libraries=proved.libraries,
            families=[
                {"architecture": name, "comparisons": [each.model_dump() for each in comparisons]}
                for name, comparisons in of_family.items()
            ],
            encoder_decoders=sorted(ENCODER_DECODERS),
            refused=REFUSED,
        )
        return
    table = Table(title="Largest error against plain transformers in float32, rounded up", title_justify="left")
    for title in ("architecture", *proved.aspects):
        table.add_column(title, no_wrap=True)
    for name, comparisons in of_family.items():
        exact = [each.errors for each in comparisons if each.dtype == "float32"]
        table.add_row(name, *(bound([errors[aspect] for errors in exact]) for aspect in proved.aspects))
    Console(width=120).print(table)
    typer.echo(f"Encoder–decoders, with the keys of both stacks: {', '.join(sorted(ENCODER_DECODERS))}.")
    typer.echo(f"Refused, with the reason: {', '.join(sorted(REFUSED))}. Details: docs/models.md")
