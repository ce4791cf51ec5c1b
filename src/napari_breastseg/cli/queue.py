"""Which case next, as the command `queue` says it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from napari_breastseg.cli.report import Report
from napari_breastseg.session import Session


def queue_session(speaker: Report, folder: Path, top: int | None, model: str | None, device: str) -> tuple[dict[str, Any], RenderableType]:
    """Return the cases that wait, those first from which there is most to learn, JSON-ready and as a table."""
    from napari_breastseg.loop.queue import queue

    with Session.open(folder, read_only=True) as session:
        cases = len(session.cases)
        found = speaker.run(queue(session, model, device))
        names = {one.case_id: session.name(one.case_id) for one in found}
    shown = found[:top]
    answer = {"waiting": len(found), "queue": [asdict(one) | {"case": names[one.case_id]} for one in shown]}
    if not cases:
        return answer, "The session holds no case yet. Add some with predict --session."
    if not found:
        return answer, f"Nothing waits: all {cases} case(s) are corrected or done. Learn, or add more cases."
    table = Table("", "case", "id", "score", "why", box=None)
    for number, one in enumerate(shown, 1):
        table.add_row(str(number), names[one.case_id], one.case_id, f"{one.score:.2f}", "; ".join(one.reasons))
    return answer, table
