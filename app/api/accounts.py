"""Who a program is to this server, and what it may do."""

from fastapi import APIRouter
from pydantic import Field

from keyscope.app.accounts.identity import Visitor
from keyscope.app.roles import Role
from keyscope.app.web.shapes import Answer, failures

router = APIRouter(tags=["people"])


class MeAnswer(Answer):
    """The sender of the request."""

    name: str | None = Field(description="Name that new labels get; null without accounts if none was given")
    role: Role = Field(description="The sender's role; with a token, the token's")


@router.get("/me", responses=failures(401, 503))
async def show_me(visitor: Visitor) -> MeAnswer:
    """The name and role of the sender."""
    return MeAnswer(name=visitor.name if visitor else None, role=visitor.role if visitor else Role.ADMIN)
