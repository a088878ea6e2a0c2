"""Two members of a team."""

from keyscope.app.accounts.identity import Person
from keyscope.app.roles import Role

ADA, BEN = Person("Ada", Role.ADMIN), Person("Ben", Role.LABELER)
