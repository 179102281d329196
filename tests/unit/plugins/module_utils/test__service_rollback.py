"""Expectations of a rollback, against a project that plays along."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import Image
from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import Data
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import (
    RECREATE,
    START_FIRST,
    STOP_FIRST,
    order_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import Definition, HostPort
from ansible_collections.ops.runbooks.plugins.module_utils._service_rollback import (
    Rollbacker,
    RollbackRequest,
    keep,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.rollbacks import BAD, FULL, GOOD, OLD, ON_HOST, FakeProject, MemoryFile


def run(
    engine: FakeProject, *, dry_run: bool = False, warnings: list[str] | None = None, **more: Any
) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "project": "shop",
        "service": "web",
        "image": None,
        "expected_image": None,
        "settle_seconds": 2.0,
        "expected_replicas": None,
        "precondition_reaction": "fail",
        "stable_seconds": 5.0,
        "timeout_seconds": 30.0,
    }
    request = RollbackRequest.from_params({**defaults, **more})
    told = [] if warnings is None else warnings
    rollbacker = Rollbacker(engine, engine, engine.file, request, warn=told.append, clock=engine.clock())
    return rollbacker.run(dry_run=dry_run)


def project(*images: str, **more: Any) -> FakeProject:
    return FakeProject(MemoryFile(), *(images or (BAD, BAD)), **more)


def test_each_replica_goes_after_its_successor_serves() -> None:
    """To the newest image that is older than what runs; the file keeps it; the answer has both."""
    engine = project(health={BAD: "healthy"})
    result = run(engine)
    assert engine.calls == ["add", "remove shop-web-2", "add", "remove shop-web-1"]
    assert (engine.running(), engine.fewest, engine.most) == ([GOOD, GOOD], 2, 3)
    assert engine.file.image() == "shop/web:1"
    assert result["changed"] is True
    assert (result["before"]["images"], result["after"]["images"]) == (["shop/web:2"], ["shop/web:1"])
    assert result["actions"][:2] == ["shop-web-3 serves shop/web:1 after 0.0 s.", "Stopped and removed shop-web-2."]
    assert result["actions"][-1].startswith("web runs shop/web:1. Name /srv/shop/kept.json as the last --file")
    assert result["duration_seconds"] == 4.0


def test_what_does_not_serve_goes_first() -> None:
    """An exited replica makes room at once, a broken one before one that serves."""
    engine = project(BAD, BAD, BAD)
    engine.become(2, "running", "healthy")
    engine.become(3, "exited", "")
    run(engine)
    assert engine.calls == ["remove shop-web-3", "add", "add", "remove shop-web-1", "add", "remove shop-web-2"]
    assert engine.running() == [GOOD] * 3


def test_a_second_run_changes_nothing_and_goes_no_further_back() -> None:
    """Not even where an older image is there; a scaling between the two is left alone, too."""
    engine = project()
    run(engine)
    engine.calls.clear()
    assert (run(engine, dry_run=True)["changed"], run(engine)["changed"]) == (False, False)
    again = run(engine)
    assert again["actions"] == [
        "Nothing to change: web was rolled back to shop/web:1. To go further back, name an image."
    ]
    engine.add("web", 4)
    engine.calls.clear()
    assert (run(engine)["changed"], engine.calls, len(engine.running())) == (False, [], 4)
    assert run(engine, image="shop/web:0")["after"]["images"] == ["shop/web:0"]


def test_the_same_bad_image_deployed_again_is_left_again() -> None:
    """What a rollback before this one noted holds as long as the images are the same, and no longer."""
    engine = project()
    run(engine)
    engine.there = []
    engine.make(BAD)  # somebody deploys
    engine.make(GOOD)  # half of it
    assert run(engine)["changed"] is True
    assert engine.running() == [GOOD, GOOD]
    engine.health = {}
    engine.on_host["shop/web"].append(Image("sha256:3", ("shop/web:3",), 1))
    engine.there = []
    engine.make("sha256:3")
    assert run(engine)["after"]["images"] == ["shop/web:2"]


def test_a_named_image_by_name_or_identity() -> None:
    """As it is named, so it is kept."""
    for name in ("shop/web:0", OLD):
        engine = project()
        assert run(engine, image=name)["changed"] is True
        assert (engine.running(), engine.file.image()) == ([OLD, OLD], name)
        assert run(engine, image=name)["changed"] is False


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        pytest.param(
            (BAD,),
            {"image": "shop/web:9"},
            "Cannot roll back web to shop/web:9: the host has no such image. Pull or load it first (docker pull "
            "shop/web:9), or name one of those that are there: shop/web:1, shop/web:0.",
            id="missing image",
        ),
        pytest.param(
            (OLD,),
            {},
            "Cannot roll back web: the host has no image of shop/web that is older than what runs. Pull or load one "
            "and name it.",
            id="nothing older",
        ),
        pytest.param(
            (BAD,),
            {"expected_image": "shop/web:7"},
            "Cannot roll back web: web runs shop/web:2, expected shop/web:7: another one was deployed since the "
            "decision was made. Look again, then decide.",
            id="another image",
        ),
        pytest.param((BAD,), {"expected_replicas": 3}, "web has 1 replica, expected 3", id="another number"),
        pytest.param((), {}, "Cannot roll back web: it has no replicas. Start it first.", id="no replicas"),
    ],
)
def test_a_refusal_has_the_reason(images: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    """Nothing is changed, and no file is written."""
    engine = FakeProject(MemoryFile(), *images)
    with pytest.raises(PreconditionFailed) as error:
        run(engine, **options)
    assert message in str(error.value)
    assert (engine.calls, engine.file.text) == ([], None)


def test_an_image_that_has_gone_since_ends_the_second_run() -> None:
    """The first run was cut off, and somebody pruned."""
    engine = project()
    engine.ends_after = 2
    with pytest.raises(ConnectionFailed):
        run(engine)
    engine.ends_after, engine.there = None, engine.there[:1]
    engine.on_host["shop/web"] = [image for image in ON_HOST if image.id != GOOD]
    with pytest.raises(PreconditionFailed, match=r"^Cannot roll back web to shop/web:1: the host has it no longer"):
        run(engine)


def test_another_reaction_to_another_image() -> None:
    """Skip leaves everything alone, warn goes on; an identity is as good as a name."""
    engine, warnings = project(), list[str]()
    skipped = run(engine, expected_image="shop/web:7", precondition_reaction="skip")
    assert (skipped["changed"], engine.calls) == (False, [])
    assert skipped["actions"][0].startswith("Left everything alone: web runs shop/web:2, expected shop/web:7")
    assert run(engine, expected_image="2", dry_run=True)["changed"] is True
    assert run(engine, expected_image="shop/web:7", precondition_reaction="warn", warnings=warnings)["changed"] is True
    assert warnings[0].startswith("Rolled back all the same: web runs shop/web:2")


def test_it_goes_forward_again_if_the_image_before_does_not_serve_either() -> None:
    """At the first replica: nothing was taken away, all is as before, the file says nothing, the secret is masked."""
    engine = project(health={BAD: "healthy", GOOD: "unhealthy"})
    before = engine.replicas("web")
    with pytest.raises(ActionFailed) as error:
        run(engine)
    assert str(error.value) == (
        "Cannot bring web to shop/web:1: shop-web-3 is running and unhealthy after 0 s; its last line: password=*** "
        "last words of shop-web-3. Took shop-web-3 away again. web is as before."
    )
    assert engine.replicas("web") == before
    assert engine.file.image() is None
    assert error.value.details["changed"] is False
    assert error.value.details["failed_replica"] == "shop-web-3"
    assert "hunter2" not in json.dumps(error.value.details)


class TurnsBad(FakeProject):
    """A project in which only the first replica of an image comes to serve."""

    firsts = 1

    def make(self, image: str) -> None:
        super().make(image)
        if image == GOOD and self.running().count(GOOD) > self.firsts:
            self.become(self.made, "running", "unhealthy")


def test_it_goes_forward_again_in_the_middle() -> None:
    """What had been replaced is replaced once more, one at a time, and serves."""
    engine = TurnsBad(MemoryFile(), BAD, BAD, BAD, health={BAD: "healthy"})
    with pytest.raises(ActionFailed, match=r"Rolled forward: web serves shop/web:2 again\.$") as error:
        run(engine)
    assert (engine.running(), engine.fewest) == ([BAD] * 3, 3)
    assert engine.file.image() is None
    assert error.value.details["changed"] is True
    after: Any = error.value.details["after"]
    assert after["images"] == ["shop/web:2"]


def test_a_replica_that_serves_is_given_up_only_for_one_that_serves() -> None:
    """Neither image serves wholly: the one replica that does stays, and the error says so."""
    engine = TurnsBad(MemoryFile(), BAD, BAD)
    with pytest.raises(ActionFailed, match="Could not go forward to shop/web:2 again either: "):
        run(engine)
    assert [r.image for r in engine.serving()] == [GOOD]
    assert len(engine.running()) == 2


def test_the_only_replica_with_data_is_recreated_and_recreated_again() -> None:
    """Never run twice at a time; forward again by its identity, if its name is by now another image."""
    engine = project(BAD, data=Data(shared=True))
    result = run(engine)
    assert (engine.calls, engine.running(), engine.most) == (["recreate"], [GOOD], 1)
    assert result["after"]["containers"][0]["name"] == "shop-web-1"
    engine = project(BAD, data=Data(own=True), health={BAD: "healthy", GOOD: "unhealthy"})
    with pytest.raises(ActionFailed, match=r"Rolled forward: web serves shop/web:2 again\.$"):
        run(engine)
    assert (engine.calls, engine.running()) == (["recreate", "recreate"], [BAD])


def test_a_name_that_is_another_image_by_now_is_not_trusted() -> None:
    """Forward goes to what ran, not to what has taken its name."""
    engine = project(BAD, data=Data(own=True), health={"sha256:8": "healthy", GOOD: "unhealthy"})
    engine.there = []
    engine.on_host["shop/web"] = [ON_HOST[1], Image("sha256:8", (), 50)]
    engine.make("sha256:8")  # it runs, its name has gone
    engine.there = [(engine.there[0][0], "shop/web:2")]
    with pytest.raises(ActionFailed, match=r"Rolled forward"):
        run(engine)
    assert engine.running() == ["sha256:8"]


@pytest.mark.parametrize(
    ("definition", "data", "replicas", "order"),
    [
        ({}, Data(), 1, START_FIRST),
        ({}, Data(shared=True), 1, RECREATE),
        ({}, Data(shared=True), 2, START_FIRST),
        ({}, Data(own=True), 1, RECREATE),
        ({"container_name": "web"}, Data(), 1, RECREATE),
        ({"host_ports": (HostPort("80"),)}, Data(), 1, RECREATE),
        ({"host_ports": (HostPort("80-81", 2),)}, Data(), 1, START_FIRST),
        ({"host_ports": (HostPort("80-81", 2),)}, Data(), 2, STOP_FIRST),
    ],
)
def test_who_may_run_beside_its_successor(definition: dict[str, Any], data: Data, replicas: int, order: str) -> None:
    """Ports and names are had once; a single replica with data is never run twice."""
    assert order_of(Definition("web", "x", **definition), data, replicas) == order


def test_volumes_without_a_name_are_not_lost() -> None:
    """A new replica would begin with nothing."""
    with pytest.raises(PreconditionFailed, match="keeps data in a volume without a name"):
        run(project(data=Data(own=True)))


def test_what_the_file_says_of_others_stays() -> None:
    """Limits, other services and their records; the image of this one comes and goes."""
    document = {"x-written-by": "ops.runbooks", "services": {"web": {"cpus": 1}, "db": {"image": "a"}}}
    kept = keep(document, "web", "shop/web:1", None)
    assert kept["services"] == {"web": {"cpus": 1, "image": "shop/web:1"}, "db": {"image": "a"}}
    assert keep(kept, "web", None, None)["services"] == document["services"]


def test_a_negative_time_is_a_mistake() -> None:
    """Whatever the service is."""
    with pytest.raises(ValueError, match="settle_seconds must not be negative"):
        run(project(), settle_seconds=-1)


def test_a_replica_that_never_appears_is_missing() -> None:
    """The engine says yes and does nothing."""
    engine = project(BAD)
    engine.add = lambda service, total: None  # type: ignore[method-assign]  # an engine that does not keep its word
    with pytest.raises(ActionFailed, match=r"1 replica did not appear in 30 s\. web is as before\.$"):
        run(engine)


HEALTH = st.sampled_from(["healthy", "unhealthy"])
PROJECTS = st.tuples(
    st.lists(st.sampled_from([BAD, BAD, GOOD]), min_size=1, max_size=4),
    HEALTH,
    HEALTH,
    st.sampled_from(["free", "full", "data"]),
)


def made(images: list[str], bad: str, good: str, kind: str) -> FakeProject:
    more: dict[str, Any] = {"free": {}, "full": FULL, "data": {"data": Data(shared=True)}}[kind]
    return project(*images, health={BAD: bad, GOOD: good}, **more)


@given(PROJECTS)
def test_check_mode_predicts_and_nothing_that_serves_is_lost(given_project: tuple[list[str], str, str, str]) -> None:
    """For any project: the number stays, what serves does not become less, check mode says what a run does."""
    images, _bad, good, kind = given_project
    engine = made(*given_project)
    before, first = len(engine.serving()), engine.replicas("web")
    planned = run(engine, dry_run=True, image="shop/web:1")
    assert (engine.calls, engine.file.text) == ([], None)
    try:
        done = run(engine, image="shop/web:1")
    except ActionFailed:
        assert good == "unhealthy"
        assert len(engine.running()) == len(images)
        assert len(engine.serving()) >= before
        return
    assert done["changed"] == planned["changed"]
    assert (done["after"]["replicas"], done["after"]["images"]) == (
        planned["after"]["replicas"],
        planned["after"]["images"],
    )
    assert engine.running() == [GOOD] * len(images)
    spare = 0 if kind == "free" and len(images) > 0 else 1
    assert engine.fewest >= before - spare
    assert engine.most <= len(images) + 1
    kept = [r for r in first if r.image == GOOD]
    assert [r for r in engine.replicas("web") if r in kept] == kept
    assert run(engine, image="shop/web:1")["changed"] is False


@given(PROJECTS, st.integers(0, 8))
def test_a_second_run_finishes_what_was_cut_off(given_project: tuple[list[str], str, str, str], calls: int) -> None:
    """The engine goes away after any change: the error is true, and a second run ends where one run would have."""
    images, bad, _good, kind = given_project
    engine = made(images, bad, "healthy", kind)
    if set(images) == {GOOD}:
        return
    engine.ends_after = calls
    try:
        run(engine)
    except ConnectionFailed as error:
        said: Any = error.details["after"]
        seen = (said["replicas"], said["images"])
        assert seen == (len(engine.running()), sorted({name for _replica, name in engine.there}))
    engine.ends_after = None
    run(engine)
    assert engine.running() == [GOOD] * len(images)
