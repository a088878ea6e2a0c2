"""The settings of the web server, each read from `KEYSCOPE_…` in the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode, SettingsConfigDict

from keyscope.app.roles import Role
from keyscope.serving.settings import ServerSettings


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""Several values with commas between them."""


class Settings(ServerSettings):
    """What the server needs to know; every field is a variable `KEYSCOPE_FIELD` of the environment."""

    model_config = SettingsConfigDict(env_prefix="KEYSCOPE_", extra="ignore")
    secrets = ("worker_token", "database_url", "oidc_client_secret")

    runs: Path = Field(Path("runs"), description="Directory with the run files")
    host: str = Field("127.0.0.1", description="Address the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="Port the server listens on; 0 takes a free one")
    processes: int = Field(1, ge=1, le=64, description="Processes that share the server's work; one uses one core")
    root_path: str = Field(
        "", pattern=r"^(/[A-Za-z0-9._~-]+)*/?$", description="Path under which a reverse proxy publishes the server"
    )
    trusted_proxies: Names = Field(
        ["127.0.0.1", "::1"],
        description="Addresses or networks of reverse proxies whose X-Forwarded-Prefix, -For and -Proto are believed, with commas",
    )
    worker_urls: Names = Field(
        [],
        description="Addresses of live workers, with commas; `dns+http://NAME:PORT` stands for every address of a name",
    )
    worker_token: SecretStr | None = Field(None, description="Secret that the live workers ask for")
    worker_timeout: float = Field(
        300.0, gt=0, description="Seconds without a byte from a live worker after which it is given up"
    )
    database_url: str | None = Field(
        None,
        description="Labels database, sqlite:///FILE or postgresql://…; by default keyscope.sqlite beside the runs",
    )
    accounts: Literal["none", "accounts"] = Field(
        "none",
        description="Whether people sign in: none (everyone may do everything, on this machine only) or accounts",
    )
    allow_open: bool = Field(
        False, description="Listen on other addresses than this machine's although nobody signs in"
    )
    trusted_hosts: Names = Field(
        [],
        description="Names, besides localhost and plain addresses, people may open the server by where nobody signs in",
    )

    oidc_issuer: str | None = Field(
        None, description="OpenID provider people may sign in with, such as https://accounts.example.com"
    )
    oidc_client_id: str | None = Field(None, description="Name of this server at the provider")
    oidc_client_secret: SecretStr | None = Field(None, description="Secret of this server at the provider")
    oidc_domains: Names = Field(
        [], description="Mail domains whose people may sign in with the provider, with commas; none means all"
    )
    oidc_role: Role = Field(Role.VIEWER, description="Role of who signs in with the provider for the first time")

    @property
    def labels_url(self) -> str:
        """The labels database in use."""
        return self.database_url or f"sqlite:///{self.runs.absolute() / 'keyscope.sqlite'}"
