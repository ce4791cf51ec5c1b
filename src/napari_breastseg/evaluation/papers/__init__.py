"""The tables of the papers that can be run on one's own cases, and what is known here of the published figures."""

from __future__ import annotations

from napari_breastseg.evaluation.papers import brems_net, ha_net, hcma_unet, hcnet, tsesnet
from napari_breastseg.evaluation.papers.table import PaperTable, Row, find_table

__all__ = ["PaperTable", "Row", "paper_table"]


def paper_table(method: str, number: int) -> PaperTable:
    """Return a table of a method's paper.

    Raises
    ------
    InputError
        If there is none.
    """
    return find_table([*hcma_unet.TABLES, *tsesnet.TABLES, *hcnet.TABLES, *ha_net.TABLES, *brems_net.TABLES], method, number)
