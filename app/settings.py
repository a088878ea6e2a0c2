"""The settings of the web server, each read from `KEYSCOPE_…` in the environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the server needs to know; every field is a variable `KEYSCOPE_FIELD` of the environment."""

    model_config = SettingsConfigDict(env_prefix="KEYSCOPE_", extra="ignore")

    runs: Path = Field(Path("runs"), description="Directory with the run files")
    host: str = Field("127.0.0.1", description="Address the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="Port the server listens on; 0 takes a free one")
