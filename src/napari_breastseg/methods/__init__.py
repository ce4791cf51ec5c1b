"""The published methods: where a paper's network, inputs and figures meet. A sixth method is one more file and one more line here."""

from __future__ import annotations

from napari_breastseg.case import Modality
from napari_breastseg.errors import ModelError
from napari_breastseg.methods import brems_net, ha_net, hcma_unet, hcnet, tsesnet
from napari_breastseg.methods.preset import GUIDED, Preset

DEFAULT = {
    "hcma-unet": "hcma-unet/practical",
    "tsesnet": "tsesnet/compact",
    "hcnet": "hcnet/compact",
    "ha-net": "ha-net/compact",
    "brems-net": "brems-net/compact",
}
"""The preset that a method's bare name stands for."""
USUAL: dict[Modality, str] = {"ultrasound": "ha-net", "image": "ha-net", "mammography": "brems-net"}
"""What predicts unless a method is chosen, where it is not :data:`FIRST`. An image that does not say what it is counts as ultrasound."""
FIRST = "hcma-unet"


def usual_method(modality: Modality) -> str:
    """Return the method that predicts an examination of this kind unless another is chosen."""
    return USUAL.get(modality, FIRST)


def presets() -> dict[str, Preset]:
    """Return every preset by its full name, such as ``hcma-unet/paper``."""
    every = (hcma_unet, tsesnet, hcnet, ha_net, brems_net)
    return {preset.name: preset for method in every for preset in method.PRESETS}


def get_preset(name: str) -> Preset:
    """Return the preset called `name`; a method's bare name gives its default preset, and any name may end in ``+guided``.

    Raises
    ------
    ModelError
        If there is no such preset.
    """
    if name.endswith(GUIDED):
        return get_preset(name.removesuffix(GUIDED)).guided()
    known = presets()
    full = DEFAULT.get(name, name)
    if full not in known:
        raise ModelError(f"There is no model called {name!r}. Choose one of: {', '.join([*DEFAULT, *known])}.")
    return known[full]
