"""The committed OpenAPI documents of app and worker; running this module rewrites them."""

import json
from pathlib import Path
from typing import Any

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.worker.live.server import create_worker_app
from keyscope.worker.live.settings import WorkerSettings

FOLDER = Path(__file__).parents[1] / "docs" / "openapi"


def documents() -> dict[Path, dict[str, Any]]:
    """What each committed file must contain; no model is loaded and no run opened."""
    return {
        FOLDER / "app.json": create_app(Settings()).openapi(),
        FOLDER / "worker.json": create_worker_app(WorkerSettings(model="any")).openapi(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, document in documents().items():
        path.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
