"""Build the lab's images from distribution packages, on bases that are pulled or bootstrapped."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lab import keycloak
from lab.engine import apt_install, check_disk, read_debian_mirror, root_prefix
from lab.shell import ROOT, STATE, CommandFailed, LabError, run, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lab.shell import Board

PREFIX = "runbooks-lab/"
PULL_SECONDS = 20
DOCKERFILE = "lab/images/Dockerfile"
BUILT = STATE / "images.json"
CONTEXT = (
    "lab/images",
    "lab/backend",
    "lab/loadgen.py",
    "integrations/sqlalchemy_pool",
)  # what Dockerfile.dockerignore lets in

# Image -> target of the Dockerfile. The tag is the version of the packaged program.
TARGETS = {
    "postgres:17": "postgres-17",
    "postgres:15": "postgres-15",
    "redis:8": "redis",
    "pgbouncer:1.24": "pgbouncer",
    "prometheus:2.53": "prometheus",
    "alertmanager:0.28": "alertmanager",
    "postgres-exporter:0.17": "postgres-exporter",
    "redis-exporter:1.69": "redis-exporter",
    "blackbox-exporter:0.26": "blackbox-exporter",
    "haproxy:3.0": "haproxy",
    "keycloak:26.7": "keycloak",
    "backend:lab": "backend",
    "loadgen:lab": "loadgen",
}
BASES = {"base:trixie": "trixie", "base:bookworm": "bookworm"}
ON_BOOKWORM = {"postgres:15"}
KEYCLOAK = "keycloak:26.7"


def base_of(image: str) -> str:
    """Return the base that an image stands on; a base stands on itself."""
    return image if image in BASES else f"base:{'bookworm' if image in ON_BOOKWORM else 'trixie'}"


def choose(names: Sequence[str]) -> list[str]:
    """Return the images meant, all of them if none is named.

    Raises:
        LabError: A name is not one of the lab's images.
    """
    known = [*BASES, *TARGETS]
    chosen = [name.removeprefix(PREFIX) for name in names] or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise LabError(f"The lab has no image {', '.join(unknown)}. It has: {', '.join(known)}.")
    return chosen


def fingerprint(files: Sequence[tuple[str, bytes]], base: str) -> str:
    """Name the inputs of a build: equal names mean that building again would change nothing."""
    digest = hashlib.sha256(base.encode())
    for name, content in sorted(files):
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def read_context() -> list[tuple[str, bytes]]:
    """Read every file that a build may use."""
    return [
        (str(path.relative_to(ROOT)), path.read_bytes())
        for name in CONTEXT
        for path in [ROOT / name, *(ROOT / name).rglob("*")]
        if path.is_file() and "__pycache__" not in path.parts
    ]


def ensure_images(board: Board, names: Sequence[str] = ()) -> None:
    """Build what is missing or older than its inputs."""
    chosen = choose(names)
    bases = sorted({base_of(name) for name in chosen}, reverse=True)
    present = image_ids()
    missing = [base for base in bases if base not in present]
    if missing:
        check_disk()
        if KEYCLOAK in chosen:
            keycloak.ensure_maven(board)
        # The distribution comes in while the bases are made.
        with ThreadPoolExecutor() as pool:
            fetched = pool.submit(keycloak.ensure_distribution, board) if KEYCLOAK in chosen else None
            ready_to_bootstrap = _pull(board, missing)
            if ready_to_bootstrap:
                _bootstrap(board, ready_to_bootstrap)
            if fetched:
                fetched.result()
    targets = [name for name in chosen if name in TARGETS]
    identities = image_ids()
    files = [*read_context(), (keycloak.ARTIFACT, keycloak.SHA256.encode())]
    # What was built from what is kept beside the images, not in a label: a label would make every image a new one,
    # and so recreate every container, whenever the inputs of one of them change.
    wanted = {name: fingerprint(files, identities[base_of(name)]) for name in targets}
    built = _read_built()
    stale = [name for name in targets if built.get(name) != [wanted[name], identities.get(name)]]
    if stale:
        check_disk()
        if KEYCLOAK in stale:
            keycloak.ensure_distribution(board)
        _build(board, stale)
        identities = image_ids()
        _write_built(built | {name: [wanted[name], identities[name]] for name in stale})


def image_ids() -> dict[str, str]:
    """Return the identity of each of the lab's images that exists."""
    listing = ["docker", "image", "ls", "--no-trunc", "--filter", f"reference={PREFIX}*"]
    lines = run([*listing, "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).splitlines()
    return {name.removeprefix(PREFIX): identity for name, identity in map(str.split, lines)}


def _read_built() -> dict[str, list[str]]:
    try:
        built: dict[str, list[str]] = json.loads(BUILT.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return built


def _write_built(built: dict[str, list[str]]) -> None:
    BUILT.write_text(json.dumps(built, indent=1))


def _pull(board: Board, bases: Sequence[str]) -> list[str]:
    """Pull the bases from an image registry; return those that it did not give in time."""

    def pull(base: str) -> bool:
        source = f"debian:{BASES[base]}-slim"
        try:
            run(["docker", "pull", "--quiet", source], timeout=PULL_SECONDS)
            run(["docker", "tag", source, PREFIX + base])
        except CommandFailed:
            return False
        return True

    with board.step(f"Ask an image registry for {', '.join(bases)}"), ThreadPoolExecutor() as pool:
        pulled = list(pool.map(pull, bases))
    return [base for base, done in zip(bases, pulled, strict=True) if not done]


def _bootstrap(board: Board, bases: Sequence[str]) -> None:
    """Make the bases from the mirror that this machine itself installs from."""
    prefix = root_prefix()
    if prefix is None:
        raise LabError(
            "No image registry answers, and bootstrapping a base image needs root: run this as root or with "
            f"passwordless sudo, or tag a Debian image as {PREFIX}{bases[0]}, and repeat."
        )
    if shutil.which("debootstrap") is None:
        with board.step("Install debootstrap") as report:
            apt_install(["debootstrap", "debian-archive-keyring"], report, prefix)
    mirror = read_debian_mirror()

    def bootstrap(base: str) -> None:
        with board.step(f"Bootstrap {base} (no image registry answers)") as report:
            _debootstrap(base, mirror, prefix, report)

    with ThreadPoolExecutor() as pool:
        list(pool.map(bootstrap, bases))


def _debootstrap(base: str, mirror: str, prefix: Sequence[str], report: Callable[[str], None]) -> None:
    log = STATE / f"bootstrap-{BASES[base]}.log"
    place = tempfile.mkdtemp(prefix="runbooks-lab-")
    try:
        stream([*prefix, "debootstrap", "--variant=minbase", BASES[base], place, mirror], report, log=log)
        report("Import")
        _import(base, place, prefix, log)
    finally:
        # One file system only: an interrupted bootstrap may have left /proc mounted inside.
        run([*prefix, "rm", "-rf", "--one-file-system", place])


def _import(base: str, place: str, prefix: Sequence[str], log: Path) -> None:
    left_out = ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "usr/share/doc/*", "usr/share/man/*")
    archive = [*prefix, "tar", "-C", place, *(f"--exclude=./{path}" for path in left_out), "-c", "."]
    load = ["docker", "import", "--change", 'CMD ["bash"]', "-", PREFIX + base]
    with (
        log.open("a") as written,
        subprocess.Popen(archive, stdout=subprocess.PIPE, stderr=written) as tar,  # noqa: S603 - no shell
    ):
        done = subprocess.run(load, stdin=tar.stdout, stdout=written, stderr=written, check=False)  # noqa: S603 - no shell
    if done.returncode or tar.returncode:
        raise LabError(f"Cannot import {PREFIX}{base}: see {log}.")


def _build(board: Board, stale: Sequence[str]) -> None:
    """Build all targets at once; BuildKit keeps what has not changed."""
    targets = {
        TARGETS[name]: {
            "context": str(ROOT),
            "dockerfile": str(ROOT / DOCKERFILE),
            "target": TARGETS[name],
            "tags": [PREFIX + name],
        }
        for name in stale
    }
    bake = STATE / "bake.json"
    bake.write_text(json.dumps({"target": targets}))
    with board.step(f"Build {len(targets)} image{'s' * (len(targets) > 1)}: {', '.join(stale)}") as report:
        command = ["docker", "buildx", "bake", "--progress=plain", "--file", str(bake), *targets]
        stream(command, report, log=STATE / "build.log")
