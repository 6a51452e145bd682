"""Writing files: whole or not at all, over files only, and nobody else's."""

import os
import socket
import stat
import sys
from contextlib import contextmanager
from threading import Event, Thread
from zipfile import ZipFile

import numpy as np
import pytest

import tinyseq
from tests.models import lstm_with_state, recogniser
from tinyseq.common import files
from tinyseq.tools.cli import main
from tinyseq.tools.console import FINE, UNREADABLE, USAGE


@pytest.fixture(scope="module")
def session():
    return tinyseq.load(lstm_with_state())


def listening(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def terminal(path):
    """A link to a device in a folder where no file can be made, whatever goes wrong."""
    _, device = os.openpty()
    path.symlink_to(os.ttyname(device))


NO_FILES = {
    "a FIFO": os.mkfifo,
    "a socket": listening,
    "a folder": os.mkdir,
    "a device": terminal,
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_only_files_are_written_to(session, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    path = tmp_path / "m.tinyseq"
    NO_FILES[kind](path.relative_to(tmp_path))
    before = path.lstat()
    with pytest.raises(tinyseq.ModelError, match=rf"m\.tinyseq: it is {kind}; give the name of a file"):
        session.save(path)
    assert stat.S_IFMT(path.lstat().st_mode) == stat.S_IFMT(before.st_mode)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["m", "m.onnx", ".tinyseq", "m.tinyseq.bak"])
def test_models_are_saved_under_names_that_load_reads(session, tmp_path, name):
    (tmp_path / "m.onnx").write_bytes(b"precious")
    with pytest.raises(tinyseq.ModelError, match=r"is a \.tinyseq file"):
        session.save(tmp_path / name)
    assert (tmp_path / "m.onnx").read_bytes() == b"precious" and len(list(tmp_path.iterdir())) == 1


def test_suffixes_are_written_in_any_case(session, tmp_path):
    session.save(tmp_path / "M.TinySeq")
    assert tinyseq.load(tmp_path / "M.TinySeq").inputs == session.inputs


@pytest.mark.parametrize("there", [True, False])
def test_links_stay_and_what_they_lead_to_is_replaced(session, tmp_path, there):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "blob", tmp_path / "m.tinyseq"
    if there:
        target.write_bytes(b"old")
    link.symlink_to("store/blob")
    session.save(link)
    assert link.is_symlink() and not target.is_symlink()
    assert tinyseq.load(link).inputs == session.inputs
    assert sorted(tmp_path.rglob("*")) == sorted([link, target.parent, target])


def test_a_link_that_leads_nowhere_is_refused(session, tmp_path):
    (tmp_path / "a.tinyseq").symlink_to("b.tinyseq")
    (tmp_path / "b.tinyseq").symlink_to("a.tinyseq")
    with pytest.raises(tinyseq.ModelError, match=r"cannot write .*symbolic links"):
        session.save(tmp_path / "a.tinyseq")
    (tmp_path / "c.tinyseq").symlink_to("none/m.tinyseq")
    with pytest.raises(tinyseq.ModelError, match=r"there is no folder .*none"):
        session.save(tmp_path / "c.tinyseq")


def test_a_replaced_file_keeps_its_mode_and_a_new_one_has_the_umasks(session, tmp_path):
    path = tmp_path / "m.tinyseq"
    before = os.umask(0o027)
    try:
        session.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o666):
            path.chmod(mode)
            session.save(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_other_names_of_a_replaced_file_keep_what_they_hold(session, tmp_path):
    (tmp_path / "kept").write_bytes(b"precious")
    (tmp_path / "m.tinyseq").hardlink_to(tmp_path / "kept")
    session.save(tmp_path / "m.tinyseq")
    assert (tmp_path / "kept").read_bytes() == b"precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is write-protected from root")
def test_a_write_protected_file_is_not_replaced(session, tmp_path):
    path = tmp_path / "m.tinyseq"
    path.write_bytes(b"precious")
    path.chmod(0o444)
    with pytest.raises(tinyseq.ModelError, match="write-protected"):
        session.save(path)
    assert path.read_bytes() == b"precious"


def test_files_beside_the_name_are_nobodys_business(session, tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "a.tinyseq.partial").symlink_to("victim")
    (tmp_path / "b.tinyseq.partial").mkdir()
    (tmp_path / "c.tinyseq.partial").write_bytes(b"my own")
    before = set(tmp_path.iterdir())
    for name in ("a.tinyseq", "b.tinyseq", "c.tinyseq"):
        session.save(tmp_path / name)
        assert tinyseq.load(tmp_path / name).inputs == session.inputs
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"a.tinyseq", "b.tinyseq", "c.tinyseq"}
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert (tmp_path / "c.tinyseq.partial").read_bytes() == b"my own"


