"""The pages where people label together."""

from typing import ClassVar

from tests.browser.every_page import EveryPage


class TestTeam(EveryPage):
    PAGES: ClassVar = {
        "queue": "/labels/queue",
        "codebook": "/labels/codebook?run=alpha",
        "labels": "/labels?run=alpha",
        "lists": "/lists?run=alpha",
        "activity": "/activity?run=alpha",
        "name": "/name",
    }
