"""Workers beside a process: the same results in order, the same errors, and none that outlives its parent."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import write_classes
from layershap.data.features import in_batches, load_batch, loaded
from layershap.data.fetch import TooManyRefusedError, fetch
from layershap.data.sources import folder
from layershap.data.workers import WorkerError, in_order
from layershap.workspace.errors import InputError


def late(number):
    """Return the number after a while that is another for each."""
    time.sleep(random.Random(number).uniform(0, 0.02))
    return number, os.getpid()


def fails(number):
    if number == 5:
        raise FileNotFoundError(2, "No such file or directory", "data/raw/disc/5.png")
    return number


def dies(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [0, 1, 3, 100])
def test_results_come_in_order(workers):
    found = list(in_order(late, range(40), workers))
    assert [number for number, _ in found] == list(range(40))
    processes = {process for _, process in found}
    assert processes == {os.getpid()} if not workers else len(processes) == min(workers, 40)


def test_nothing_to_do_starts_nobody():
    assert list(in_order(late, [], 3)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_the_same_one(workers):
    results = in_order(fails, range(9), workers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(FileNotFoundError) as caught:
        next(results)
    assert caught.value.filename == "data/raw/disc/5.png"
    assert str(caught.value) == "[Errno 2] No such file or directory: 'data/raw/disc/5.png'"


def test_a_worker_that_was_killed_is_said():
    with pytest.raises(WorkerError, match=r"one of the 2 processes .* is gone .*loader\.workers lower"):
        list(in_order(dies, range(40), 2))


def test_torchs_own_generator_is_left_alone():
    states = []
    for workers in (0, 2):
        torch.manual_seed(3)
        list(in_order(late, range(4), workers))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_the_images(tmp_path, rng, workers):
    write_classes(tmp_path, rng, count=9)
    paths = sorted(tmp_path.rglob("*.png"))
    slices = in_batches(2, 18, 5)
    assert [(rows.start, rows.stop) for rows in slices] == [(2, 7), (7, 12), (12, 17), (17, 18)]
    found = list(loaded(paths, 24, slices, workers, "test"))
    assert [rows for rows, _ in found] == slices
    assert torch.equal(torch.cat([images for _, images in found]), load_batch(paths[2:], 24))


def test_an_unreadable_image_gives_one_sentence_with_any_number_of_workers(tmp_path, rng):
    write_classes(tmp_path, rng, count=9)
    paths = sorted(tmp_path.rglob("*.png"))
    paths[7].write_bytes(paths[7].read_bytes()[:500])
    said = []
    for workers in (0, 1, 3):
        with pytest.raises(InputError) as caught:
            list(loaded(paths, 24, in_batches(0, 18, 5), workers, "test"))
        said.append(str(caught.value))
    assert said[0].startswith(f"{paths[7]}: cannot be decoded: ")
    assert "\n" not in said[0]
    assert len(set(said)) == 1


def contents(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_fetch_gives_the_same_tables_and_files(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=12)
    (tmp_path / "in" / "disc" / "README.txt").write_text("text")
    (tmp_path / "in" / "disc" / "broken.png").write_bytes((tmp_path / "in" / "disc" / "003.png").read_bytes()[:300])
    (tmp_path / "in" / "square" / "empty.jpg").write_bytes(b"")
    found = [fetch(folder(tmp_path / "in"), tmp_path / str(workers), 0.2, workers) for workers in (0, 1, 3)]
    assert len(found[0].refused) == 3
    for other, name in ((found[1], "1"), (found[2], "3")):
        assert other.images.to_csv() == found[0].images.to_csv()
        assert other.refused.to_csv() == found[0].refused.to_csv()
        assert other.metrics() == found[0].metrics()
        assert contents(tmp_path / name) == contents(tmp_path / "0")


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_refused_stop_with_workers_too(tmp_path, rng, workers):
    write_classes(tmp_path / "in", rng, count=4)
    (tmp_path / "in" / "disc" / "broken.png").write_bytes(b"text")
    with pytest.raises(TooManyRefusedError, match=r"1 of 9 .*broken\.png"):
        fetch(folder(tmp_path / "in"), tmp_path / "out", 0.1, workers)


def test_fetch_alone_loads_no_torch(tmp_path, rng):
    write_classes(tmp_path / "in", rng, count=2)
    code = (
        "import sys\nfrom pathlib import Path\nimport layershap.stages.fetch\n"
        "from layershap.data.fetch import fetch\nfrom layershap.data.sources import folder\n"
        f"print(len(fetch(folder(Path({str(tmp_path / 'in')!r})), Path({str(tmp_path / 'out')!r}), 0.0).images))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["4", "False"]


PARENT = """
import os, time
from layershap.data.workers import in_order

def task(number):
    return os.getpid(), bytes(2**22)  # more than a pipe holds: who waits to hand it over must end as well

if __name__ == "__main__":
    found = in_order(task, range(1000), 3)
    print(*{next(found)[0] for _ in range(9)}, flush=True)
    time.sleep(600)
"""


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not list its processes")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True)
    workers = [int(process) for process in parent.stdout.readline().split()]
    assert len(workers) == 3 and all(running(process) for process in workers)
    time.sleep(1)  # until their results wait to be taken
    parent.kill()
    parent.wait()
    ended = time.monotonic() + 20
    while any(running(process) for process in workers) and time.monotonic() < ended:
        time.sleep(0.2)
    assert [process for process in workers if running(process)] == []
