# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has imported Ansible once and forks itself for each run: ``python -P -m alert_responder.run_warm``.

Standard input is the responder's socket; when its other end closes, this process ends. It never runs a playbook itself,
so that no run finds anything of another. What a fork does is what run_one and ansible-playbook do; this rests on
private interfaces of ansible-core, and where they are not as expected, the process ends and says why.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from multiprocessing.synchronize import SemLock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
from ansible_runner.config.runner import RunnerConfig

from alert_responder import run_one
from alert_responder.processes import GO, MARK, NO_RUN, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Literal, NoReturn, TextIO

PROGRAM = "ansible-playbook"
# What differs from run to run in the environment of ansible-playbook; the rest must be as it was when it was imported.
_OF_THE_RUN = (MARK, "TMPDIR", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_CACHE_PLUGIN_CONNECTION", "AWX_ISOLATED_DATA_DIR")
# The settings that Ansible reads from it at import.
_SETTINGS_OF_THE_RUN = ("DEFAULT_LOCAL_TMP", "CACHE_PLUGIN_CONNECTION")
# What a run imports late.
_LATE = (
    "ansible.executor.process.worker",
    "ansible.playbook.handler_task_include",
    "ansible.playbook.role_include",
    "ansible.plugins.callback.minimal",
    "ansible.plugins.doc_fragments",
    "multiprocessing.popen_fork",
    "multiprocessing.shared_memory",
    "pty",
    "xml.dom.minidom",
)
_LONGEST_JOB = 65536
_ENV_START, _ENV_END = 47, 48  # of /proc/self/stat, after the name of the program
Stamp = tuple[int, int, int] | None


def main() -> None:
    """Import, then fork for every job that comes, until the responder is gone or an imported file has changed."""
    control = socket.socket(fileno=os.dup(0))
    _replace(0, os.open(os.devnull, os.O_RDONLY))
    environment = dict(os.environ)
    watched = _stamp(_configuration_files())
    warm = Warm(environment, _environment_of_ansible())
    sys.path.insert(0, str(Path(sys.executable).parent))
    _import_ansible()
    _expect_nothing_shared({0, 1, 2, control.fileno()})
    watched |= _stamp(_imported_files())
    gc.collect()
    gc.freeze()
    Forks(control, warm, watched).serve()


def _environment_of_ansible() -> dict[str, str]:
    """Return what ansible-runner would give to ansible-playbook, and take it over before Ansible is imported."""
    configuration = RunnerConfig(os.environ["TMPDIR"], project_dir=str(Path.cwd()), playbook="none.yml")
    configuration.prepare()
    os.environ.clear()
    os.environ.update(configuration.env)
    program = shutil.which(PROGRAM)
    if program is None or Path(program).parent != Path(sys.executable).parent:
        raise SystemExit(f"{PROGRAM} is {program}, expected one beside {sys.executable}")
    return dict(os.environ)


def _import_ansible() -> None:
    """Import what every run needs, and load the plugins of ansible-core; what a collection holds is left to the run."""
    importlib.import_module("ansible.cli.playbook")
    for name in _LATE:
        importlib.import_module(name)
    constants = importlib.import_module("ansible.constants")
    loader = importlib.import_module("ansible.plugins.loader")
    loader.init_plugin_loader()
    importlib.import_module("ansible_collections.ansible.builtin")
    for plugins in (loader.connection_loader, loader.shell_loader, loader.become_loader, loader.vars_loader):
        list(plugins.all(class_only=True))
    for plugins in (loader.filter_loader, loader.test_loader):
        list(plugins.all())
    # Without that of ansible-runner, which makes a lock between processes when it is imported.
    places, loader.callback_loader.config = loader.callback_loader.config, []
    list(loader.callback_loader.all(class_only=True))
    loader.callback_loader.config = places
    # Of the folders, not of what was loaded from them.
    loader.callback_loader._clear_caches()  # noqa: SLF001 -- the loader has no public way to look at its folders again
    actions = Path(importlib.import_module("ansible.plugins.action").__path__[0])
    wanted = {
        loader.inventory_loader: constants.INVENTORY_ENABLED,
        loader.strategy_loader: [constants.DEFAULT_STRATEGY],
        loader.cache_loader: [constants.CACHE_PLUGIN],
        loader.callback_loader: ["ansible.builtin.default"],
        loader.action_loader: [f"ansible.builtin.{file.stem}" for file in sorted(actions.glob("[a-z]*.py"))],
    }
    for plugins, names in wanted.items():
        for name in names:
            plugins.get(name, class_only=True)
    _know_module_utils()
    # The folder that it would remove is this process's, not a run's.
    atexit.unregister(importlib.import_module("ansible.utils.path").cleanup_tmp_file)


def _know_module_utils() -> None:
    """Parse what nearly every module carries to the target: finding out what that imports is most of its packing.

    Known by its text, so that whatever is found in a file at the time of a run is right. Only the imports are kept.
    """
    common = vars(importlib.import_module("ansible.executor.module_common"))
    parse = common["_compile_module_ast"]
    known: dict[bytes, ast.Module] = {}
    for file in Path(importlib.import_module("ansible.module_utils").__path__[0]).rglob("*.py"):
        text = file.read_bytes()
        known[text] = _imports(ast.parse(text))

    def parse_unknown(name: str, text: str | bytes) -> Any:
        found = known.get(bytes(text)) if isinstance(text, bytes) and name.startswith("ansible.module_utils.") else None
        return found or parse(name, text)

    common["_compile_module_ast"] = parse_unknown


def _imports(tree: ast.Module) -> ast.Module:
    """Keep the imports, those below the top apart: Ansible takes them for optional."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    top = [node for node in tree.body if node in imports]
    deep: list[ast.stmt] = [node for node in imports if node not in top]
    return ast.Module([*top, ast.If(ast.Constant(value=True), deep, [])], [])


def _expect_nothing_shared(known: set[int]) -> None:
    """A lock between processes would be shared by all runs, and so would an open file, such as that of log_path."""
    if any(isinstance(one, SemLock) for one in gc.get_objects()):
        raise SystemExit("this ansible-core makes a lock between processes when it is imported")
    opened = {int(one.name) for one in Path("/proc/self/fd").iterdir()}
    for number in opened - known:
        with contextlib.suppress(OSError):
            raise SystemExit(f"Ansible has opened {Path(f'/proc/self/fd/{number}').readlink()}; is log_path set?")


def _configuration_files() -> list[Path]:
    files = [Path("ansible.cfg").absolute(), Path("~/.ansible.cfg").expanduser(), Path("/etc/ansible/ansible.cfg")]
    given = os.environ.get("ANSIBLE_CONFIG")
    return [*files, Path(given)] if given else files


def _imported_files() -> list[Path]:
    """Return everything whose change this process would not see: code, plugin folders, places of collections."""
    files = [Path(str(file)) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    constants = importlib.import_module("ansible.constants")
    config = Path(str(constants.__file__)).parent / "config"
    files += [config / "base.yml", config / "ansible_builtin_runtime.yml"]
    for _, plugins in importlib.import_module("ansible.plugins.loader").get_all_plugin_loaders():
        paths = plugins._paths or []  # noqa: SLF001 -- in public there is only print_paths, a text for people
        files += map(Path, [*(plugins.config or []), *(one.path for one in paths)])
    return files + [Path(place) / "ansible_collections" for place in (*constants.COLLECTIONS_PATHS, *sys.path)]


def _stamp(files: Iterable[Path]) -> dict[Path, Stamp]:
    stamps: dict[Path, Stamp] = {}
    for file in files:
        try:
            found = file.stat()
            stamps[file] = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            stamps[file] = None
    return stamps


@dataclass
class Forks:
    """Takes jobs, forks for each, and passes on how each fork ended."""

    control: socket.socket
    warm: Warm
    watched: dict[Path, Stamp]

    def serve(self) -> None:
        """Serve until the responder is gone, or another process has to be imported."""
        connections: dict[int, tuple[int, socket.socket]] = {}
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number != self.control.fileno():
                    poll.unregister(number)
                    _pass_on(number, *connections.pop(number))
                    continue
                message, descriptors, _, _ = socket.recv_fds(self.control, _LONGEST_JOB, 1)
                if not message or _stamp(self.watched) != self.watched:
                    return
                with socket.socket(fileno=descriptors[0]) as connection:
                    if _hung_up(connection):
                        continue
                    pid = os.fork()
                    if not pid:
                        self.control.detach()
                        self.warm.run(json.loads(message), connection.detach())
                    end = os.pidfd_open(pid)
                    connections[end] = (pid, connection.dup())
                    poll.register(end, select.POLLIN)


def _pass_on(end: int, pid: int, connection: socket.socket) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(end)
    with connection, contextlib.suppress(OSError):
        connection.send(str(code).encode())


def _hung_up(connection: socket.socket) -> bool:
    """Tell whether the responder has given up the run before it began."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


@dataclass
class Warm:
    """What was imported, and in which environment; a fork becomes the process of a run, and then ansible-playbook."""

    environment: dict[str, str]
    of_ansible: dict[str, str]

    def run(self, job: Mapping[str, str], connection: int) -> NoReturn:
        """Be what `python -m alert_responder.run_one FOLDER` is; only called in a fork."""
        _leave_after(lambda: self._run(job, connection))

    def _run(self, job: Mapping[str, str], connection: int) -> None:
        folder = Path(job["folder"])
        os.setsid()
        _carry_mark(job["run"])
        errors = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for place, number in enumerate((connection, os.open(os.devnull, os.O_WRONLY), errors)):
            os.dup2(number, place)
        temporary = str(folder / "tmp")
        _begin_anew(
            {**self.environment, MARK: job["run"], "TMPDIR": temporary, "ANSIBLE_LOCAL_TEMP": temporary},
            [run_one.__file__, str(folder)],
        )
        os.chdir(folder)
        os.write(0, READY)
        if os.read(0, len(GO)) != GO:
            os._exit(0)
        vars(pexpect)["spawn"] = _spawn_for(self)
        run_one.main(folder)

    def become_ansible(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Be ansible-playbook; returns when that has to be started anew because it would see another environment."""
        if _without_the_run(environment) == _without_the_run(self.of_ansible):
            _leave_after(lambda: _ansible(argv, environment))


def _ansible(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        program = shutil.which(argv[0], path=environment["PATH"])
        _begin_anew(environment, [str(program), *argv[1:]])
        constants = importlib.import_module("ansible.constants")
        for name in _SETTINGS_OF_THE_RUN:
            constants.set_constant(name, constants.config.get_config_value(name, variables=vars(constants)))
        # Where collections are found has not changed, or this process would not be.
        warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
        importlib.import_module("ansible.cli.playbook").main(sys.argv)
    finally:
        atexit._run_exitfuncs()  # noqa: SLF001 -- a fork leaves by os._exit, which calls none of them, and no other call does


def _spawn_for(warm: Warm) -> Callable[..., pexpect.spawn]:
    """Return what goes on as ansible-playbook in the process that pexpect forks, instead of starting a program."""
    original = pexpect.spawn

    def spawn(command: str, args: list[str], *, env: Mapping[str, str], **options: Any) -> pexpect.spawn:
        if command == PROGRAM:
            options["preexec_fn"] = lambda: warm.become_ansible([command, *args], env)
        return original(command, args, env=env, **options)

    return spawn


def _without_the_run(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _OF_THE_RUN}


def _begin_anew(environment: Mapping[str, str], argv: list[str]) -> None:
    """Have what a new program has: an environment, arguments, standard streams, and no other open file."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    tempfile.tempdir = None
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdin = _stream(0, "r", encoding, errors)
    sys.stdout = _stream(1, "w", encoding, errors)
    sys.stderr = _stream(2, "w", encoding, "backslashreplace")


def _stream(place: int, mode: Literal["r", "w"], encoding: str, errors: str | None) -> TextIO:
    return open(place, mode, buffering=1, encoding=encoding, errors=errors, closefd=False)


def _carry_mark(run: str) -> None:
    """Write the run's mark where the system shows the environment that a program was started with.

    A fork would show that of the process it came from, and could not be found as part of the run. The place was kept
    free by a mark of the same length or longer.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
    block = ctypes.string_at(start, end - start)
    kept = f"{MARK}={NO_RUN}".encode()
    place = block.index(kept)
    ctypes.memmove(start + place, f"{MARK}={run}".encode().ljust(len(kept), b"\0"), len(kept))


def _replace(place: int, number: int) -> None:
    os.dup2(number, place)
    os.close(number)


def _code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return 1


def _leave_after(work: Callable[[], None]) -> NoReturn:
    """End the fork as a program ends: what called it is another program's stack, to which it must not return."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = _code(end)
    except BaseException:  # noqa: BLE001 -- the interpreter's own last step: whatever it is, tell it and end with 1
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
