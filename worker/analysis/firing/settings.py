"""Settings of the analysis. The default thresholds are those of the papers that introduced the measures."""

from pydantic import Field

from keyscope.worker.analysis.analysis import Seed, Settings


class FiringSettings(Settings):
    """Everything that determines the rows."""

    strong_share: float = Field(0.01, gt=0, lt=1, description="Share of tokens on which a key fires strongly")
    position_buckets: int = Field(16, ge=2, le=200, description="Equal parts of a window, besides its first position")
    position_information: float = Field(
        0.05, ge=0, description="Mutual information in nats above which a key is positional"
    )
    candidates: int = Field(8, ge=1, le=20, description="Tokens counted per key: those it fires on most")
    detected_tokens: int = Field(5, ge=1, le=20, description="Most tokens that a detector can detect")
    detector_share: float = Field(
        0.95, gt=0, le=1, description="Share of a token's occurrences, and of the key's firing, to be covered"
    )
    least_occurrences: int = Field(10, ge=1, description="Fewest occurrences of a token that can be detected")
    language_share: float = Field(
        0.01, gt=0, lt=1, description="Largest share of all keys that are specific to a language"
    )
    language_rate: float = Field(0.95, ge=0, lt=1, description="Quantile of all rates that such a key has to exceed")
    language_q: float = Field(0.05, gt=0, lt=1, description="False discovery rate up to which rates count as different")
    identifying_f1: float = Field(0.8, gt=0, le=1, description="F1 from which a single key identifies a language")
    class_kurtosis: float = Field(10, description="Kurtosis over the vocabulary above which a key is about few tokens")
    entropy_kurtosis: float = Field(8, description="Highest kurtosis of an entropy key")
    entropy_variance: float = Field(0.001, description="Highest variance over the vocabulary of an entropy key")
    entropy_layers: int = Field(2, ge=1, description="Number of last layers that can have entropy keys")
    entropy_length: float = Field(
        0.9, ge=0, lt=1, description="Quantile of the layer's value lengths that an entropy key exceeds"
    )
    gaussian_values: int = Field(512, ge=1, description="Most random values drawn per layer as the control")
    draws: int = Field(200, ge=20, description="Bootstrap draws for the intervals by layer")
    seed: Seed = 0
