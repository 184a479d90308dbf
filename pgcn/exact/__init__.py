"""Exact energies: the log-density of patches around an image's own patches, at a noise level t.

    f_t(y) = Σ_q log Σ_i exp(-|q - (1 - t)·p_i|² / 2t²),   q the patches of y, p_i those of the image.

Nothing is trained. The posterior mean is a softmax over patches (`definition`); with a few candidates for each position
instead of all patches it is linear in pixels, and adds detail to layouts that are learned.
"""

from pgcn.exact.cascade import Drawn, ExactDetail
from pgcn.exact.draw import Hold
from pgcn.exact.field import Field
from pgcn.exact.settings import DetailSettings

__all__ = ["DetailSettings", "Drawn", "ExactDetail", "Field", "Hold"]
