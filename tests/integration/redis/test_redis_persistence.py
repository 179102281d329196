"""redis_persistence_repair on a real Redis; what is there afterwards is read by the server and by other tools."""

from __future__ import annotations

import importlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker
import pytest
import redis
from ansible_collections.ops.runbooks.plugins.module_utils import _redis_persistence_places as places
from ansible_collections.ops.runbooks.plugins.module_utils._docker_engine import DockerEngine
from typing_extensions import override

from tests.integration.containers import Container, Containers, wait_for
from tests.integration.redis.conftest import IMAGE, PASSWORD
from tests.unit.plugins.module_utils.redis_files import DataFilesContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.ops.runbooks.plugins.module_utils._redis_persistence_ports import DataFiles

    RunModule = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.integration

repair = importlib.import_module("ansible_collections.ops.runbooks.plugins.modules.redis_persistence_repair").main
INCR = "appendonlydir/appendonly.aof.2.incr.aof"
BASE = "appendonlydir/appendonly.aof.2.base.rdb"
MANIFEST = "appendonlydir/appendonly.aof.manifest"


@dataclass
class Stopped:
    """A Redis in a container with a volume, and a box that sees the same volume."""

    server: Container
    box: Container
    project: str

    @property
    def options(self) -> dict[str, Any]:
        return {"project": self.project, "service": "redis", "allow_data_loss": True}

    @property
    def client(self) -> Any:
        return redis.Redis(host="127.0.0.1", port=self.server.port(6379), password=PASSWORD, decode_responses=True)

    def start(self) -> Any:
        """Start the server and return a client when it has loaded its files."""
        self.server.handle.start()
        client = self.client
        wait_for(client.ping, "Redis serves")
        return client

    def stop(self) -> None:
        self.client.shutdown(nosave=True)
        self.server.handle.stop()

    def refuses_to_start(self) -> bool:
        """Start the server and see it end by itself."""
        self.server.handle.start()
        return int(self.server.handle.wait(timeout=20)["StatusCode"]) != 0

    def shell(self, script: str) -> str:
        return self.box.run("sh", "-c", f"cd /data && {script}")

    def digest(self, path: str) -> str:
        return self.shell(f"sha256sum {path}").split()[0]

    def size(self, path: str) -> int:
        return int(self.shell(f"stat -c %s {path}"))

    def overwrite(self, path: str, offset: int, text: str = "GARBAGE!" * 6) -> None:
        self.shell(f"printf '%s' '{text}' | dd of={path} bs=1 seek={offset} conv=notrunc 2> /dev/null")

    def tree(self) -> str:
        return self.shell("find . -type f ! -path './damaged-*' -exec sha256sum {} + | sort")


def start_redis(containers: Containers, volume: str, project: str, *arguments: str) -> Stopped:
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": "redis",
        "com.docker.compose.oneoff": "False",
    }
    mounts = [docker.types.Mount("/data", volume)]
    server = containers.start(
        IMAGE,
        alias="repair",
        ports=[6379],
        labels=labels,
        environment={"REDIS_PASSWORD": PASSWORD},
        command=["--save", "", *arguments],
        mounts=mounts,
    )
    box = containers.start(IMAGE, alias="box", entrypoint=["sleep", "infinity"], mounts=mounts)
    found = Stopped(server, box, project)
    wait_for(found.client.ping, "Redis serves")
    return found


@pytest.fixture
def made(containers: Containers) -> Iterator[Callable[..., Stopped]]:
    """Give a way to start servers, each with a volume of its own."""
    client = docker.from_env()
    volumes: list[Any] = []
    started: list[Stopped] = []

    def make(*arguments: str) -> Stopped:
        name = f"ops-runbooks-test-{secrets.token_hex(4)}"
        volumes.append(client.volumes.create(name))
        started.append(start_redis(containers, name, name, *arguments))
        return started[-1]

    yield make
    for one in started:
        for container in (one.server, one.box):
            container.handle.remove(force=True, v=True)
            containers.forget(container)
    for volume in volumes:
        volume.remove(force=True)
    client.close()


