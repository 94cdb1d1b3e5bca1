"""Files and locks: never half written, on disks without locks, and where open files stay."""

import errno
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
import test_training

from data import planted
from utils.runtime import files
from utils.training import checkpoints, runs
from utils.training import loop as training


def write(path, text="new", **options):
    with files.atomic_write(path, **options) as temporary:
        temporary.write_text(text)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EACCES])
def test_work_goes_on_without_locks(tmp_path, capsys, number):
    """Locking a file fails, as on many network disks."""
    files.warn_once.cache_clear()
    with mock.patch.object(files.fcntl, "flock", side_effect=OSError(number, "No locks")):
        for wait in (False, True):
            files.lock(tmp_path / "lock", wait).close()
    (said,) = capsys.readouterr().err.splitlines()
    assert "no locks (No locks)" in said


def test_a_lock_is_waited_for(tmp_path):
    first, path = files.lock(tmp_path / "lock"), tmp_path / "lock"
    with pytest.raises(OSError, match=f"{tmp_path} is in use by process {os.getpid()} on .* since"):
        files.lock(path)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(files.lock, path, wait=True)
        time.sleep(0.1)
        assert not waiting.done()
        first.close()
        waiting.result(20).close()


def test_which_temporary_files_are_removed(tmp_path, monkeypatch):
    """Those of processes that are gone, on this machine; others after a day."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def name(process):
        with files.atomic_write(tmp_path / "x.csv") as temporary:
            temporary.touch()
        (tmp_path / "x.csv").unlink()
        return temporary.name.replace(f"-{os.getpid()}-", f"-{process}-")

    dead, spared = name(gone.pid), [name(x) for x in (1, os.getpid(), "9" * 30, "x", "")]
    monkeypatch.setattr(files, "MARK", (mark := files.MARK)[:-1] + "9-")
    spared.append(name(gone.pid))
    monkeypatch.setattr(files, "MARK", mark)
    (tmp_path / ".folder.tmp-1").mkdir()
    for age, remain in ((0, spared), (90_000, [])):
        for file in [dead, *spared, "x.tmp-1"]:
            (tmp_path / file).touch()
            os.utime(tmp_path / file, (time.time() - age,) * 2)
        files.remove_old_temporary_files(tmp_path)
        found = {path.name for path in tmp_path.iterdir()}
        assert found == {*remain, ".folder.tmp-1", "x.tmp-1"}


def test_writers_and_cleaners_do_not_disturb_each_other(tmp_path):
    """Files that are written at once do not mix, and none goes before it is whole."""
    path, wholes, end = tmp_path / "x.csv", ["a" * 50_000, "b" * 20_000], time.monotonic() + 0.4

    def repeat(action, *arguments):
        while time.monotonic() < end:
            action(*arguments)

    write(path, wholes[0])
    with ThreadPoolExecutor() as pool:
        started = [pool.submit(repeat, write, path, whole) for whole in wholes]
        started.append(pool.submit(repeat, files.remove_old_temporary_files, tmp_path))
        while time.monotonic() < end:
            assert path.read_text() in wholes
    for thread in started:
        thread.result()
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


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
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 5))


def test_a_file_open_in_a_viewer(on_windows, tmp_path, capsys):
    """A table stays as it was, with a warning; what C and D must find is an error; what cannot be
    removed is left."""
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
        open(tmp_path / "latest.json"),
        pytest.raises(OSError, match="write .*latest.json .in use"),
    ):
        runs.note_latest(tmp_path / "second", "quick", [])

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


def test_a_scanner_looks_at_a_checkpoint(on_windows, tmp_path, capsys):
    path, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    checkpoints.save({"identity": "old"}, path)
    for seen, action in (
        (path, lambda: checkpoints.save({"identity": "new"}, path)),
        (path, lambda: files.rename(path, previous)),
        (previous, lambda: checkpoints.set_aside(previous)),
    ):
        opened = open(seen)  # noqa: SIM115
        threading.Timer(0.03, opened.close).start()
        action()
        assert capsys.readouterr().err == ""
    assert checkpoints.load(tmp_path / "previous.pt.damaged-1", "new") == {"identity": "new"}


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
