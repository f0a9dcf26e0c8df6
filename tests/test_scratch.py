"""Results computed once, published whole."""

import multiprocessing
import time

import pytest

from vared.scratch import compute_once, is_finished, publish, write_text


def _slow(folder):
    with open(folder / "trained", "a") as stream:
        stream.write("x")
    time.sleep(0.3)


def _compute(folder):
    compute_once(folder, _slow, {})


@pytest.mark.hazard("pipeline", "two trainings of one run at once", "1 training, 2 successes")
def test_two_processes_that_want_one_result_compute_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_compute, args=(tmp_path / "run",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "run" / "trained").read_text() == "x"


def test_a_failure_leaves_the_folder_unfinished_and_the_work_so_far(tmp_path):
    def fail(folder):
        (folder / "state").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        compute_once(tmp_path / "run", fail, {})
    assert not is_finished(tmp_path / "run") and (tmp_path / "run" / "state").read_text() == "half"
    compute_once(tmp_path / "run", lambda folder: (folder / "state").write_text("whole"), {})
    assert is_finished(tmp_path / "run")


def test_a_follower_of_a_distributed_run_computes_but_does_not_finish(tmp_path):
    compute_once(tmp_path / "run", lambda folder: (folder / "part").touch(), {}, leader=False)
    assert (tmp_path / "run" / "part").exists() and not is_finished(tmp_path / "run")


def test_publishing_replaces_files_and_leaves_no_partial_one(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(), target.mkdir()
    (source / "a.json").write_text("new")
    (target / "a.json").write_text("old")
    publish(source, ["a.json"], target)
    assert [path.name for path in target.iterdir()] == ["a.json"] and (target / "a.json").read_text() == "new"
    with pytest.raises(FileNotFoundError):
        publish(source, ["missing.json"], target)
    assert [path.name for path in target.iterdir()] == ["a.json"]


def test_text_is_written_whole(tmp_path):
    write_text(tmp_path / "deep" / "a.txt", "content\n")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]