@pytest.fixture
def parts(made: Callable[..., Stopped]) -> Stopped:
    """Give a stopped server whose append-only file has 200 keys in its base and 100 in the part after it."""
    found = made("--appendonly", "yes", "--appendfsync", "always")
    client = found.client
    client.mset({f"base:{n}": f"value {n} of the base" for n in range(200)})
    client.bgrewriteaof()
    wait_for(lambda: "appendonly.aof.2.base.rdb" in found.shell("ls appendonlydir"), "The AOF is rewritten")
    wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "The rewrite has ended")
    for number in range(100):
        client.set(f"incr:{number}", f"value {number} of the part")
    found.stop()
    return found


def snapshot(made: Callable[..., Stopped], keys: int = 300) -> Stopped:
    """Return a stopped server that keeps an RDB."""
    found = made("--appendonly", "no")
    client = found.client
    client.mset({f"key:{n}": f"value {n}" for n in range(keys)})
    client.expire("key:7", 5000)
    client.save()
    found.stop()
    return found


def test_sound_files_are_left_alone(parts: Stopped, run_module: RunModule) -> None:
    """Check and run change nothing."""
    before = parts.tree()
    for check in (True, False):
        result = run_module(repair, parts.options, check=check)
        assert result["_exit_code"] == 0, result
        assert (result["changed"], result["damaged"], result["aside"]) == (False, False, None)
        assert [one["state"] for one in result["before"]["files"]] == ["sound", "sound"]
    assert parts.tree() == before
    assert "damaged" not in parts.shell("ls")


