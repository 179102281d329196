"""How long redis_evict takes for a million keys, beside a bare client, and what another client feels meanwhile.

Run `python -m benchmarks.redis_evict`. Every way removes the same keys from the same server, in turns. The bare client
sends SCAN and UNLINK in one pipeline and does nothing else. The shell is `redis-cli --scan | xargs redis-cli unlink`
inside the container, as people write it, and once more with the sizes of steps that suit it. Our time is that of the
module's function, without the start of Ansible.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import typer
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

from lab.engine import ensure_engine
from lab.images import ensure_images
from lab.shell import Board
from tests.integration.containers import Container, open_containers, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "redis:8"
LIMIT = 1.3
FILTER_LIMIT = 2.0
BOTH = "minimum_idle_seconds and ttl"
WAIT_LIMIT, WAIT_FLOOR_MS = 5, 10
COUNT = 1000
SHELL = "redis-cli --scan --pattern 'key:*' | xargs redis-cli unlink > /dev/null"
TUNED_SHELL = "redis-cli --scan --pattern 'key:*' --count 1000 | xargs -n 1000 redis-cli unlink > /dev/null"
READER = """
import select, sys, time, redis
client = redis.Redis(host="127.0.0.1", port=int(sys.argv[1]))
client.set("read", "x")
print("ready", flush=True)
waits = []
while not select.select([sys.stdin], [], [], 0.0005)[0]:
    begin = time.perf_counter()
    client.get("read")
    waits.append((time.perf_counter() - begin) * 1000)
print(sorted(waits)[int(len(waits) * 0.99)])
"""
FILTERS: dict[str, dict[str, Any]] = {
    "minimum_idle_seconds": {"minimum_idle_seconds": 0.0},
    "ttl": {"ttl": "without"},
    BOTH: {"minimum_idle_seconds": 0.0, "ttl": "without"},
    "minimum_bytes": {"minimum_bytes": 1},
    "protect": {"protect": ["other:*"]},
}


@dataclass(frozen=True)
class Measured:
    """Medians in seconds; waits of another client in milliseconds."""

    keys: int
    bare: float
    shell: float
    tuned_shell: float
    module: float
    filters: dict[str, float]
    largest_first: float
    quiet_p99: float
    bare_p99: float
    module_p99: float
    slice_p50: float
    slice_p99: float
    info: float
    memory_tenth: float
    memory: float

    @property
    def ratio(self) -> float:
        """What the module takes against the bare client."""
        return self.module / self.bare

    @property
    def filter_ratio(self) -> float:
        """What filters for idle time and expiry cost against the pattern alone."""
        return self.filters[BOTH] / self.module

    @property
    def wait_limit_ms(self) -> float:
        """How long another client may wait beside the module."""
        return max(WAIT_LIMIT * self.quiet_p99, WAIT_FLOOR_MS)

    def table(self) -> str:
        """Return the numbers as a table in Markdown."""
        rows = [
            (f"bare client: pipelined SCAN and UNLINK of {self.keys} keys", f"{self.bare:.2f} s"),
            ("redis-cli --scan, xargs, redis-cli unlink", f"{self.shell:.2f} s"),
            (f"the same, {COUNT} keys in a step", f"{self.tuned_shell:.2f} s"),
            ("the module, a pattern only", f"{self.module:.2f} s"),
            *((f"the module, and {name}", f"{seconds:.2f} s") for name, seconds in self.filters.items()),
            ("the module, order size, half of the keys", f"{self.largest_first:.2f} s"),
            (f"module / bare client, at most {LIMIT}", f"{self.ratio:.2f}"),
            ("redis-cli / the module", f"{self.shell / self.module:.2f}"),
            (f"redis-cli, {COUNT} keys in a step / the module", f"{self.tuned_shell / self.module:.2f}"),
            (f"filters of idle time and expiry / a pattern only, at most {FILTER_LIMIT:g}", f"{self.filter_ratio:.2f}"),
            ("another client's GET, nothing else runs, p99", f"{self.quiet_p99:.2f} ms"),
            ("another client's GET beside the bare client, p99", f"{self.bare_p99:.2f} ms"),
            (
                f"another client's GET beside the module, p99, at most {self.wait_limit_ms:.0f} ms",
                f"{self.module_p99:.2f} ms",
            ),
            ("a slice inside the server, p50", f"{self.slice_p50:.2f} ms"),
            ("a slice inside the server, p99", f"{self.slice_p99:.2f} ms"),
            (f"memory of the module at {self.keys // 10} keys, peak", f"{self.memory_tenth:.0f} KiB"),
            (f"memory of the module at {self.keys} keys, peak", f"{self.memory:.0f} KiB"),
            (f"redis_memory_info on {self.keys} keys, at most 2 s", f"{self.info:.2f} s"),
        ]
        return "\n".join(["| | Median |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


@dataclass(frozen=True)
class Bench:
    """One server and the ways to empty it."""

    container: Container
    keys: int

    @property
    def port(self) -> int:
        """Return the loopback port of the server."""
        return self.container.port(6379)

    def fill(self, client: Any) -> None:
        """Store keys of 100 bytes."""
        client.flushall()
        client.execute_command("DEBUG", "POPULATE", self.keys, "key", 100)

    def timed(self, client: Any, empty: Callable[[Any], None], *, left: int = 0) -> float:
        """Fill the server, have it emptied, and return the seconds."""
        self.fill(client)
        begin = time.perf_counter()
        empty(client)
        seconds = time.perf_counter() - begin
        if client.dbsize() != left:
            raise RuntimeError(f"{client.dbsize()} keys are left, expected {left}.")
        return seconds

    def shell(self, command: str) -> Callable[[Any], None]:
        """Return what lets redis-cli do it."""

        def work(_client: Any) -> None:
            self.container.run("sh", "-c", command)

        return work

    def module(self, **options: Any) -> Callable[[Any], None]:
        """Return the module's work with these options."""

        def work(_client: Any) -> None:
            by_module(self.port, options)

        return work

    def memory(self, client: Any, keys: int) -> float:
        """Return the peak of what the module's work allocates in this process for so many keys, in KiB."""
        client.flushall()
        client.execute_command("DEBUG", "POPULATE", keys, "key", 100)
        tracemalloc.start()
        try:
            self.module()(client)
            return tracemalloc.get_traced_memory()[1] / 1024
        finally:
            tracemalloc.stop()

    def info(self, client: Any) -> float:
        """Return the seconds in which redis_memory_info looks at a full server."""
        self.fill(client)
        begin = time.perf_counter()
        look(self.port)
        return time.perf_counter() - begin


