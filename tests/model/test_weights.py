"""Weights from files, the hub and caches: read as plain tensors alone, put where they belong, or refused by name."""

import http.server
import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from layershap.model.networks import build_backbone
from layershap.model.timm_networks import timm
from layershap.model.torchvision_networks import _fitted
from layershap.model.weights import read_state_dict
from layershap.torchvision_guard import torchvision
from layershap.workspace.errors import InputError

ATTO = "timm/convnext_atto"
HUB = "timm/convnext_atto.d2_in1k"


def features(backbone, images):
    with torch.no_grad():
        for _, module in backbone.layers:
            images = module(images)
    return images


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(7)
    return timm.create_model("convnext_atto", num_classes=3).eval()


@pytest.fixture(scope="module")
def expected(network):
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        return images, network.forward_features(images)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_for_timm_in_either_format(network, expected, tmp_path, suffix):
    """Of three classes, as after a training: the classifier is another, and is not used."""
    path = tmp_path / f"weights{suffix}"
    torch.save(network.state_dict(), path) if suffix == ".pt" else save_file(network.state_dict(), path)
    images, found = expected
    torch.testing.assert_close(features(build_backbone(ATTO, str(path), 64), images), found)


def test_a_transformers_file_fits_another_size(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=32)
    torch.save(network.state_dict(), tmp_path / "vit.pt")
    backbone = build_backbone("timm/vit_tiny_patch16_224", str(tmp_path / "vit.pt"), 64)
    assert features(backbone, torch.rand(1, 3, 64, 64)).shape == (1, 17, 192)
    kept = dict(backbone.layers)["blocks.3"].state_dict()
    torch.testing.assert_close(kept["attn.qkv.weight"], network.blocks[3].attn.qkv.weight)
    state = {"encoder.pos_embedding": torch.rand(1, 197, 8), "conv_proj.weight": torch.rand(8, 3, 16, 16)}
    assert _fitted("vit_b_16", 64, state)["encoder.pos_embedding"].shape == (1, 17, 8)


def test_a_file_of_another_network_is_refused(network, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({key: value for key, value in network.state_dict().items() if key != "stem.0.weight"}, path)
    with pytest.raises(InputError, match=rf"{path} is not a state dict of timm/convnext_atto: .*stem\.0\.weight"):
        build_backbone(ATTO, str(path), 64)
    torch.save(torchvision.models.resnet18().state_dict(), path)
    with pytest.raises(InputError, match=rf"{path} is not a state dict of squeezenet1_1: it lacks features\.0\.weight"):
        build_backbone("squeezenet1_1", str(path), 64)


def test_torchvisions_file_may_lack_the_classifier_or_have_another(tmp_path):
    torch.manual_seed(1)
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=3).eval()
    images = torch.rand(1, 3, 64, 64)
    found = []
    for kept in ("", "fc."):
        state = {key: value for key, value in network.state_dict().items() if not (kept and key.startswith(kept))}
        torch.save(state, tmp_path / "weights.pt")
        found.append(features(build_backbone("shufflenet_v2_x0_5", str(tmp_path / "weights.pt"), 64), images))
    assert torch.equal(*found)
    with torch.no_grad():
        x = network.maxpool(network.conv1(images))
        expected = network.conv5(network.stage4(network.stage3(network.stage2(x))))
    torch.testing.assert_close(found[0], expected, rtol=1e-3, atol=1e-5)


def test_torchvisions_imagenet_weights_come_from_its_cache(tmp_path, monkeypatch):
    """The file has a name that torchvision looks for; its tensors are this test's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    torch.manual_seed(2)
    network = torchvision.models.squeezenet1_1().eval()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / entry.url.rpartition("/")[2])
    images = torch.rand(1, 3, 64, 64)
    backbone = build_backbone("squeezenet1_1", "imagenet", 64)
    first = dict(backbone.layers)["features.0"]
    with torch.no_grad():
        torch.testing.assert_close(first(images), network.features[:2](images))


def test_imagenet_weights_that_do_not_fit_are_not_left_random(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    state = torchvision.models.squeezenet1_1().state_dict()
    state["features.3.squeeze.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2])
    with pytest.raises(InputError, match=r"features\.3\.squeeze\.weight is \[1\] in it, not \[16, 64, 1, 1\]"):
        build_backbone("squeezenet1_1", "imagenet", 64)


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one file as the hub does."""

    content = b""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        if self.answer():
            self.wfile.write(self.content)

    def answer(self):
        found = self.path == f"/{HUB}/resolve/main/model.safetensors"
        self.send_response(200 if found else 404)
        if found:
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        return found

    def log_message(self, *_):
        pass


CODE = """
import torch
from layershap.model.networks import build_backbone
from layershap.workspace.errors import UserError
try:
    backbone = build_backbone("timm/convnext_atto", "imagenet", 64)
    print(float(dict(backbone.layers)["stem"].state_dict()["0.0.weight"].double().sum()))
except UserError as error:
    print(error)
"""


def ask_hub(address: str, home) -> str:
    """Return what a process prints that asks a hub at this address: the client reads it once, when it is loaded."""
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_timms_weights_come_from_the_hub(tmp_path):
    torch.manual_seed(5)
    network = timm.create_model("convnext_atto")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    handler = type("Handler", (Hub,), {"content": (tmp_path / "model.safetensors").read_bytes()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        printed = ask_hub(f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "home")
        server.shutdown()
    assert float(printed) == pytest.approx(float(network.stem[0].weight.detach().double().sum()))


@pytest.mark.slow  # the hub's client tries for a minute
def test_without_a_hub_the_error_names_the_file_and_the_way(tmp_path):
    printed = ask_hub("http://127.0.0.1:9", tmp_path / "home")
    assert f"model.safetensors of {HUB}" in printed
    assert "set model.weights to its path" in printed


def test_a_name_without_weights_says_so():
    name = next(name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights)
    with pytest.raises(InputError, match=rf"timm has no weights of {name} .*set model\.weights to random"):
        build_backbone(f"timm/{name}", "imagenet")


class Payload:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


def test_a_pickle_payload_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(InputError, match=name):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", None])
def test_files_that_are_no_state_dict_are_named(tmp_path, content, suffix):
    path = tmp_path / f"weights.{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"weights\.{suffix}"):
        read_state_dict(path)
