"""The pages of runs, layers and keys, and those that need a worker."""

from typing import ClassVar

from tests.browser.every_page import EveryPage


class TestRuns(EveryPage):
    PAGES: ClassVar = {
        "runs": "/",
        "overview": "/runs/alpha",
        "find": "/find?q=return&run=alpha",
        "search by a missing analysis": "/runs/gated/search?shape=any",
        "search": "/runs/alpha/search?q=return&ranges=mean::5",
        "layer": "/runs/alpha/layers/1?fires_on=return",
        "key": "/runs/alpha/keys/L1.K3?language=python&mask=L1.K3:0",
        "key of a gated model": "/runs/gated/keys/L1.K2?show=min",
        "demo": "/demo?run=alpha&preset=range",
        "live": "/live?run=alpha&mask=L1.K3:0,L0.K2:0.5&prompt=def",
        "lens": "/lens?run=alpha&prompt=def&layer=1&at=1",
        "keys on a text": "/activations?run=alpha&text=def&language=python&first=1&last=2",
        "jobs": "/runs/alpha/jobs",
    }
