"""What is minimised, and how: one file a training method, each an :class:`~dogfast.training.objective.Objective`."""

from dogfast.training.objective import Objective
from dogfast.training.objectives.atom import Atom
from dogfast.training.objectives.ce import CrossEntropy
from dogfast.training.objectives.confgan import ConfGan
from dogfast.training.objectives.csi import Csi
from dogfast.training.objectives.doe import Doe
from dogfast.training.objectives.dog import Dog
from dogfast.training.objectives.energy_oe import EnergyExposure
from dogfast.training.objectives.npos import Npos
from dogfast.training.objectives.oal import Oal
from dogfast.training.objectives.oe import OutlierExposure
from dogfast.training.objectives.poem import Poem
from dogfast.training.objectives.supcon import SupCon
from dogfast.training.objectives.vos import Vos

OBJECTIVES: dict[str, type[Objective]] = {
    "ce": CrossEntropy,
    "oe": OutlierExposure,
    "energy-oe": EnergyExposure,
    "doe": Doe,
    "dog": Dog,
    "oal": Oal,
    "atom": Atom,
    "poem": Poem,
    "vos": Vos,
    "npos": Npos,
    "csi": Csi,
    "confgan": ConfGan,
    "supcon": SupCon,
}
