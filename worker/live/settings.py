"""The settings of the live worker, read from `KEYSCOPE_WORKER_…` variables."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from keyscope.serving.settings import ServerSettings
from keyscope.worker.model.source import DEFAULT_CACHE, ModelSource

MIN_MASKS = 4096
"""Every worker accepts at least this many masks."""


class WorkerSettings(ServerSettings):
    """The worker's settings; each field is read from the variable `KEYSCOPE_WORKER_FIELD`."""

    model_config = SettingsConfigDict(
        env_prefix="KEYSCOPE_WORKER_", extra="ignore", env_ignore_empty=True, protected_namespaces=()
    )
    secrets = ("token",)

    model: str = Field(
        description="Model to serve: a local folder, a GGUF file, a hub name, or a run file for the model it was computed with"
    )
    revision: str | None = Field(None, description="Commit, branch or tag of a hub model")
    dtype: str = Field(
        "auto", description="float32, float64, bfloat16 or float16; auto: as stored on CUDA, else float32"
    )
    device: str = Field("auto", description="cpu, cuda or cuda:1; auto: CUDA if available")
    cache: Path = Field(DEFAULT_CACHE, description="Directory for converted GGUF files")
    runs: Path | None = Field(
        None, description="Directory with the run files; without it the worker computes no analyses"
    )
    host: str = Field("127.0.0.1", description="Address the worker listens on")
    port: int = Field(8001, ge=0, le=65535, description="Port the worker listens on; 0 takes a free one")
    token: SecretStr | None = Field(
        None,
        description="Secret that clients must send as a bearer token; without it only this machine may use the worker",
    )
    register_with: str | None = Field(
        None, description="Server to announce this worker to, such as http://app:8000; both need the same token"
    )
    address: str | None = Field(
        None, description="Address by which that server reaches this worker; by default the one it is reached from"
    )
    prompt_tokens: int = Field(2048, ge=1, description="Longest prompt, in tokens; the model's context may allow less")
    new_tokens: int = Field(512, ge=1, description="Most tokens to generate; the model's context may allow less")
    masks: int = Field(MIN_MASKS, ge=MIN_MASKS, description="Most masked keys in one request")
    queue: int = Field(16, ge=1, description="Most requests waiting while one runs")
    queue_timeout: float = Field(60.0, gt=0, description="Longest time a request waits for its turn, in seconds")
    jobs: int = Field(8, ge=1, description="Most analyses waiting while one is computed")
    body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body, in bytes")

    @property
    def source(self) -> ModelSource:
        return ModelSource(self.model, self.revision, self.dtype, self.device, self.cache)
