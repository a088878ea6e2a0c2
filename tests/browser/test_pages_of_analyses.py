"""The pages of analyses, concepts and edits, computed or not."""

from typing import ClassVar

from tests.browser.every_page import EveryPage
from tests.made.edits import MadeEdit


class TestAnalyses(EveryPage):
    PAGES: ClassVar = {
        "agreement": "/runs/alpha/agreement",
        "agreement not computed": "/runs/gated/agreement",
        "firing": "/runs/alpha/firing",
        "syntax": "/runs/alpha/syntax",
        "concepts": "/runs/alpha/concepts?name=x&language=python&kind=regex&pattern=def&language=go&kind=regex&pattern=(",
        "concept": "/runs/alpha/concepts/loops?n=3",
        "concept not computed": "/runs/gated/concepts/http",
        "edits": "/runs/alpha/edits",
        "edits of a concept": "/runs/alpha/concepts/loops/edits",
        "edit": f"/runs/alpha/edits/{MadeEdit().name}",
    }
