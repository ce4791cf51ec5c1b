"""Tools that shape a mask: each looks at a part of a case and says which voxels become what; no array that is given is changed.

A part is a box: one slice, or the whole case. All lengths are mm; an axis of one voxel is not smoothed, grown or snapped along.
"""
