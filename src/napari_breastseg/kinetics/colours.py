"""Colours of the kinetic maps: those of the SER bins and of the curve types."""

from __future__ import annotations

from dataclasses import dataclass

from napari_breastseg.phantom.contrast import NO_UPTAKE, PERSISTENT, PLATEAU, WASHOUT


@dataclass(frozen=True)
class SerBin:
    """Values of SER above `low` up to and with `high` that are shown in one colour.

    Attributes
    ----------
    name : str
        Of the colour and of what the values stand for.
    low, high : float
    colour : str
        Hexadecimal, as a layer takes it.
    """

    name: str
    low: float
    high: float
    colour: str


SER_BINS = (
    SerBin("blue: persistent", 0.0, 0.9, "#0000ff"),
    SerBin("purple: plateau", 0.9, 1.0, "#800080"),
    SerBin("green: plateau", 1.0, 1.3, "#00ff00"),
    SerBin("red: wash-out", 1.3, 1.75, "#ff0000"),
    SerBin("yellow: strong wash-out", 1.75, 3.0, "#ffff00"),
)
"""Edges and colours of UCSF's FTV extension of 3D Slicer, which leaves SER of 0 and above 3 without one."""

CURVE_COLOURS = {NO_UPTAKE: "#00000000", PERSISTENT: "#0000ff", PLATEAU: "#00ff00", WASHOUT: "#ff0000"}
"""As breast CAD shows them: blue persistent, green plateau, red wash-out; nothing where there is no uptake."""