def test_damage_in_the_middle_of_the_last_part(parts: Stopped, run_module: RunModule) -> None:
    """Check, run, run again: what Redis then has is what came before the damage, and the original is kept."""
    parts.overwrite(INCR, parts.size(INCR) // 2)
    assert parts.refuses_to_start()
    original, before = parts.digest(INCR), parts.tree()

    checked = run_module(repair, parts.options, check=True)
    assert checked["_exit_code"] == 0, checked
    assert checked["changed"]
    assert parts.tree() == before
    assert "damaged" not in parts.shell("ls")

    done = run_module(repair, parts.options)
    assert done["_exit_code"] == 0, done
    assert {key: done[key] for key in ("changed", "lost_bytes", "lost_commands", "lost_commands_exact")} == {
        key: checked[key] for key in ("changed", "lost_bytes", "lost_commands", "lost_commands_exact")
    }
    assert done["lost_bytes"] > 1000
    assert parts.digest(f"{done['aside']}/{INCR}") == original
    assert "All AOF files and manifest are valid" in parts.shell(f"redis-check-aof {MANIFEST}")

    again = run_module(repair, parts.options)
    assert (again["changed"], again["damaged"]) == (False, False), again

    client = parts.start()
    kept = client.dbsize() - 200
    assert 30 < kept < 60
    assert client.get("base:199") == "value 199 of the base"
    assert client.get(f"incr:{kept - 1}") == f"value {kept - 1} of the part"
    assert client.get(f"incr:{kept}") is None
    # One header is destroyed with the command that it began, or lies inside the damage.
    assert abs(100 - kept - done["lost_commands"]) <= 1
    assert done["lost_commands_exact"] is False
    client.set("new", "1")
    parts.stop()
    assert parts.start().get("new") == "1"


def test_a_tail_that_is_cut_short_loses_one_command(parts: Stopped, run_module: RunModule) -> None:
    """The number is certain."""
    parts.shell(f"truncate -s -5 {INCR}")
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 0, result
    assert result["before"]["files"][1]["state"] == "cut_short"
    assert (result["lost_commands"], result["lost_commands_exact"]) == (1, True)
    client = parts.start()
    assert client.dbsize() == 299
    assert client.get("incr:98")


def test_parts_after_the_damage_go_too(parts: Stopped, run_module: RunModule) -> None:
    """Redis' tool refuses to cut a part that is not the last; what comes after is kept aside with it."""
    last = INCR.replace(".2.", ".3.")
    parts.shell(f"cp -p {INCR} {last} && echo 'file {last[14:]} seq 3 type i' >> {MANIFEST}")
    parts.overwrite(INCR, 1500)
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 0, result
    assert parts.shell("ls appendonlydir").split() == [BASE[14:], INCR[14:], MANIFEST[14:]]
    assert parts.size(f"{result['aside']}/{last}") > 4000
    assert result["lost_commands"] > 150
    assert "All AOF files and manifest are valid" in parts.shell(f"redis-check-aof {MANIFEST}")
    assert 200 < parts.start().dbsize() < 250


def test_a_missing_part(parts: Stopped, run_module: RunModule) -> None:
    """What the manifest names and nobody has is no longer named."""
    parts.shell(f"rm {INCR}")
    assert parts.refuses_to_start()
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 0, result
    assert result["lost_commands"] is None
    assert parts.start().dbsize() == 200


def test_a_damaged_base(parts: Stopped, run_module: RunModule) -> None:
    """The whole keys of the base stay; the part after it builds on what is gone."""
    parts.shell(f"truncate -s 2500 {BASE}")
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 0, result
    client = parts.start()
    assert client.dbsize() == 200 - result["lost_keys"] > 50
    assert not client.exists("incr:0")


@pytest.mark.parametrize("manifest", ["", "nonsense", "file ../x seq 1 type i"])
def test_nothing_is_guessed_without_a_manifest(parts: Stopped, run_module: RunModule, manifest: str) -> None:
    """The order of the parts is not made up."""
    parts.shell(f"printf '%s' '{manifest}' > {MANIFEST}")
    before = parts.tree()
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 1
    assert result["refused"] is True
    assert "nothing tells the order of its files" in result["msg"]
    assert parts.tree() == before


def test_a_single_file(made: Callable[..., Stopped], run_module: RunModule) -> None:
    """A file of Redis 6 is cut as well; Redis 8 reads it and goes over to parts."""
    found = made("--appendonly", "no")
    found.stop()
    words = "".join(f"*3\\r\\n$3\\r\\nSET\\r\\n$4\\r\\nk{n:03}\\r\\n$1\\r\\nv\\r\\n" for n in range(50))
    found.shell(f"printf '{words}' > appendonly.aof && rm -f dump.rdb")
    found.overwrite("appendonly.aof", 1000)
    original = found.digest("appendonly.aof")
    result = run_module(repair, found.options)
    assert result["_exit_code"] == 0, result
    assert found.digest(f"{result['aside']}/appendonly.aof") == original
    assert "is valid" in found.shell("redis-check-aof appendonly.aof")
    # The damage hides where one more command began; the number is not called exact.
    assert found.shell("grep -c SET appendonly.aof").strip() == "33"
    assert (result["lost_commands"], result["lost_commands_exact"]) == (50 - 33 - 1, False)


@pytest.mark.parametrize(
    ("harm", "state", "whole"),
    [
        pytest.param("truncate -s 2000 dump.rdb", "cut_short", False, id="cut-short"),
        pytest.param("printf '\\0372\\0372\\0372\\0372' | dd of=dump.rdb bs=1 seek=1500 conv=notrunc", "damaged", False,
                     id="middle"),
        pytest.param("truncate -s -4 dump.rdb && printf 'zzzz' >> dump.rdb", "checksum", True, id="checksum"),
    ],
)  # fmt: skip
def test_a_damaged_rdb(made: Callable[..., Stopped], run_module: RunModule, harm: str, state: str, whole: bool) -> None:
    """Every key that can be read is there, with its value and its expiry; how many are gone is known."""
    found = snapshot(made)
    found.shell(harm)
    assert found.refuses_to_start()
    original = found.digest("dump.rdb")
    checked = run_module(repair, found.options, check=True)
    assert checked["before"]["files"][0]["state"] == state
    done = run_module(repair, found.options)
    assert done["_exit_code"] == 0, done
    assert found.digest(f"{done['aside']}/dump.rdb") == original
    client = found.start()
    assert client.dbsize() == 300 - done["lost_keys"]
    assert done["lost_keys"] == checked["lost_keys"]
    assert whole == (done["lost_keys"] == 0)
    # Four bytes may also change one value, or a name, that can still be read.
    wrong = [key for key in client.keys("key:*") if client.get(key) != f"value {key[4:]}"]
    assert len(wrong) <= (state == "damaged"), wrong
    if client.exists("key:7"):
        assert client.ttl("key:7") > 4000
    assert run_module(repair, found.options)["serving"] is True


def test_loss_must_be_allowed(parts: Stopped, run_module: RunModule) -> None:
    """The refusal says what would be lost."""
    parts.overwrite(INCR, 1000)
    before = parts.tree()
    for check in (True, False):
        result = run_module(repair, {**parts.options, "allow_data_loss": False}, check=check)
        assert result["refused"] is True
        assert (
            f"{result['lost_bytes']} bytes and about {result['lost_commands']} commands would be lost" in result["msg"]
        )
    assert parts.tree() == before


def test_a_server_that_runs_is_left_alone(made: Callable[..., Stopped], run_module: RunModule) -> None:
    """What it holds in memory is better than its files, even damaged ones."""
    found = made("--appendonly", "yes")
    found.client.set("a", "1")
    assert run_module(repair, found.options)["changed"] is False
    found.shell("printf nonsense > dump.rdb")
    result = run_module(repair, found.options)
    assert result["refused"] is True
    assert "BGREWRITEAOF" in result["msg"]
    assert found.client.get("a") == "1"


class Interrupted(places.ContainerFiles):
    """The throw-away container is killed when the first file shall be put in place."""

    @override
    def move(self, path: str, to: str) -> None:
        docker.from_env().containers.get(self._helper or "").kill()
        super().move(path, to)


def test_the_tool_goes_away_in_the_middle(
    parts: Stopped, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damaged original is still in its place, and a second run finishes."""
    parts.overwrite(INCR, 1000)
    before = parts.tree()
    # The process cannot be killed from outside at an exact moment.
    monkeypatch.setattr(places, "ContainerFiles", Interrupted)
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 1
    assert result["changed"] is False
    assert parts.tree() == before
    assert result["aside"] in parts.shell("ls -d /data/damaged-*")
    monkeypatch.undo()
    assert run_module(repair, parts.options)["_exit_code"] == 0
    assert parts.start().dbsize() > 200


def test_a_server_that_starts_again_and_again_is_stopped(parts: Stopped, run_module: RunModule) -> None:
    """The engine does not start it in the middle of a repair."""
    parts.overwrite(INCR, 1000)
    parts.server.handle.update(restart_policy={"Name": "always"})
    parts.server.handle.start()

    def restarts() -> int:
        parts.server.handle.reload()
        return int(parts.server.handle.attrs["RestartCount"])

    wait_for(lambda: restarts() > 1, "The engine tries again")
    result = run_module(repair, parts.options)
    assert result["_exit_code"] == 0, result
    assert any(action.startswith("Stopped ") for action in result["actions"])
    assert parts.start().dbsize() > 200


class TestContainerFiles(DataFilesContract):
    """A volume through a throw-away container keeps the promises of the port."""

    @override
    @pytest.fixture
    def files(self, made: Callable[..., Stopped]) -> Iterator[DataFiles]:
        found = made("--appendonly", "no")
        found.stop()
        found.shell("rm -f /data/*")
        files = places.ContainerFiles(DockerEngine("unix:///var/run/docker.sock"), found.project, "redis", "/data")
        yield files
        files.close()

    @override
    def put(self, files: DataFiles, path: str, content: bytes) -> None:
        assert isinstance(files, places.ContainerFiles)
        octal = "".join(f"\\{byte:03o}" for byte in content)
        code, said = files._run_in_helper(
            ["sh", "-c", f"mkdir -p $(dirname /data/{path}); printf '{octal}' > /data/{path}"]
        )
        assert code == 0, said
