"""A child for texts that takes half a second for each."""

import time
from collections.abc import Iterator

from keyscope.contract.patterns import Span
from keyscope.matching import texts


def answers(search: texts.Search) -> Iterator[list[Span]]:
    for found in texts.answers(search):
        time.sleep(0.5)
        yield found
