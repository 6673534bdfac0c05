"""What is written, what is left, and what is said of a checkpoint that cannot be used."""

import os
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from toolstack import checkpoint
from toolstack.checkpoint import plan_data, prune, read, written
from toolstack.cli import HOST_FAILED, MISTAKE, main

CONFIG = """
name: pair
checkpoint: {every: 1ms, directory: kept, keep: 9}
domains:
  writer: {kernel: writer, cmdline: "peer=${reader.domid}"}
  reader: {kernel: reader, cmdline: "peer=${writer.domid}"}
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder with a run's checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "pair.yaml").write_text(CONFIG)
    assert main(["--runtime", "local", "--quiet", str(folder / "pair.yaml")]) == 0
    return folder / "kept"


@pytest.fixture
def copy(kept, tmp_path):
    """A copy of the first checkpoint, to be spoilt."""
    import shutil

    return Path(shutil.copytree(written(kept)[-1], tmp_path / "copy"))


def complaint(capsys, *arguments, status=HOST_FAILED):
    assert main(["--runtime", "local", "--restore", *map(str, arguments)]) == status
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    return printed.err


def test_the_newest_is_taken_from_a_folder(kept):
    times = [read(path).time for path in written(kept)]
    assert len(times) == 3
    assert times == sorted(times, reverse=True)
    assert read(kept).time == times[0]
    assert read(written(kept)[1]).time == times[1]


def test_the_plan_comes_back(kept):
    from toolstack.load import load

    plan = load(str(kept.parent / "pair.yaml")).plan()
    assert read(kept).plan == plan
    typed = load("configs/grub_pv64.yaml").plan() if Path("/usr/lib/grub-xen").exists() else plan
    restored = checkpoint.Checkpoint(kept, {"plan": msgpack.unpackb(msgpack.packb(plan_data(typed)), use_list=False)})
    assert restored.plan == typed


def test_a_folder_without_any_is_told(tmp_path, capsys):
    assert "there is none" in complaint(capsys, tmp_path)
    assert "no such file or directory" in complaint(capsys, tmp_path / "absent")


@pytest.mark.parametrize("file", ["manifest", "memory"])
def test_a_file_that_is_cut_off_or_changed_is_told(copy, capsys, file):
    whole = (copy / file).read_bytes()
    for spoilt in (b"", whole[:-1], whole[:len(whole) // 2], whole[:200], whole + b"x",
                   whole[:100] + b"?" + whole[101:], whole[:-9] + b"?" + whole[-8:]):
        (copy / file).write_bytes(spoilt)
        said = complaint(capsys, copy)
        assert str(copy) in said
        assert any(word in said for word in ("damaged", "it is none", "version"))


def test_a_memory_that_is_missing_is_told(copy, capsys):
    (copy / "memory").unlink()
    assert "cannot read its memory" in complaint(capsys, copy)


def test_another_version_is_told(copy, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    assert "it has version 1; expected 2" in complaint(capsys, copy)


def test_another_layout_of_memory_is_told(copy, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint.envlayout, "WORDS", 761)
    assert "another version of this program" in complaint(capsys, copy)


def test_a_trace_that_was_not_kept_cannot_be_written(copy, capsys, tmp_path):
    assert "no trace was kept until then" in complaint(capsys, copy, "--trace", tmp_path / "trace")


@pytest.mark.parametrize("arguments", [["--seed", "1"], ["--clock", "host"], ["x.yaml"], ["--kernel", "writer"]])
def test_a_host_that_is_restored_cannot_be_another(copy, capsys, arguments):
    assert main(["--restore", str(copy), *arguments]) == MISTAKE
    assert "launch.py: error:" in capsys.readouterr().err


def test_several_hosts_in_one_folder_must_be_told_apart(kept, tmp_path, capsys):
    import shutil

    for name in ("a", "b"):
        shutil.copytree(written(kept)[0], tmp_path / f"{name}-{0:015d}")
    assert "several hosts (a, b): name one" in complaint(capsys, tmp_path)


def test_only_the_newest_of_this_host_are_left(tmp_path):
    for age, name in enumerate(["pair-000000000000009", "pair-000000000000001", "other-000000000000001",
                                "pair-000000000000005", "pair", "pair-1"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest").touch()
        os.utime(tmp_path / name / "manifest", (1000 - age, 1000 - age))
    prune(tmp_path, "pair", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other-000000000000001", "pair", "pair-000000000000001", "pair-000000000000009", "pair-1"]


def test_what_somebody_left_who_died_writing_is_cleared(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getpid()):
        (tmp_path / f".pair-{0:015d}.{pid}").mkdir()
    (tmp_path / ".other").mkdir()
    checkpoint.check(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", f".pair-{0:015d}.{os.getpid()}"]


def test_a_directory_that_cannot_be_made_is_told(tmp_path, capsys):
    (tmp_path / "kept").write_text("a file")
    (tmp_path / "pair.yaml").write_text(CONFIG)
    assert main(["--runtime", "local", "--quiet", str(tmp_path / "pair.yaml")]) == HOST_FAILED
    assert "no checkpoints can be written to" in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_written_ends_nothing(host, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_image", full)
    host.configure(checkpoint={"every": "1us", "directory": str(tmp_path)})
    host.domain("first_steps")
    host.run()
    assert host.failures == []
    assert any("no checkpoint at" in line and "No space left" in line for line in host.hypervisor_log)
    assert list(tmp_path.iterdir()) == []


def test_hypercalls_that_changed_since_are_told(kept, tmp_path, capsys):
    added = tmp_path / "greet.py"
    added.write_text(Path("configs/hypercalls/greet.py").read_text())
    (tmp_path / "one.yaml").write_text(
        "checkpoint: {every: 1us, directory: out}\nhypercalls: [greet.py]\n"
        "domains: {first_steps: {kernel: first_steps}}\n")
    assert main(["--runtime", "local", "--quiet", str(tmp_path / "one.yaml")]) == 0
    capsys.readouterr()
    added.write_text(added.read_text() + "# changed\n")
    assert "has changed since" in complaint(capsys, tmp_path / "out")


def test_names_of_files_are_made_of_any_name():
    assert checkpoint.stem("a/b c") == "a-b-c"
    assert checkpoint.stem(".hidden") == "-hidden"


def test_errors_name_the_checkpoint():
    assert str(checkpoint.unusable(Path("x"), "why")) == "checkpoint 'x': why"
