"""The outcome of the trials of a session, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table


def trial_tables(answer: dict[str, Any]) -> Iterator[RenderableType]:
    """Draw the aims of every trial, the stores side by side, and what was skipped or went wrong."""
    yield _aims(answer["trials"])
    for trial in answer["trials"]:
        if trial["skipped"]:
            yield f"{trial['name']} was skipped: {trial['skipped']}."
        if "stores" in trial["figures"]:
            yield ""
            yield _stores(trial["figures"]["stores"])
        yield from trial["problems"]
    machine = answer["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    yield f"\n{answer['file_system']} at {answer['folder']}. {machine['processor']}, load {machine['load_average']}. {versions}."
    missed = [trial["name"] for trial in answer["trials"] if trial["met"] is False]
    yield f"Not met: {', '.join(missed)}." if missed else "Every aim was met."


def _aims(trials: list[dict[str, Any]]) -> Table:
    table = Table("trial", "what", "measured", "aim", "met", box=None)
    for trial in trials:
        for number, aim in enumerate(trial["aims"]):
            bound = f"at least {aim['at_least']:g}" if "at_least" in aim else f"at most {aim['at_most']:g}"
            measured = f"{aim['measured']:.3g}" if isinstance(aim["measured"], float) else f"{aim['measured']:,}"
            name = trial["name"] if number == 0 else ""
            table.add_row(name, aim["what"], f"{measured} {aim['unit']}", f"{bound} {aim['unit']}", "yes" if aim["met"] else "NO")
    return table


def _stores(rows: list[dict[str, Any]]) -> Table:
    table = Table("store", "commit p50 ms", "p95 ms", "slowest ms", "kB per stroke", "a version, s", box=None)
    for row in rows:
        if "note" in row:
            table.add_row(row["store"], row["note"])
            continue
        keys = ("commit_p50_ms", "commit_p95_ms", "commit_max_ms", "growth_kb_per_stroke")
        version = "keeps none" if row["version_s"] is None else f"{row['version_s']:.2f}"
        table.add_row(row["store"], *(f"{row[key]:.1f}" for key in keys), version)
    return table
