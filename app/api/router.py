"""All endpoints of the JSON API."""

from fastapi import APIRouter

from app.accounts.identity import CREDENTIALS
from app.api import baskets, exports, keys, labels, live, runs

router = APIRouter(prefix="/api/v1", dependencies=CREDENTIALS)
for room in (runs, keys, labels, baskets, live, exports):
    router.include_router(room.router)
