"""Tools that shape a mask: each looks at a part of a case and says which voxels become what; no array that is given is changed.

A part is a box: one slice, or the whole case. All lengths are mm; an axis of one voxel is not smoothed, grown or snapped along.
"""

from napari_breastseg.editing.between import between
from napari_breastseg.editing.change import Change, changed
from napari_breastseg.editing.edges import snap
from napari_breastseg.editing.grow import grow
from napari_breastseg.editing.shape import copied, filled, smooth
from napari_breastseg.editing.spots import keep_spot, remove_spot

__all__ = ["Change", "between", "changed", "copied", "filled", "grow", "keep_spot", "remove_spot", "smooth", "snap"]
