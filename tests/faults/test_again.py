"""Row 21: everything again, and in another folder, gives the same dvc.lock, byte for byte."""

import numpy as np
import pytest

from project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_again_and_elsewhere_gives_the_same_lock(tmp_path):
    one = Project(tmp_path / "one", np.random.default_rng(0))
    one.run("dvc", "repro")
    first = (one.root / "dvc.lock").read_bytes()
    one.run("dvc", "repro", "--force")
    assert (one.root / "dvc.lock").read_bytes() == first
    two = Project(tmp_path / "a folder" / "elsewhere", np.random.default_rng(0))
    # another number of threads in the surroundings: the one in params.yaml counts
    two.run("dvc", "repro", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    assert (two.root / "dvc.lock").read_bytes() == first
