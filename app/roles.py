"""What people may do, from looking to managing."""

from enum import StrEnum


class Role(StrEnum):
    """What a person may do; each role may do what the ones before it may."""

    VIEWER = "viewer"
    LABELER = "labeler"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Does this role do for what needs the other?"""
        order = list(Role)
        return order.index(self) >= order.index(needed)
