from pathlib import Path

import pytest

from keyscope.contract.keys import KeyId
from tests.labelers import Load, label_server

KEYS = [KeyId(layer, index) for layer in range(2) for index in range(6)]


@pytest.mark.slow
def test_no_acknowledged_label_is_lost_or_doubled_when_the_server_is_killed(runs_dir: Path, database_url: str):
    load = Load(labelers=8, labels=20, keys=KEYS)
    with label_server(runs_dir, database_url) as server:
        load.run(server, kill_after=60)
        exported = server.export()
    assert load.faults(exported) == []
    assert len(exported) == 160
    assert sum(row["current"] for row in exported) == 8 * len(KEYS)
