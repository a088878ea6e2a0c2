"""Who a program is here, and what it may do."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from keyscope.app.accounts.identity import Visitor
from keyscope.app.roles import Role
from keyscope.app.web.shapes import failures

router = APIRouter(tags=["people"])


class MeAnswer(BaseModel):
    """Who sends the request."""

    ok: Literal[True] = True
    name: str | None = Field(description="Name that labels will bear; null where nobody signs in and none was given")
    role: Role = Field(description="What may be done, by the token's role where a token was sent")


@router.get("/me", responses=failures(401, 503))
async def show_me(visitor: Visitor) -> MeAnswer:
    """The name and the role of who sends the request."""
    return MeAnswer(name=visitor.name if visitor else None, role=visitor.role if visitor else Role.ADMIN)
