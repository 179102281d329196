"""Make sure that a Docker engine with Compose v2 and Buildx answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.shell import STATE, CommandFailed, LabError, run, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lab.shell import Board

Answer = Literal["yes", "no", "forbidden"]

DISK_BYTES_NEEDED = 6 * 10**9
START_SECONDS = 60
# The two releases that have both Compose v2 and Buildx, and the one that takes them from its successor.
DEBIAN_BORROWS, DEBIAN_OLDEST, UBUNTU_OLDEST = 12, 12, 22
DEBIAN_BORROWS_FROM = "trixie"


@dataclass(frozen=True)
class Machine:
    """What decides how the engine is made to answer."""

    system: str  # ID of os-release: debian, ubuntu, ...
    release: int  # first number of its VERSION_ID
    prefix: tuple[str, ...] | None  # what gives a command root's rights; None: nothing does
    engine: Answer
    installed: bool  # the program dockerd exists
    compose: bool
    buildx: bool
    service_manager: bool


@dataclass(frozen=True)
class Plan:
    """What to do, in this order; all empty: the engine answers and has what the lab needs."""

    packages: tuple[str, ...] = ()
    borrowed: tuple[str, ...] = ()  # packages of Debian's next release
    start: Literal["no", "service", "background"] = "no"


def plan(machine: Machine) -> Plan:
    """Decide what must be installed and started.

    Raises:
        LabError: The machine does not allow it; says what is missing and what to do.
    """
    if machine.engine == "forbidden":
        raise LabError(
            "The Docker engine refuses this user. Run `sudo usermod -aG docker $USER`, log in again and repeat."
        )
    plugins = [*([] if machine.compose else ["compose"]), *([] if machine.buildx else ["buildx"])]
    engine_missing = machine.engine == "no" and not machine.installed
    start: Literal["no", "service", "background"] = "no"
    if machine.engine == "no":
        start = "service" if machine.service_manager else "background"
    missing = [*(["a Docker engine"] if machine.engine == "no" else []), *(f"docker {name}" for name in plugins)]
    if not missing:
        return Plan()
    if machine.prefix is None:
        raise LabError(
            f"This machine lacks {', '.join(missing)}, and this user may not install or start it: "
            "run this command as root or with passwordless sudo, or have it installed, and repeat."
        )
    if not plugins and not engine_missing:
        return Plan(start=start)
    if machine.system == "debian" and machine.release >= DEBIAN_OLDEST:
        borrows = machine.release == DEBIAN_BORROWS
        engine = ("docker.io", "iptables") if borrows else ("docker.io", "docker-cli", "iptables")
        names = tuple(f"docker-{name}" for name in plugins)
        return Plan((engine if engine_missing else ()) + (() if borrows else names), names if borrows else (), start)
    if machine.system == "ubuntu" and machine.release >= UBUNTU_OLDEST:
        names = tuple({"compose": "docker-compose-v2", "buildx": "docker-buildx"}[name] for name in plugins)
        return Plan((("docker.io", "iptables") if engine_missing else ()) + names, (), start)
    raise LabError(
        f"This machine lacks {', '.join(missing)}, and the lab can install it only on Debian {DEBIAN_OLDEST} or "
        f"Ubuntu {UBUNTU_OLDEST}.04 and later: install Docker with Compose v2 and Buildx, and repeat."
    )


def debian_mirror(targets: str, override: str | None = None) -> str:
    """Choose the Debian mirror among lines of "ADDRESS RELEASE" from apt's own configuration.

    Raises:
        LabError: None of them is a plain Debian archive.
    """
    if override:
        return override
    for line in targets.splitlines():
        address, _, release = line.partition(" ")
        plain = not re.search(r"-(security|updates|backports|proposed)", release)
        if plain and re.match(r"https?://\S+/debian/?$", address):
            return address
    raise LabError(
        "No Debian mirror is among this machine's apt sources: set LAB_DEBIAN_MIRROR to the address of one and repeat."
    )


def read_debian_mirror() -> str:
    """Return the mirror that this machine itself uses, or LAB_DEBIAN_MIRROR."""
    override = os.environ.get("LAB_DEBIAN_MIRROR")
    listing = ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE)"]
    return debian_mirror("" if override else run([*listing, "Created-By: Packages"]), override)


def root_prefix() -> tuple[str, ...] | None:
    """Return what to put before a command that needs root's rights, or None if nothing helps."""
    if os.geteuid() == 0:
        return ()
    try:
        run(["sudo", "-n", "true"], timeout=10)
    except CommandFailed:
        return None
    return ("sudo", "-n")


