"""Files and locks: never half written, on disks without locks, and where open files stay."""

import errno
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import test_training

from data import planted
from utils.runtime import files
from utils.training import checkpoints, runs
from utils.training import loop as training


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EACCES])
def test_work_goes_on_without_locks(tmp_path, monkeypatch, capsys, number):
    """Locking a file fails, as on many network disks."""

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    files.warn_once.cache_clear()
    for wait in (False, True):
        with files.lock(tmp_path / "lock", wait):
            write(tmp_path / "x.csv", "whole")
            files.remove_old_temporary_files(tmp_path)
        assert (tmp_path / "x.csv").read_text() == "whole"
    (said,) = capsys.readouterr().err.splitlines()
    assert "no locks" in said and os.strerror(number) in said


def test_a_lock_is_waited_for(tmp_path):
    first, got = files.lock(tmp_path / "lock"), []
    with pytest.raises(OSError, match=f"{tmp_path} is in use by process {os.getpid()} on .* since"):
        files.lock(tmp_path / "lock")
    thread = threading.Thread(target=lambda: got.append(files.lock(tmp_path / "lock", wait=True)))
    thread.start()
    thread.join(0.2)
    assert not got
    first.close()
    thread.join(20)
    (second,) = got
    second.close()


def temporary_name(folder, process):
    """What `atomic_write` of a process uses for x.csv."""
    with files.atomic_write(folder / "x.csv") as temporary:
        temporary.touch()
    (folder / "x.csv").unlink()
    return temporary.name.replace(f"-{os.getpid()}-", f"-{process}-")


def test_which_temporary_files_are_removed(tmp_path, monkeypatch):
    """Those of processes that are gone, on this machine; others after a day."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = temporary_name(tmp_path, gone.pid)
    spared = [temporary_name(tmp_path, process) for process in (1, os.getpid())]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(files, "MARK", files.MARK[:-1] + "9-")
        spared.append(temporary_name(tmp_path, gone.pid))
    spared += [dead.replace(f"-{gone.pid}-", f"-{odd}-") for odd in ("9" * 30, "x", "")]
    (tmp_path / ".folder.tmp-1").mkdir()
    for age, remain in ((0, spared), (90_000, [])):
        for name in [dead, *spared, "x.tmp-1"]:
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (time.time() - age,) * 2)
        files.remove_old_temporary_files(tmp_path)
        found = {path.name for path in tmp_path.iterdir()}
        assert found == {*remain, ".folder.tmp-1", "x.tmp-1"}


def test_writers_and_cleaners_do_not_disturb_each_other(tmp_path):
    """Files that are written at once do not mix, and none goes before it is whole."""
    path, wholes, errors, stop = tmp_path / "x.csv", ["a" * 50_000, "b" * 20_000], [], []

    def repeat(action, *arguments):
        try:
            while not stop:
                action(*arguments)
        except OSError as error:
            errors.append(error)

    write(path, wholes[0])
    actions = [(write, path, whole) for whole in wholes]
    actions.append((files.remove_old_temporary_files, tmp_path))
    threads = [threading.Thread(target=repeat, args=action) for action in actions]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert path.read_text() in wholes
    stop.append(True)
    for thread in threads:
        thread.join()
    assert not errors and [p.name for p in tmp_path.iterdir()] == ["x.csv"]


@pytest.fixture
def on_windows(monkeypatch):
    """Windows in two rules: no fcntl; an open file can be neither deleted nor renamed."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the system does not tell which files are open")

    def guarded(original):
        def guard(*paths, **options):
            opened = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
            for path in paths[:2]:
                if os.path.realpath(path) in opened:
                    raise PermissionError(errno.EACCES, "in use by another process", str(path))
            return original(*paths, **options)

        return guard

    for name in ("unlink", "replace", "rename"):
        monkeypatch.setattr(Path, name, guarded(getattr(Path, name)))
    monkeypatch.setattr(files, "fcntl", None)


def write(path, text="new", **options):
    with files.atomic_write(path, **options) as temporary:
        temporary.write_text(text)


def test_a_table_open_in_a_viewer(on_windows, tmp_path, capsys):
    """It stays as it was, with a warning; what must be written is an error."""
    write(path := tmp_path / "x.csv", "old")
    with open(path):
        write(path)
        assert re.fullmatch("warning: .*x.csv stays as it was .*\n", capsys.readouterr().err)
        with pytest.raises(OSError, match="cannot write .*x.csv .in use"):
            write(path, strict=True)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    write(path)
    assert path.read_text() == "new"
    runs.note_latest(tmp_path / "first", "quick", [])
    with (
        open(tmp_path / "latest.json"),  # C and D must never find an older job
        pytest.raises(OSError, match="write .*latest.json .in use"),
    ):
        runs.note_latest(tmp_path / "second", "quick", [])


def test_a_scanner_looks_at_a_checkpoint(on_windows, tmp_path, capsys):
    checkpoints.save({"identity": "old"}, path := tmp_path / "last.pt")
    for action in (
        lambda: checkpoints.save({"identity": "new"}, path),
        lambda: files.rename(path, tmp_path / "previous.pt"),
        lambda: checkpoints.set_aside(tmp_path / "previous.pt"),
    ):
        opened = open(path if path.exists() else tmp_path / "previous.pt")  # noqa: SIM115
        threading.Timer(0.2, opened.close).start()
        action()
        assert capsys.readouterr().err == ""
    assert checkpoints.load(tmp_path / "previous.pt.damaged-1", "new") == {"identity": "new"}


def test_what_cannot_be_removed_is_left(on_windows, tmp_path):
    old, other = tmp_path / ".a.tmp-1", tmp_path / ".b.tmp-1"
    for path in (old, other):
        path.touch()
        os.utime(path, (0, 0))
    with open(old):
        files.remove_old_temporary_files(tmp_path)
        assert old.exists() and not other.exists()
    with files.atomic_write(tmp_path / "x") as temporary:
        opened = open(temporary, "w+")  # noqa: SIM115
    assert temporary.exists()  # neither renamed nor removed
    opened.close()


def test_training_goes_on_where_a_file_of_the_run_is_open(on_windows, tmp_path, capsys):
    loop = test_training.train("baseline", planted.load(40, 10), tmp_path)
    assert [next(loop), next(loop)] == [0, 1]
    path = tmp_path / "baseline-seed3" / "previous.pt"
    before = path.read_bytes()
    with open(path):
        assert next(loop) == 2
    assert path.read_bytes() == before
    assert "previous.pt stays as it was" in capsys.readouterr().err
    assert training.load_state(runs.Run("baseline", 3), tmp_path)["epoch"] == 2
