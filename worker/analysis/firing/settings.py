"""What can be chosen of the analysis; thresholds are those of the literature."""

from pydantic import Field

from keyscope.worker.analysis.analysis import Seed, Settings


class FiringSettings(Settings):
    """Everything that decides the rows."""

    strong_share: float = Field(0.01, gt=0, lt=1, description="Share of tokens on which a key fires strongly")
    position_buckets: int = Field(16, ge=2, le=200, description="Equal parts of a window, the first position apart")
    position_information: float = Field(0.05, ge=0, description="Nats from which a key is positional")
    candidates: int = Field(8, ge=1, le=20, description="Tokens counted for each key, those it fires on most")
    detected_tokens: int = Field(5, ge=1, le=20, description="Most tokens that a token detector has")
    detector_share: float = Field(0.95, gt=0, le=1, description="Of a token's occurrences, and of the key's firing")
    least_occurrences: int = Field(10, ge=1, description="Of a token in the corpus, for it to be detected")
    language_share: float = Field(0.01, gt=0, lt=1, description="Share of all keys that can be specific to a language")
    language_rate: float = Field(0.95, ge=0, lt=1, description="Quantile of all rates that theirs has to be over")
    language_q: float = Field(0.05, gt=0, lt=1, description="False discovery rate under which their rates differ")
    identifying_f1: float = Field(0.8, gt=0, le=1, description="F1 from which a single key tells a language")
    class_kurtosis: float = Field(10, description="Kurtosis over the vocabulary over which a key is about few tokens")
    entropy_kurtosis: float = Field(8, description="Kurtosis up to which a key can be an entropy key")
    entropy_variance: float = Field(0.001, description="Variance over the vocabulary up to which it can")
    entropy_layers: int = Field(2, ge=1, description="How many of the last layers it can be in")
    entropy_length: float = Field(
        0.9, ge=0, lt=1, description="Quantile of value lengths of its layer it has to be over"
    )
    gaussian_values: int = Field(512, ge=1, description="Random values of each layer, at most, as the control")
    draws: int = Field(200, ge=20, description="Draws of files for the intervals by layer")
    seed: Seed = 0