def test_a_name_that_is_somebodys_is_never_written_to(session, tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "urandom", bytes)
    session.save(tmp_path / "m.tinyseq")
    theirs = tmp_path / f".tinyseq-{bytes(8).hex()}"
    for make in (lambda: theirs.symlink_to("victim"), lambda: theirs.write_bytes(b"precious")):
        make()
        with pytest.raises(tinyseq.ModelError, match="File exists"):
            session.save(tmp_path / "m.tinyseq")
        assert os.path.lexists(theirs) and not (tmp_path / "victim").exists()
        theirs.unlink()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
@pytest.mark.parametrize("there", [True, False])
def test_what_fails_leaves_nothing_behind(tmp_path, failure, there):
    path = tmp_path / "m.tinyseq"
    if there:
        path.write_bytes(b"precious")
    expected = tinyseq.ModelError if isinstance(failure, OSError) else failure
    with pytest.raises(expected), files.writing(path, tinyseq.ModelError) as file:
        file.write(bytes(100_000))
        raise failure
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"precious"] * there


def test_what_cannot_take_its_name_leaves_nothing_behind(tmp_path):
    path = tmp_path / "m.tinyseq"
    with pytest.raises(tinyseq.ModelError, match="directory"), files.writing(path, tinyseq.ModelError):
        path.mkdir()
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def hasty_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_threads_that_save_to_one_name_leave_a_whole_file_at_every_moment(session, tmp_path):
    path, over, wrong = tmp_path / "m.tinyseq", Event(), []
    sessions = [session, tinyseq.load(recogniser())]
    session.save(path)

    def write(number):
        try:
            for _ in range(20):
                sessions[number % 2].save(path)
        except Exception as error:
            wrong.append(error)

    def read():
        try:
            while not over.is_set():
                tinyseq.load(path)
        except Exception as error:
            wrong.append(error)

    writers, reader = [Thread(target=write, args=(number,)) for number in range(4)], Thread(target=read)
    with hasty_switches():
        for thread in (*writers, reader):
            thread.start()
        for thread in writers:
            thread.join()
        over.set()
        reader.join()
    assert not wrong and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("how", ["its name", "a link", "a hard link", "another spelling"])
def test_convert_does_not_overwrite_the_model(session, tmp_path, capsys, how):
    model, other = tmp_path / "m.tinyseq", tmp_path / "n.tinyseq"
    session.save(model)
    before = model.read_bytes()
    if how == "a link":
        other.symlink_to(model)
    elif how == "a hard link":
        other.hardlink_to(model)
    else:
        other = model if how == "its name" else tmp_path / ".." / tmp_path.name / "m.tinyseq"
    assert main(["convert", str(model), str(other)]) == USAGE
    assert "is the model itself" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_outputs_of_run_are_written_whole_or_not_at_all(session, tmp_path, capsys, monkeypatch):
    model, path, pipe = str(tmp_path / "m.tinyseq"), tmp_path / "y.npz", tmp_path / "pipe.npz"
    session.save(model)
    os.mkfifo(pipe)
    assert main(["run", model, "--output", str(pipe)]) == UNREADABLE
    assert "it is a FIFO" in capsys.readouterr().err
    assert main(["run", model, "--output", str(path)]) == FINE
    before = path.read_bytes()
    with np.load(path) as arrays:
        assert set(arrays) == {"y", "hn", "cn"}

    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ZipFile, "open", fails)
    assert main(["run", model, "--output", str(path)]) == UNREADABLE
    assert f"cannot write {path}: No space left on device" in capsys.readouterr().err
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 3