def bare(client: Any) -> None:
    """Send UNLINK of one step together with the SCAN of the next."""
    cursor, keys = client.scan(0, match="key:*", count=COUNT)
    while True:
        pipe = client.pipeline(transaction=False)
        if keys:
            pipe.unlink(*keys)
        if cursor:
            pipe.scan(cursor, match="key:*", count=COUNT)
        answers = pipe.execute()
        if not cursor:
            return
        cursor, keys = answers[-1]


@contextmanager
def nodes_of(port: int) -> Iterator[Any]:
    """Connect as the modules do; what they are made of can be imported meanwhile."""
    if not any(isinstance(finder, _AnsibleCollectionFinder) for finder in sys.meta_path):
        _AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()  # noqa: SLF001 - as in tests/conftest.py
    from ansible_collections.ops.runbooks.plugins.module_utils import (  # noqa: PLC0415 - found by the line above
        _redis_adapter,
        _redis_node,
        _redis_options,
    )

    connections = _redis_adapter.connect(_redis_options.Login("127.0.0.1", port))
    try:
        yield [_redis_node.RedisNode(one) for one in connections]
    finally:
        for connection in connections:
            connection.close()


def by_module(port: int, options: dict[str, Any]) -> None:
    """Run the work of redis_evict in this process."""
    with nodes_of(port) as nodes:
        from ansible_collections.ops.runbooks.plugins.module_utils import (  # noqa: PLC0415 - found by now
            _redis_evict,
        )

        request = _redis_evict.EvictRequest.from_params(
            {**defaults_of(_redis_evict.evict_spec()), "patterns": ["key:*"], **options}
        )
        _redis_evict.evict(nodes, request, instance="bench", dry_run=False)


