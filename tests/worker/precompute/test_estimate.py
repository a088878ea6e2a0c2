"""What a precompute says it will need before it starts."""

from keyscope.contract.manifest import RunSettings
from keyscope.worker.precompute.estimate import amounts
from keyscope.worker.precompute.groups import pool_size

SETTINGS = RunSettings()


def test_lists_are_taken_to_be_no_longer_than_there_are_files() -> None:
    few, more, many, unknown = (
        amounts((640,), False, SETTINGS, languages=3, files=files) for files in (4, 20, 10**6, None)
    )
    assert few.disk < more.disk < many.disk == unknown.disk
    assert amounts((640,), False, SETTINGS, languages=3, files=pool_size(SETTINGS)) == unknown


def test_where_every_token_competes_few_files_do_not_shorten_the_lists() -> None:
    settings = SETTINGS.model_copy(update={"preset": "geva2021"})
    assert amounts((640,), False, settings, languages=3, files=4) == amounts((640,), False, settings, languages=3)
