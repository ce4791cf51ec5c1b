"""Places that come, fail and go; every order is served in the end, or its failure told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from napari_breastseg.cohort import lanes
from napari_breastseg.cohort.job import Finished, Order
from napari_breastseg.cohort.lanes import CLUSTER, LOCAL, serve
from napari_breastseg.compute import LostError, Where
from napari_breastseg.errors import ComputeError
from napari_breastseg.io.listing import ListedCase
from napari_breastseg.progress import Job, Progress, run


def orders(count: int) -> list[Order]:
    return [Order(ListedCase(f"case {i}", (Path(f"{i}.nii.gz"),)), (), {}, Path("out"), "") for i in range(count)]


def crew_of(*moments: Mapping[str, Where]) -> Job[None]:
    """Have these places, one set after the other; the last one stays."""
    for places in moments:
        for _ in range(3):
            yield Progress(0, 1, "", places)
            time.sleep(0.02)
    while True:
        yield Progress(0, 1, "", moments[-1])
        time.sleep(0.02)


@dataclass
class Place:
    """Serves orders; `trouble` may raise when it is given the name of a case."""

    trouble: Callable[[str], None] = lambda name: None
    lost_at_the_end: bool = False
    served: list[str] = field(default_factory=list)
    jobs: int = 0
    most: int = 0
    at_once: int = 0

    def __call__(self, target: str, kwargs: Mapping[str, Any], name: str = "background") -> Job[Any]:
        self.jobs += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            for order in kwargs["orders"]:
                yield Progress(0, 1, f"{order.case.name}: Looking")
                time.sleep(0.01)
                self.trouble(order.case.name)
                self.served.append(order.case.name)
                yield Progress(1, 1, order.case.name, Finished(order.case.name, None))
            if self.lost_at_the_end:
                raise LostError("The worker was lost. Try again.")
        finally:
            self.at_once -= 1


def losing(*names: str, times: int = 10**9) -> Callable[[str], None]:
    """Be lost when it comes to one of these cases, or to any if none is named."""
    left = [times]

    def trouble(name: str) -> None:
        if (not names or name in names) and left[0] > 0:
            left[0] -= 1
            raise LostError("The worker was lost. Try again.")

    return trouble


def finished(job: Job[None]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}

    def listen(progress: Progress) -> None:
        if isinstance(progress.payload, Finished):
            assert progress.payload.name not in found, "told twice"
            found[progress.payload.name] = progress.payload.error

    run(job, listen)
    return found


def test_all_places_work_each_at_one_job_at_a_time() -> None:
    a, b = Place(), Place()
    assert finished(serve(orders(12), {}, crew_of({"a": a, "b": b}), CLUSTER)) == {f"case {i}": None for i in range(12)}
    assert a.served and b.served and len(a.served) + len(b.served) == 12
    assert a.most == b.most == 1
    assert a.jobs == len(a.served), "a case each"


def test_a_lone_place_serves_many_cases_with_one_job() -> None:
    place = Place()
    assert len(finished(serve(orders(LOCAL.batch + 5), {}, crew_of({"here": place}), LOCAL))) == LOCAL.batch + 5
    assert place.jobs == 2


def test_the_case_of_a_lost_place_is_served_elsewhere() -> None:
    a, b = Place(losing(times=1)), Place()
    assert set(finished(serve(orders(6), {}, crew_of({"a": a, "b": b}, {"b": b}), CLUSTER)).values()) == {None}


def test_a_place_that_is_lost_after_its_last_case_takes_none_with_it() -> None:
    a, b = Place(lost_at_the_end=True), Place(lambda name: time.sleep(0.05))
    assert set(finished(serve(orders(6), {}, crew_of({"a": a, "b": b}), CLUSTER)).values()) == {None}
    assert set(finished(serve(orders(3), {}, crew_of({"a": a}), LOCAL)).values()) == {None}


def test_a_place_that_comes_later_works_too() -> None:
    a, b = Place(lambda name: time.sleep(0.1)), Place()
    finished(serve(orders(8), {}, crew_of({"a": a}, {"a": a, "b": b}), CLUSTER))
    assert b.served


def test_all_places_may_go_if_another_comes() -> None:
    a, b = Place(losing()), Place()
    found = finished(serve(orders(3), {}, crew_of({"a": a}, {}, {"b": b}), CLUSTER))
    assert set(found.values()) == {None} and len(b.served) == 3


def test_a_case_with_which_every_place_is_lost_is_given_up_after_three() -> None:
    places = {name: Place(losing("case 1")) for name in "abcd"}
    found = finished(serve(orders(5), {}, crew_of(places), CLUSTER))
    assert found.pop("case 1") == "The worker was lost. Try again."
    assert set(found.values()) == {None} and len(found) == 4


def test_a_place_that_fails_by_itself_does_not_fail_the_whole_cohort() -> None:
    """One whose disk is full is the quickest to be free again."""
    bad, good = Place(losing()), Place(lambda name: time.sleep(0.05))
    found = finished(serve(orders(20), {}, crew_of({"bad": bad, "good": good}), CLUSTER))
    assert set(found.values()) == {None} and bad.jobs == CLUSTER.strikes


def test_on_this_computer_a_case_is_tried_once_and_the_rest_goes_on() -> None:
    place = Place(losing("case 1", "case 2", "case 3", "case 4"))
    found = finished(serve(orders(6), {}, crew_of({"here": place}), LOCAL))
    assert [name for name, error in found.items() if error] == ["case 1", "case 2", "case 3", "case 4"]
    assert place.served == ["case 0", "case 5"]


def test_a_lost_scheduler_ends_it_at_once() -> None:
    place = Place(losing())

    def crew() -> Job[None]:
        yield Progress(0, 1, "", {"a": place})
        time.sleep(0.1)
        raise ComputeError("The scheduler was lost. See whether it runs.")

    with pytest.raises(ComputeError, match="The scheduler was lost"):
        finished(serve(orders(1), {}, crew(), CLUSTER))
    assert place.jobs == 1, "a place that was lost is asked again only when the crew has told of it again"


def test_without_any_place_it_waits_and_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PATIENCE", 0.3)
    with pytest.raises(ComputeError, match="No worker has come to do this. Start one with `dask worker`"):
        finished(serve(orders(1), {}, crew_of({}), CLUSTER))
    with pytest.raises(ComputeError, match="The worker was lost"):
        finished(serve(orders(9), {}, crew_of({"a": Place(losing())}, {}), CLUSTER))


def test_closing_stops_every_place() -> None:
    places = {name: Place(lambda name: time.sleep(0.05)) for name in "ab"}
    job = serve(orders(50), {}, crew_of(places), CLUSTER)
    while not all(place.served for place in places.values()):
        next(job)
    job.close()
    assert all(place.at_once == 0 for place in places.values())
    served = [len(place.served) for place in places.values()]
    time.sleep(0.2)
    assert served == [len(place.served) for place in places.values()]


def test_it_is_heard_of_although_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TICK", 0.02)
    job = serve(orders(1), {}, crew_of({"a": Place(lambda name: time.sleep(0.3))}), CLUSTER)
    messages = [progress.message for progress in job]
    assert messages.count("case 0: Looking") > 3
