import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torchvision_timm_and_lightning_work_behind_the_guard():
    code = (
        "from layershap.torchvision_guard import torchvision; import timm, pytorch_lightning\n"
        "print(torchvision.models.vgg19().features[0].weight.shape[0], torchvision.datasets.OxfordIIITPet.__name__)"
    )
    done = run(code)
    assert done.stdout.split() == ["64", "OxfordIIITPet"], done.stderr


def test_a_torchvision_that_imports_is_left_alone():
    # stands for a matching build: torchvision is there already, so no operator may be declared
    code = (
        "import sys, types, torch; sys.modules['torchvision'] = types.ModuleType('torchvision')\n"
        "import layershap.torchvision_guard as guard\n"
        "print(guard.torchvision is sys.modules['torchvision'], hasattr(torch.ops.torchvision, 'nms'))"
    )
    assert run(code).stdout.split() == ["True", "False"]


def test_other_errors_are_not_swallowed(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('something else')")
    done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import layershap.torchvision_guard")
    assert done.returncode == 1
    assert "something else" in done.stderr
