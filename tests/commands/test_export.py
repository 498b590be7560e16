"""The export command: both forms give the network's own outputs, for batches it has not been written with."""

import numpy as np
import onnxruntime
import pytest
import torch

from prunelib.__main__ import main
from prunelib.commands import deploy as module
from prunelib.commands.deploy import deploy
from prunelib.errors import MethodError
from prunelib.models.build import build
from prunelib.models.structure import save_structure

MODELS = {
    "resnet_small": {"width": 8, "blocks": 1},
    "vit": {"image_side": 8, "patch": 2, "width": 24, "depth": 1, "heads": 3},
}
FACTS = {"classes": 4, "in_channels": 1}


def saved(folder, builder="resnet_small", **more):
    model = build({"builder": builder, "options": MODELS[builder]}, 3, **FACTS)
    record = {"model": {"builder": builder, "options": MODELS[builder]}, "facts": FACTS, "input": [1, 8, 8]} | more
    save_structure(model, record, folder / "model.safetensors", folder / "model.json")
    return model.eval()


def outputs(file, images):
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return session.run(None, {"input": images.numpy()})[0]
    return torch.export.load(str(file)).module()(images).detach().numpy()


@pytest.mark.parametrize(("form", "suffix"), [("onnx", ".onnx"), ("torch", ".pt2")])
@pytest.mark.parametrize("builder", MODELS)
def test_the_file_computes_what_the_network_does(tmp_path, capsys, builder, form, suffix):
    model, images = saved(tmp_path, builder), torch.linspace(-2, 2, 7 * 64).reshape(7, 1, 8, 8)
    assert main(["export", str(tmp_path), "--to", form]) == 0
    assert f"model{suffix}: " in capsys.readouterr().out
    with torch.no_grad():
        expected = model(images).numpy()
    assert np.abs(outputs(tmp_path / f"model{suffix}", images) - expected).max() < 1e-5 * np.abs(expected).max()
    assert main(["export", str(tmp_path), "--to", form]) == 2
    assert "already there" in capsys.readouterr().err


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(module, "_run_onnx", lambda file: lambda batch: 1.001 * torch.ones(len(batch), 4))
    with pytest.raises(MethodError, match="nothing was kept"):
        deploy(tmp_path, "onnx", tmp_path / "a.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_network_that_cannot_be_followed_is_refused(tmp_path, monkeypatch):
    saved(tmp_path)

    class Winding(torch.nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    monkeypatch.setattr(module.find(tmp_path).__class__, "load", lambda self: Winding())
    with pytest.raises(MethodError, match="can't be written as torch"):
        deploy(tmp_path, "torch", tmp_path / "a.pt2")
    assert not (tmp_path / "a.pt2").exists()


def test_what_is_unknown_or_wrong_is_said(tmp_path, capsys):
    saved(tmp_path, input=None)
    assert main(["export", str(tmp_path), "--to", "torch"]) == 2
    assert "--input 3x224x224" in capsys.readouterr().err
    for given, message in ((["--input", "8x8"], "channels, height and width"), (["--out", "a.onnx"], "end in .pt2")):
        assert main(["export", str(tmp_path), "--to", "torch", *given]) == 2
        assert message in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--to", "torch", "--input", "1x8x8"]) == 0