def look(port: int) -> None:
    """Run the work of redis_memory_info in this process."""
    with nodes_of(port) as nodes:
        from ansible_collections.ops.runbooks.plugins.module_utils import (  # noqa: PLC0415 - found by now
            _redis_memory,
        )

        request = _redis_memory.InfoRequest.from_params(defaults_of(_redis_memory.info_spec()))
        _redis_memory.read_info(nodes, request, instance="bench")


def defaults_of(spec: Any) -> dict[str, Any]:
    """Return the options of a module that nobody sets."""
    return {name: option.get("default") for name, option in spec.options.items()}


class AnotherClient:
    """A process that reads one key all the time, so that it shares no interpreter with the client that evicts."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("The other client did not start.")

    def p99(self) -> float:
        """Stop it, and return the wait in milliseconds that one of a hundred exceeds."""
        printed, _nothing = self._process.communicate("\n", timeout=60)
        return float(printed)


def measure(keys: int, rounds: int) -> Measured:
    """Measure every way in turns on one server."""
    with Board() as board:
        ensure_engine(board)
        ensure_images(board, [IMAGE])
    taken: dict[str, list[float]] = {}
    with open_containers() as containers:
        container = containers.start(
            f"runbooks-lab/{IMAGE}",
            alias="bench",
            ports=[6379],
            command=["--save", "", "--enable-debug-command", "yes"],
        )
        bench = Bench(container, keys)
        client: Any = redis.Redis(host="127.0.0.1", port=bench.port, protocol=2)
        wait_for(client.ping, "Redis serves")
        for _round in range(rounds):
            ways: dict[str, Callable[[Any], None]] = {
                "bare": bare,
                "module": bench.module(),
                "shell": bench.shell(SHELL),
                "tuned_shell": bench.shell(TUNED_SHELL),
                **{name: bench.module(**options) for name, options in FILTERS.items()},
            }
            for name, way in ways.items():
                client.config_resetstat()
                taken.setdefault(name, []).append(bench.timed(client, way))
                if name == "module":
                    stats = client.info("latencystats")["latency_percentiles_usec_evalsha"]
                    taken.setdefault("slice_p50", []).append(stats["p50"] / 1000)
                    taken.setdefault("slice_p99", []).append(stats["p99"] / 1000)
            taken.setdefault("info", []).append(bench.info(client))
            for name, number in (("memory_tenth", keys // 10), ("memory", keys)):
                taken.setdefault(name, []).append(bench.memory(client, number))
            half = bench.module(order="size", max_keys=keys // 2)
            taken.setdefault("half", []).append(bench.timed(client, half, left=keys - keys // 2))
            bench.fill(client)
            reader = AnotherClient(bench.port)
            time.sleep(1)
            taken.setdefault("quiet_p99", []).append(reader.p99())
            for name in ("bare", "module"):
                bench.fill(client)
                reader = AnotherClient(bench.port)
                ways[name](client)
                taken.setdefault(f"{name}_p99", []).append(reader.p99())
        client.close()
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return Measured(
        keys=keys,
        bare=medians["bare"],
        shell=medians["shell"],
        tuned_shell=medians["tuned_shell"],
        module=medians["module"],
        filters={name: medians[name] for name in FILTERS},
        largest_first=medians["half"],
        quiet_p99=medians["quiet_p99"],
        bare_p99=medians["bare_p99"],
        module_p99=medians["module_p99"],
        slice_p50=medians["slice_p50"],
        slice_p99=medians["slice_p99"],
        info=medians["info"],
        memory_tenth=medians["memory_tenth"],
        memory=medians["memory"],
    )


def main(keys: int = 1_000_000, rounds: int = 3) -> None:
    """Measure and print; fails above the limit."""
    measured = measure(keys, rounds)
    typer.echo(measured.table())
    raise typer.Exit(code=int(measured.ratio > LIMIT))


if __name__ == "__main__":
    typer.run(main)
