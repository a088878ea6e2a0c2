"""`keyscope shards` and `publish`: a planned run computed by any scheduler, a share of its shards in each job."""

from pathlib import Path
from typing import Annotated

import typer

from keyscope.cli.options import Device, Json, MixedDevices, Scratch, interrupted, print_json

Plan = Annotated[
    str, typer.Argument(metavar="PLAN", help="Path or URL of the plan, printed by keyscope precompute --plan-only")
]
Model = Annotated[str | None, typer.Option(help="Where the model is; otherwise where the plan says")]


def shards(
    plan: Plan,
    rank: Annotated[int, typer.Option(min=0, help="Number of this share, from 0")] = 0,
    of: Annotated[int, typer.Option(min=1, help="Number of shares")] = 1,
    model: Model = None,
    device: Device = "auto",
    scratch: Scratch = None,
    as_json: Json = False,
) -> None:
    """Compute a share of a plan's shards: those that are complete are left as they are."""
    if rank >= of:
        raise typer.BadParameter(f"{rank} is not below {of}: ranks count from 0", param_hint="--rank")
    from keyscope.cli.console import show_progress
    from keyscope.worker.precompute.planned import compute_shards

    with show_progress(as_json) as progress:
        try:
            count = compute_shards(plan, rank, of, device, scratch, progress, model)
        except KeyboardInterrupt as interrupt:
            raise interrupted("continue with the same command") from interrupt
    if as_json:
        print_json(plan=plan, rank=rank, of=of, shards=count)


def publish(
    plan: Plan,
    out: Annotated[Path, typer.Option(help="Directory for the run file")] = Path("runs"),
    model: Model = None,
    device: Device = "auto",
    scratch: Scratch = None,
    mixed_devices: MixedDevices = False,
    as_json: Json = False,
) -> None:
    """Check and merge the shards of a plan, verify the run, publish it, and remove what was unfinished."""
    from keyscope.cli.console import show_progress
    from keyscope.worker.precompute.planned import publish_planned

    with show_progress(as_json) as progress:
        try:
            path = publish_planned(plan, out, device, scratch, progress, model, mixed_devices)
        except KeyboardInterrupt as interrupt:
            raise interrupted("give the same command again") from interrupt
    if as_json:
        print_json(run=str(path))
