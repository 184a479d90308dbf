"""Anomalies of one image without a clean one: each part is compared with patches of the other parts alone.

`crossfit` scores one half of the positions with the exact energy of the other half, `tail` gives scores one unit,
comparable between images, and `regions` lists what is above a threshold.
"""

from pgcn.anomaly.crossfit import CrossFit, cross_fitted, patch_bank
from pgcn.anomaly.regions import Region, regions_of
from pgcn.anomaly.tail import Tail

__all__ = ["CrossFit", "Region", "Tail", "cross_fitted", "patch_bank", "regions_of"]