def inspect_machine() -> Machine:
    """Read what decides the plan."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    release = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    engine = _engine_answers()
    return Machine(
        system=release.get("ID", "unknown"),
        release=int("0" + release.get("VERSION_ID", "").partition(".")[0]),
        prefix=root_prefix() if engine != "yes" or not (_works("compose") and _works("buildx")) else (),
        engine=engine,
        installed=shutil.which("dockerd") is not None,
        compose=_works("compose"),
        buildx=_works("buildx"),
        service_manager=Path("/run/systemd/system").exists(),
    )


def _engine_answers() -> Answer:
    try:
        run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=20)
    except CommandFailed as error:
        return "forbidden" if "permission denied" in str(error) else "no"
    return "yes"


def _works(plugin: str) -> bool:
    try:
        run(["docker", plugin, "version"], timeout=20)
    except CommandFailed:
        return False
    return True


def apt_install(packages: Sequence[str], report: Callable[[str], None], prefix: Sequence[str]) -> None:
    """Install distribution packages, or package files, without what they merely recommend."""
    # env: sudo does not hand DEBIAN_FRONTEND on.
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
    log = STATE / "engine.log"
    stream([*apt, "update"], report, log=log)
    stream([*apt, "install", "--no-install-recommends", *packages], report, log=log)


def _borrow(packages: Sequence[str], report: Callable[[str], None], prefix: Sequence[str]) -> None:
    """Install packages of Debian's next release; no source, pin or list of it stays behind."""
    with tempfile.TemporaryDirectory(prefix="runbooks-lab-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # apt reads as its own user
        (folder / "lists" / "partial").mkdir(parents=True)
        source = folder / "sources.list"
        key = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
        source.write_text(f"deb [{key}] {read_debian_mirror()} {DEBIAN_BORROWS_FROM} main\n")
        settings = {
            "Dir::Etc::SourceList": str(source),
            "Dir::Etc::SourceParts": "-",
            "Dir::Etc::PreferencesParts": "-",
            "Dir::State::Lists": str(folder / "lists"),
            "Dir::Cache::PkgCache": "",
            "Dir::Cache::SrcPkgCache": "",
            "APT::Sandbox::User": "root",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        log = STATE / "engine.log"
        stream(["apt-get", "-qq", *options, "update"], report, log=log)
        chosen = [f"{name}/{DEBIAN_BORROWS_FROM}" for name in packages]
        stream(["env", "-C", place, "apt-get", "-qq", *options, "download", *chosen], report, log=log)
        apt_install([str(path) for path in sorted(folder.glob("*.deb"))], report, prefix)


def _start(how: str, prefix: Sequence[str]) -> None:
    """Start the engine and wait until it answers."""
    log = STATE / "dockerd.log"
    if how == "service":
        run([*prefix, "systemctl", "start", "docker"], timeout=START_SECONDS)
    else:
        # Its own session, so that it outlives this program; its own group may use it, as no login comes in between.
        group = ["--group", str(os.getgid())] if prefix else []
        with log.open("a") as output:
            subprocess.Popen(  # noqa: S603 - a fixed program, never a shell
                [*prefix, "dockerd", *group], stdout=output, stderr=output, start_new_session=True
            )
    deadline = time.monotonic() + START_SECONDS
    while (answer := _engine_answers()) == "no":
        if time.monotonic() > deadline:
            where = "`journalctl -u docker`" if how == "service" else str(log)
            raise LabError(f"The Docker engine was started but does not answer after {START_SECONDS} s: see {where}.")
        time.sleep(0.5)
    if answer == "forbidden":
        plan(Machine("", 0, (), "forbidden", installed=True, compose=True, buildx=True, service_manager=True))


def ensure_engine(board: Board) -> None:
    """Leave with an engine that answers and has Compose v2 and Buildx.

    Raises:
        LabError: It cannot be had here; says what is missing and what to do.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    machine = inspect_machine()
    todo = plan(machine)
    prefix = machine.prefix or ()
    if todo.packages:
        with board.step(f"Install {', '.join(todo.packages)}") as report:
            apt_install(todo.packages, report, prefix)
    if todo.borrowed:
        with board.step(f"Install {', '.join(todo.borrowed)} of Debian {DEBIAN_BORROWS_FROM}") as report:
            _borrow(todo.borrowed, report, prefix)
    if todo.start != "no":
        with board.step("Start the Docker engine"):
            _start("no" if _engine_answers() == "yes" else todo.start, prefix)


def require_engine() -> None:
    """Make sure that an engine answers, without installing or starting one.

    Raises:
        LabError: None does.
    """
    if _engine_answers() != "yes":
        raise LabError("No Docker engine answers on this machine: `python -m lab up` makes sure that one does.")


def check_disk(needed: int = DISK_BYTES_NEEDED) -> None:
    """Refuse to fill the disk that holds the images.

    Raises:
        LabError: Less than ``needed`` bytes are free.
    """
    folder = Path(run(["docker", "info", "--format", "{{.DockerRootDir}}"]).strip())
    if not folder.exists():  # the engine is on another machine, or the folder is closed to this user
        return
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LabError(
            f"The images need {needed / 10**9:.0f} GB and {folder} has {free / 10**9:.1f} GB free: "
            "free some space (`docker system df` shows what Docker uses) and repeat."
        )
