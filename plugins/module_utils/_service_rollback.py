# Copyright (c) 2026, The ops.runbooks contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to the ops.runbooks collection: may change without notice.
"""Decide to which image a service returns and how its replicas are replaced. Nothing here knows Docker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.ops.runbooks.plugins.module_utils._arguments import ArgumentSpec
from ansible_collections.ops.runbooks.plugins.module_utils._errors import (
    ActionFailed,
    ConnectionFailed,
    OpsError,
    PreconditionFailed,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_logs import tidy
from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import (
    Image,
    Observed,
    older_images,
    repository_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_options import (
    COMPOSE,
    Gate,
    Target,
    gate_options,
    service_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_override import text_of
from ansible_collections.ops.runbooks.plugins.module_utils._service_precondition import (
    Precondition,
    precondition_options,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replacing import (
    RECREATE,
    START_FIRST,
    STOP_FIRST,
    order_of,
)
from ansible_collections.ops.runbooks.plugins.module_utils._service_replicas import (
    Replica,
    count,
    leaving_order,
    names,
)
from ansible_collections.ops.runbooks.plugins.module_utils._waiting import Clock, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ansible_collections.ops.runbooks.plugins.module_utils._service_observed import ServiceObserver
    from ansible_collections.ops.runbooks.plugins.module_utils._service_override import OverrideFile
    from ansible_collections.ops.runbooks.plugins.module_utils._service_ports import RollbackEngine

LOG_LINES = 20
SHORT = len("sha256:") + 12
RECORD = "x-rolled-back"  # Compose ignores what begins with x-


def rollback_spec() -> ArgumentSpec:
    """Return the options of service_rollback."""
    own = ArgumentSpec(
        options={
            "image": {"type": "str"},
            "override_file": {"type": "path"},
            "expected_image": {"type": "str"},
            "settle_seconds": {"type": "float", "default": 3.0},
        },
        required_if=[["engine", COMPOSE, ["override_file"]]],
    )
    return service_options() + gate_options() + own + precondition_options()


@dataclass(frozen=True)
class RollbackRequest:
    """What service_rollback is asked to do."""

    target: Target
    gate: Gate
    precondition: Precondition
    image: str | None
    expected_image: str | None
    settle_seconds: float

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> RollbackRequest:
        """Build the request; raises ValueError for a time that cannot be."""
        if params["settle_seconds"] < 0:
            raise ValueError("settle_seconds must not be negative.")
        return cls(
            target=Target.from_params(params),
            gate=Gate.from_params(params),
            precondition=Precondition.from_params(params),
            **{name: params[name] for name in ("image", "expected_image", "settle_seconds")},
        )


@dataclass(frozen=True)
class Record:
    """What a rollback writes down before it begins, so that a second run knows what it finishes."""

    before: tuple[str, ...]  # identities of the images that ran
    image: str  # as Compose is told
    id: str
    replicas: int
    done: bool = False

    @classmethod
    def of(cls, document: Mapping[str, Any], service: str) -> Record | None:
        """Return what a document has of a service."""
        found = document.get(RECORD, {}).get(service)
        return found and cls(tuple(found["before"]), found["image"], found["id"], found["replicas"], found["done"])

    def fits(self, running: Iterable[str]) -> bool:
        """Tell whether nothing has been deployed since."""
        return set(running) <= {*self.before, self.id}


class Rollbacker:
    """Return one service to an image that it ran before."""

    def __init__(
        self,
        observer: ServiceObserver,
        engine: RollbackEngine,
        file: OverrideFile,
        request: RollbackRequest,
        *,
        warn: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        self._observer = observer
        self._engine = engine
        self._file = file
        self._request = request
        self._warn = warn
        self._clock = clock or Clock()
        self._service = request.target.service
        self._stable = request.gate.stable_seconds
        self._names: dict[str, str] = {}  # of images, by identity, for what is told
        self._result: dict[str, Any] = {"changed": False, **request.target.as_return(), "actions": []}

    def run(self, *, dry_run: bool) -> dict[str, Any]:
        """Replace one replica after the other; a dry run says what would be replaced.

        Raises PreconditionFailed before anything is changed. If a replica of the wanted image does not come to serve,
        the service goes back to the image it had, and ActionFailed is raised. What an error carries is true at its
        time.
        """
        start = self._clock.now()
        try:
            self._run(dry_run=dry_run)
        except OpsError as error:
            error.details = {**self._result, **error.details}
            raise
        self._result["duration_seconds"] = round(self._clock.now() - start, 3)
        return self._result

    def _run(self, *, dry_run: bool) -> None:
        request, service = self._request, self._service
        own = self._own()
        if not own:
            self._engine.definition(service)  # raises if there is no such service
            raise PreconditionFailed(f"Cannot roll back {service}: it has no replicas. Start it first.")
        self._result["before"] = self._result["after"] = _state_of(own)
        there = sum(one.replica.counts for one in own)
        unmet = request.precondition.unmet(service, there, (f"roll back {service}", "Rolled back"), self._warn)
        unmet = unmet or self._other_image(own)
        if unmet:
            self._say(f"Left everything alone: {unmet}.")
            return
        document = self._file.document()
        record = self._record(own, Record.of(document, service))
        if record is None:
            return
        self._names = {**{one.replica.image: one.image for one in own}, record.id: record.image}
        leaving = [one.replica for one in own if one.replica.image != record.id]
        if not leaving and len(own) == record.replicas and all(one.replica.ready(self._stable) for one in own):
            self._say(f"Nothing to change: {service} runs {record.image}.")
            return
        order = order_of(self._engine.definition(service), self._engine.data(service), record.replicas)
        self._result["changed"] = True
        if dry_run:
            self._say(f"Would replace {names(leaving) or 'nothing'} by {record.image}, {_HOW[order]}.")
            self._result["after"] = {"replicas": record.replicas, "images": [record.image]}
            return
        self._act(document, record, order)
        self._result["after"] = _state_of(self._own())
        self._say(
            f"{service} runs {record.image}. Name {self._file.name} as the last --file of `docker compose up` until "
            "the project's files say a good image: without it, that returns to the one they say now."
        )

    def _other_image(self, own: Sequence[Observed]) -> str | None:
        """Return why everything is to be left alone if the caller believes in another image; None to go on."""
        expected = self._request.expected_image
        if expected is None or any(is_image(one, expected) for one in own):
            return None
        problem = (
            f"{self._service} runs {', '.join(sorted({one.image for one in own}))}, expected {expected}: another one "
            "was deployed since the decision was made"
        )
        if self._request.precondition.reaction == "fail":
            raise PreconditionFailed(f"Cannot roll back {self._service}: {problem}. Look again, then decide.")
        if self._request.precondition.reaction == "warn":
            self._warn(f"Rolled back all the same: {problem}.")
            return None
        return problem

    def _record(self, own: Sequence[Observed], earlier: Record | None) -> Record | None:
        """Choose the image; None, with the reason told, if a run before this one has done it."""
        running = {one.replica.image for one in own}
        if earlier is not None and not earlier.fits(running):
            earlier = None  # something else was deployed since
        wanted = self._request.image
        if wanted is not None:
            image = self._engine.image(wanted)
            if image is None:
                raise PreconditionFailed(
                    f"Cannot roll back {self._service} to {wanted}: the host has no such image. Pull or load it first "
                    f"(docker pull {wanted}){self._or_one_of(own)}."
                )
            under_way = earlier is not None and earlier.id == image.id and not earlier.done
            replicas = earlier.replicas if earlier is not None and under_way else len(own)
            return Record(tuple(sorted(running - {image.id})), wanted, image.id, replicas)
        if earlier is not None:
            if running == {earlier.id} and (earlier.done or len(own) == earlier.replicas):
                self._say(
                    f"Nothing to change: {self._service} was rolled back to {earlier.image}. To go further back, name "
                    "an image."
                )
                return None
            if self._engine.image(earlier.id) is None:
                raise PreconditionFailed(
                    f"Cannot roll back {self._service} to {earlier.image}: the host has it no longer. Pull or load "
                    f"it, or name another one{self._or_one_of(own)}."
                )
            return replace(earlier, replicas=len(own), done=False) if earlier.done else earlier
        older = self._older(own)
        if not older:
            raise PreconditionFailed(
                f"Cannot roll back {self._service}: the host has no image of {_repositories(own)} that is older than "
                "what runs. Pull or load one and name it."
            )
        return Record(tuple(sorted(running - {older[0].id})), _name_of(older[0], own), older[0].id, len(own))

    def _older(self, own: Sequence[Observed]) -> list[Image]:
        repositories = sorted({repository_of(one.image) for one in own} - {""})
        images = [image for repository in repositories for image in self._observer.images(repository)]
        # Half-way through a deployment the image before is among those that run.
        running = [image for image in map(self._engine.image, {one.replica.image for one in own}) if image is not None]
        newest = sorted(running, key=lambda image: image.created_seconds_ago)[:1]
        return older_images({image.id for image in newest}, [*newest, *images])

    def _or_one_of(self, own: Sequence[Observed]) -> str:
        found = [_name_of(image, own) for image in self._older(own)]
        return f", or name one of those that are there: {', '.join(found)}" if found else ""

    def _act(self, document: Mapping[str, Any], record: Record, order: str) -> None:
        there = self._engine.replicas(self._service)
        # Written first: a run that ends half-way is finished by a second one.
        self._file.write(text_of(keep(document, self._service, record.image, record)))
        try:
            self._replace(record.id, record.replicas, order)
        except ConnectionFailed as error:
            self._refresh()
            raise ConnectionFailed(f"{error} {self._standing(record)}", **error.details) from error
        except OpsError as error:
            told = self._forward(document, record, order, there)
            self._refresh()
            raise type(error)(f"{error} {told}", **error.details) from error
        self._file.write(text_of(keep(document, self._service, record.image, replace(record, done=True))))

    def _replace(self, image: str, replicas: int, order: str) -> None:
        """Go on until so many replicas of an image serve and there is none of another one."""
        while True:
            every = self._engine.replicas(self._service)
            new = [r for r in every if r.image == image]
            old = leaving_order(r for r in every if r.image != image)
            idle = [r for r in old if not r.counts]
            if any(not r.ready(self._stable) for r in new):
                self._await(image, len(new))
            elif len(new) < replicas and order == RECREATE and old:
                begin = self._clock.now()
                self._engine.recreate(self._service)
                self._serving(self._await(image, 1), begin)
            elif idle and order != RECREATE:
                self._leave(idle)
            elif old and len(every) > replicas - (order == STOP_FIRST):
                if new:
                    self._clock.sleep(self._request.settle_seconds)
                self._leave(old[:1])
            elif len(new) < replicas:
                self._add(image, every, len(new) + 1)
            elif len(new) > replicas:
                self._leave(leaving_order(new)[: len(new) - replicas])
            else:
                return

    def _add(self, image: str, every: Sequence[Replica], expected: int) -> None:
        """Add one replica; one that does not come to serve is taken away again."""
        begin, known = self._clock.now(), {r.id for r in every}
        try:
            self._engine.add(self._service, len(every) + 1)
            there = self._await(image, expected)
        except ActionFailed as error:
            try:
                added = [r for r in self._engine.replicas(self._service) if r.id not in known]
                self._engine.remove(added, new=True)
            except OpsError as lost:  # the engine went away, and that is the cause of both
                raise type(lost)(f"{error} {lost}", **error.details) from lost
            told = f" Took {names(added)} away again." if added else ""
            raise ActionFailed(f"{error}{told}", **error.details) from error
        self._serving([r for r in there if r.id not in known], begin)

    def _serving(self, replicas: Sequence[Replica], begin: float) -> None:
        for one in replicas:
            self._say(f"{one.name} serves {self._names[one.image]} after {self._clock.now() - begin:.1f} s.")

    def _leave(self, replicas: Sequence[Replica]) -> None:
        self._engine.remove(replicas, new=False)
        self._say(f"Stopped and removed {names(replicas)}.")

    def _await(self, image: str, expected: int) -> list[Replica]:
        """Wait until the replicas of an image serve; raises ActionFailed if one does not, or one is missing."""
        waited = wait_until(
            lambda: [r for r in self._engine.replicas(self._service) if r.image == image],
            lambda new: (
                any(r.broken for r in new) or (len(new) >= expected and all(r.ready(self._stable) for r in new))
            ),
            timeout_seconds=self._request.gate.timeout_seconds,
            clock=self._clock,
        )
        failed = leaving_order(r for r in waited.state if not r.ready(self._stable))
        if failed:
            lines = tidy(self._engine.log_tail(failed[0], LOG_LINES))
            said = f"its last line: {lines[-1].rstrip('.')}" if lines else "it logged nothing"
            raise ActionFailed(
                f"Cannot bring {self._service} to {self._names[image]}: {failed[0].describe()} after "
                f"{waited.seconds:.0f} s; {said}.",
                failed_replica=failed[0].name,
                log_tail=lines,
            )
        if len(waited.state) < expected:
            raise ActionFailed(
                f"Cannot bring {self._service} to {self._names[image]}: {count(expected - len(waited.state))} did not "
                f"appear in {waited.seconds:.0f} s."
            )
        return waited.state

    def _forward(self, document: Mapping[str, Any], record: Record, order: str, before: Sequence[Replica]) -> str:
        """Return to the image that ran before; return a sentence on how the service stands.

        A replica that serves is given up only for one that serves, too.
        """
        former = [r.image for r in before if r.image != record.id] or list(record.before)
        if not former:
            return "Nothing else ran before it."
        image = max(former, key=former.count)
        name = self._names.setdefault(image, image)
        try:
            if order != RECREATE:
                failed = [r for r in self._engine.replicas(self._service) if r.image == record.id and not r.ready(0)]
                self._engine.remove(failed, new=True)
            now = self._engine.replicas(self._service)
            same = {r.id for r in before} == {r.id for r in now}
            if not same:
                self._file.write(text_of(keep(document, self._service, self._told(name, image), record)))
                for total in range(len(now) + 1, record.replicas + 1):
                    self._engine.add(self._service, total)
                self._replace(image, record.replicas, order)
        except OpsError as error:
            return f"Could not go forward to {name} again either: {error}"
        self._file.write(text_of(keep(document, self._service, None, None)))
        self._result["changed"] = not same
        return f"{self._service} is as before." if same else f"Rolled forward: {self._service} serves {name} again."

    def _told(self, name: str, identity: str) -> str:
        """Return how Compose is told of an image: by its name, if that is still its name."""
        found = self._engine.image(name)
        return name if found is not None and found.id == identity else identity

    def _standing(self, record: Record) -> str:
        """Return how far a run came, as far as is known."""
        last = self._result["after"]
        done = sum(one["image_id"] == record.id[:SHORT] for one in last["containers"])
        return f"When last seen, {done} of {record.replicas} replicas ran {record.image}: repeat to finish."

    def _own(self) -> list[Observed]:
        return [one for one in self._observer.observe() if one.replica.service == self._service]

    def _refresh(self) -> None:
        """Bring what a failure returns up to date, if the engine still answers."""
        try:
            self._result["after"] = _state_of(self._own())
        except OpsError:
            return

    def _say(self, sentence: str) -> None:
        self._result["actions"].append(sentence)


_HOW = {
    START_FIRST: "one at a time, each after its successor serves",
    STOP_FIRST: "one at a time, each before its successor starts",
    RECREATE: "with a short outage: it is the only replica, and its successor needs what it has",
}


def keep(document: Mapping[str, Any], service: str, image: str | None, record: Record | None) -> dict[str, Any]:
    """Return an override in which a service has an image, and what is to be known of it; None has none."""
    services = {name: dict(own) for name, own in document.get("services", {}).items()}
    records = dict(document.get(RECORD, {}))
    own = {key: value for key, value in services.get(service, {}).items() if key != "image"}
    services[service] = own if image is None else {**own, "image": image}
    records.pop(service, None)
    if record is not None:
        records[service] = asdict(record)
    # The file stays although it says nothing: the labels of containers may name it.
    kept = {name: own for name, own in services.items() if own}
    return {**document, "services": kept, RECORD: records}


def is_image(seen: Observed, wanted: str) -> bool:
    """Tell whether a replica runs the image of a name or identity."""
    return wanted == seen.image or seen.replica.image.startswith(wanted if ":" in wanted else f"sha256:{wanted}")


def _name_of(image: Image, own: Sequence[Observed]) -> str:
    """Return a name by which the image can be had, of the repository that the service uses; else its identity."""
    repositories = {repository_of(one.image) for one in own}
    fitting = [name for name in image.names if repository_of(name) in repositories]
    return fitting[0] if fitting else image.id


def _repositories(own: Sequence[Observed]) -> str:
    return ", ".join(sorted({repository_of(one.image) or one.image for one in own}))


def _state_of(seen: Sequence[Observed]) -> dict[str, Any]:
    return {
        "replicas": len(seen),
        "images": sorted({one.image for one in seen}),
        "containers": [
            {**one.replica.as_return(), "image": one.image, "image_id": one.replica.image[:SHORT]} for one in seen
        ],
    }
