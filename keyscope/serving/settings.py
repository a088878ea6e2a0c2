"""What the settings of both servers have in common: how they log and end, and secrets that files hold."""

import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from keyscope.contract.errors import KeyscopeError
from keyscope.serving.logs import LogFormat

SHUTDOWN_SECONDS = 5


class SecretFile(KeyscopeError):
    """A file that should hold a secret cannot be used."""


class ServerSettings(BaseSettings):
    """Settings that both servers have.

    Those named in `secrets` may also come from a file: `KEYSCOPE_X_FILE` names the one with the value of `KEYSCOPE_X`, as
    secrets are mounted into containers, where the environment is seen by everything that runs and lists it.
    """

    secrets: ClassVar[tuple[str, ...]] = ()

    log_format: LogFormat = Field("text", description="How to log: text for people, or json with one object a line")
    shutdown_seconds: int = Field(
        SHUTDOWN_SECONDS, ge=0, description="Seconds that requests in progress may take to end when the server ends"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options, then the environment, then the files that it names."""
        return init_settings, env_settings, _SecretFiles(settings_cls, cls.secrets)


class _SecretFiles(PydanticBaseSettingsSource):
    def __init__(self, settings_cls: type[BaseSettings], names: tuple[str, ...]) -> None:
        super().__init__(settings_cls)
        self.names = names

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._read(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        read = {name: self._read(name) for name in self.names}
        return {name: value for name, value in read.items() if value is not None}

    def _read(self, name: str) -> str | None:
        """The value in the file that the environment names; None if it names none.

        Raises:
            SecretFile: it cannot be read or is empty, or the value itself is in the environment too.
        """
        variable = f"{self.config.get('env_prefix', '')}{name.upper()}"
        place = os.environ.get(f"{variable}_FILE")
        if not place:
            return None
        if os.environ.get(variable):
            raise SecretFile(f"{variable} and {variable}_FILE are both set: unset one of them")
        try:
            value = Path(place).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretFile(f"{variable}_FILE={place} cannot be read: {error}") from error
        if not value:
            raise SecretFile(f"{variable}_FILE={place} is empty: write the secret into it")
        return value
