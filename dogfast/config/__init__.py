"""What a run is told to do, as data. No module here imports torch, so `dogfast --help` stays instant."""

from dogfast.config.concepts import ConceptsConfig
from dogfast.config.data import DataConfig
from dogfast.config.detection import DetectionConfig
from dogfast.config.model import ModelConfig
from dogfast.config.objectives import ObjectivesConfig
from dogfast.config.resolve import RunConfig
from dogfast.config.synthesis import SynthesisConfig
from dogfast.config.training import TrainingConfig

__all__ = [
    "ConceptsConfig",
    "DataConfig",
    "DetectionConfig",
    "ModelConfig",
    "ObjectivesConfig",
    "RunConfig",
    "SynthesisConfig",
    "TrainingConfig",
]
