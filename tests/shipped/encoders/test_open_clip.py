"""open_clip's text towers against transformers computed by hand, and against bad weights."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from zsar_encoders import _open_clip, _open_clip_weights, _torchvision, open_clip

from kit.fakes import tiny_clip
from zsar_bench.errors import UserError

_torchvision.make_importable()
START, END = 49406, 49407
LONG = "a person " * 30  # 60 words, 62 tokens with the markers
TEXTS = ["wave", "", "A photo of a cat", LONG, "right!= left!~ up"]
ODD = TEXTS[4]  #: holds token 0, the one that rows are padded with


def encoder(folder: Path, params: type = open_clip.Params, **values: Any) -> open_clip.OpenClip:
    """An encoder of the tiny model in a folder."""
    files = {"model": f"{folder / 'clip.json'}", "weights": f"{folder / 'clip.safetensors'}"}
    return open_clip.OpenClip(params(**files | values))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_clip(folder)
    return folder


def words(text: str) -> list[int]:
    """Token ids of a text without markers."""
    from open_clip import SimpleTokenizer

    return SimpleTokenizer().encode(text)


def row(text: str, cut: int, context: int = 77) -> list[int]:
    """Start, at most cut - 2 tokens, end, zeros."""
    ids = [START, *words(text)[: cut - 2], END]
    return ids + [0] * (context - len(ids))


def by_hand(
    state: dict[str, torch.Tensor],
    ids: list[int],
    blocks: int,
    heads: int = 4,
    quick: bool = False,
    causal: bool = True,
) -> torch.Tensor:
    """Hidden states (L, W) behind so many pre-norm blocks and the final layer norm."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def affine(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    x = state["token_embedding.weight"][ids] + state["positional_embedding"][: len(ids)]
    for i in range(blocks):
        p = f"transformer.resblocks.{i}"
        qkv = norm(x, f"{p}.ln_1") @ state[f"{p}.attn.in_proj_weight"].T
        q, k, v = (qkv + state[f"{p}.attn.in_proj_bias"]).chunk(3, dim=-1)
        joined = []
        for head in range(heads):
            part = slice(head * 32 // heads, (head + 1) * 32 // heads)
            logits = q[:, part] @ k[:, part].T / (32 / heads) ** 0.5
            if causal:
                later = torch.ones_like(logits).triu(1).bool()
                logits = logits.masked_fill(later, -1e30)
            joined.append(logits.softmax(dim=-1) @ v[:, part])
        x = x + affine(torch.cat(joined, dim=-1), f"{p}.attn.out_proj")
        h = affine(norm(x, f"{p}.ln_2"), f"{p}.mlp.c_fc")
        h = h * torch.sigmoid(1.702 * h) if quick else h * (1 + torch.erf(h / 2**0.5)) / 2
        x = x + affine(h, f"{p}.mlp.c_proj")
    return norm(x, "ln_final")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# --- What is computed ------------------------------------------------------------------------


def test_the_tokenizer_is_clips():
    assert words("a photo of a cat") == [320, 1125, 539, 320, 2368]  # as OpenAI's gives
    assert 0 in words(ODD)
    assert len(words(LONG)) == 60


@pytest.mark.parametrize("quick", [False, True])
def test_clip_is_the_projected_end_token(tmp_path, quick):
    tiny_clip(tmp_path, quick_gelu=quick)
    state = load_file(tmp_path / "clip.safetensors")
    found = encoder(tmp_path).encode(TEXTS)
    assert found.pooled.shape == (5, 24)
    assert found.tokens.shape == (5, 77, 32)
    for i, text in enumerate(TEXTS):
        end = 1 + len(words(text))
        hidden = by_hand(state, row(text, 77), blocks=3, quick=quick)
        close(found.tokens[i], hidden)
        close(found.pooled[i], hidden[end] @ state["text_projection"])
        assert found.mask[i].tolist() == [True] * (end + 1) + [False] * (76 - end)
        other = by_hand(state, row(text, 77), blocks=3, quick=not quick)
        assert (other - hidden).abs().max() > 1e-2, "the activation matters"
    for part in (found.pooled, found.tokens):
        assert part.dtype == torch.float32
        assert not part.requires_grad
        assert not part.is_inference()


def test_tdsm_reads_the_last_but_one_block_of_35_tokens(tiny):
    state = load_file(tiny / "clip.safetensors")
    found = encoder(tiny, open_clip.TDSMParams).encode(TEXTS)
    assert found.tokens.shape == (5, 35, 32)
    for i, text in enumerate(TEXTS):
        end = min(1 + len(words(text)), 34)
        hidden = by_hand(state, row(text, 35), blocks=2)
        close(found.tokens[i], hidden[:35])
        close(found.pooled[i], hidden[end])
        assert found.mask[i].tolist() == [True] * (end + 1) + [False] * (34 - end)
    assert found.mask[3].all()
    assert found.tokens[0][~found.mask[0]].abs().min() > 0, "padding has states of its own"
    longer = encoder(tiny, open_clip.TDSMParams, max_tokens=36).encode([LONG])
    assert not torch.equal(longer.pooled[0], found.pooled[3]), "the cut is at 35"


def test_a_tower_that_is_not_causal_reads_the_whole_row(tmp_path):
    tiny_clip(tmp_path, custom_text=True, text_cfg={"no_causal_mask": True, "context_length": 20})
    state = load_file(tmp_path / "clip.safetensors")
    state = {name.removeprefix("text."): tensor for name, tensor in state.items()}
    found = encoder(tmp_path, tower="penultimate").encode(["wave", LONG])
    for i, text in enumerate(["wave", LONG]):
        hidden = by_hand(state, row(text, 20, context=20), blocks=2, causal=False)
        close(found.tokens[i], hidden)
        close(found.pooled[i], hidden[min(1 + len(words(text)), 19)])


@pytest.mark.parametrize("kind", ["CLIP", "CustomTextCLIP", "CoCa"])
def test_pooled_is_what_open_clip_compares_with_images(tmp_path, kind):
    """Against the whole model, which open_clip builds and fills by itself."""
    import open_clip as package

    changes: dict[str, Any] = {} if kind == "CLIP" else {"custom_text": True}
    if kind == "CoCa":
        changes["text_cfg"] = {"context_length": 76, "embed_cls": True, "output_tokens": True}
        changes["multimodal_cfg"] = {"width": 32, "heads": 4, "layers": 1, "context_length": 76}
    tiny_clip(tmp_path, **changes)
    config = json.loads((tmp_path / "clip.json").read_text())
    config.pop("custom_text", None)
    model = getattr(package, kind)(**config).eval()
    model.load_state_dict(load_file(tmp_path / "clip.safetensors"))
    length = model.text.context_length if kind != "CLIP" else model.context_length
    ids = torch.stack([torch.tensor(row(t, length, length)) for t in TEXTS])
    with torch.no_grad():
        expected = model.encode_text(ids, normalize=False)
    close(encoder(tmp_path).encode(TEXTS).pooled, expected)


def test_no_texts(tiny):
    found = encoder(tiny).encode([])
    assert (found.pooled.shape, found.tokens.shape) == ((0, 24), (0, 77, 32))
    assert found.mask.shape == (0, 77)


def test_tdsms_tower_is_that_of_stable_diffusion_2_1():
    p = open_clip.TDSMParams()
    assert (p.model, p.weights, p.tower) == ("ViT-H-14", "laion2b_s32b_b79k", "penultimate")
    config = _open_clip.read_config(p.model, p.name, p.hint)
    assert not config.get("quick_gelu")
    tower = open_clip.Tower(_open_clip_weights.build(config), p)
    assert (tower.block, tower.length, tower.context) == (22, 35, 77)
    assert tower.model.ln_final.weight.shape == (1024,)
    assert len(tower.model.transformer.resblocks) == 24
    ids = torch.zeros(1, 77, dtype=torch.int64, device="meta")
    out = tower.model.forward_intermediates(text=ids, text_indices=[22], intermediates_only=True)
    assert [t.shape for t in out["text_intermediates"]] == [(1, 77, 1024)]


# --- Weights ---------------------------------------------------------------------------------


def refused(made: open_clip.OpenClip) -> str:
    """What a user is told; encoding and hashing may find different faults."""
    with pytest.raises(UserError) as error:
        made.encode(["wave"])
    assert error.value.hint
    assert len(str(error.value).splitlines()) <= 3, str(error.value)
    return error.value.what


@pytest.mark.parametrize("form", ["pt", "old", "checkpoint", "half", "text alone"])
def test_the_same_weights_in_other_files_give_the_same_features(tiny, tmp_path, form):
    state = load_file(tiny / "clip.safetensors")
    file = tmp_path / "clip.pt"
    if form == "checkpoint":
        parallel = {f"module.{n}": t for n, t in state.items()}
        torch.save({"epoch": 3, "name": "x", "state_dict": parallel, "optimizer": {}}, file)
    elif form == "half":
        torch.save({n: t.half() for n, t in state.items()}, file)
        state = {n: t.half().float() for n, t in state.items()}
    elif form == "text alone":
        torch.save({n: t for n, t in state.items() if not n.startswith("visual.")}, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "pt")
    save_file(state, tmp_path / "clip.safetensors")
    expected = encoder(tiny, weights=str(tmp_path / "clip.safetensors")).encode(TEXTS)
    found = encoder(tiny, weights=str(file)).encode(TEXTS)
    assert torch.equal(found.pooled, expected.pooled)
    assert torch.equal(found.tokens, expected.tokens)


def test_weights_of_before_the_custom_tower_are_read(tiny, tmp_path):
    tiny_clip(tmp_path, custom_text=True)
    old = encoder(tiny).encode(TEXTS)
    new = encoder(tmp_path, weights=str(tiny / "clip.safetensors")).encode(TEXTS)
    assert torch.equal(new.pooled, old.pooled)


def test_weights_that_do_not_fit_are_refused_by_name(tiny, tmp_path):
    state = load_file(tiny / "clip.safetensors")
    file = tmp_path / "changed.safetensors"
    block = "transformer.resblocks.1.mlp.c_fc.weight"

    def saying(changed: dict[str, torch.Tensor]) -> str:
        save_file(changed, file)
        return refused(encoder(tiny, weights=str(file)))

    assert f"{block} is missing." in saying({n: t for n, t in state.items() if n != block})
    image = "visual.conv1.weight"
    assert f"{image} is missing." in saying({n: t for n, t in state.items() if n != image})
    assert "the model has no extra." in saying(state | {"extra": torch.zeros(1)})
    deeper = {n.replace(".1.", ".9."): t + 1 for n, t in state.items() if ".resblocks.1." in n}
    assert "the model has no transformer.resblocks.9" in saying(state | deeper)
    shape = "positional_embedding has the shape (35, 32), not (77, 32)."
    assert shape in saying(state | {"positional_embedding": torch.zeros(35, 32)})
    assert "is missing (" in saying({"text_model.x": torch.zeros(1)})
    assert "not finite" in saying(state | {"ln_final.bias": torch.full((32,), float("nan"))})


def test_damaged_files_are_refused(tiny, tmp_path):
    good = (tiny / "clip.safetensors").read_bytes()
    torch.save(load_file(tiny / "clip.safetensors"), tmp_path / "good.pt")
    pickled = (tmp_path / "good.pt").read_bytes()
    for suffix in (".safetensors", ".pt", ".bin"):
        file = tmp_path / f"bad{suffix}"
        for data in (b"", b"\0" * 64, good[:5000], pickled[:5000], pickled[:-4000], b"PK\x05\x06"):
            file.write_bytes(data)
            message = refused(encoder(tiny, weights=str(file)))
            assert "cannot be read" in message if data else "is empty" in message
            assert "weights_only" not in message
    for content in ({}, [torch.zeros(1)], {"a": 1}, {1: torch.zeros(1)}, {"state_dict": {}}):
        torch.save(content, file)
        assert "tensor" in refused(encoder(tiny, weights=str(file)))


def test_a_pickle_that_would_run_code_does_not(tiny, tmp_path):
    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'exploded'}",)

    file = tmp_path / "bomb.pt"
    torch.save({"transformer.x": Bomb()}, file)
    assert "more than tensors" in refused(encoder(tiny, weights=str(file)))
    file.write_bytes(pickle.dumps(Bomb(), protocol=2))
    assert "more than tensors" in refused(encoder(tiny, weights=str(file)))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_refused(tiny, tmp_path):
    file = tmp_path / "clip.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(file))
    assert "TorchScript" in refused(encoder(tiny, weights=str(file)))


# --- Names -----------------------------------------------------------------------------------


def test_wrong_names_are_refused_with_what_to_type(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny)

    def told(params: type = open_clip.Params, **values: Any) -> str:
        with pytest.raises(UserError) as error:
            open_clip.OpenClip(params(**values)).fingerprint()
        return str(error.value)

    assert "or ViT-H-14 or" in told(model="ViT-H-41")
    assert "Did you mean laion2b_s32b_b79k" in told(open_clip.TDSMParams, weights="laion2b_s32b")
    quick = told(model="ViT-B-32", weights="openai")
    assert "--set open-clip.model=ViT-B-32-quickgelu" in quick
    plain = told(open_clip.TDSMParams, model="ViT-H-14-quickgelu", weights="laion2b_s32b_b79k")
    assert "Type: --set tdsm-text.model=ViT-H-14" in plain.splitlines()
    assert "lists no pretrained weights" in told(model="ViT-S-16", weights="openai")
    assert "sentence-transformers" in told(model="roberta-ViT-B-32", weights="laion2b_s12b_b32k")
    assert "tokenizer of its own" in told(model="ViT-B-16-SigLIP", weights="webli")
    assert "There is no file /no/where.pt" in told(weights="/no/where.pt")
    for path in ("clip.safetensors", "./clip.safetensors"):
        assert "--set open-clip.weights=/path/to/clip.safetensors" in told(weights=path)
    assert "--set open-clip.model=/path/to/clip.json" in told(model="clip.json")
    assert "not one of .safetensors" in told(weights=f"{tiny}/clip.json")
    for content in ("", "[]", "{}", '{"model_cfg": 3}', '{"embed_dim": 1, "vision_cfg": {}}'):
        (tmp_path / "bad.json").write_text(content)
        assert "not the configuration" in told(model=str(tmp_path / "bad.json"))


def test_architectures_that_cannot_be_are_refused(tmp_path):
    for change in ({"heads": 5}, {"heads": 0}, {"no_such_part": 1}, {"layers": "many"}):
        config = {"embed_dim": 24, "vision_cfg": {"layers": 1}, "text_cfg": {"width": 32} | change}
        (tmp_path / "clip.json").write_text(json.dumps(config))
        (tmp_path / "clip.safetensors").write_bytes(b"never read")
        assert "cannot build" in refused(encoder(tmp_path))


def test_lengths_that_cannot_be_are_refused(tiny, tmp_path):
    for length in (1, 2, 78):
        assert "reads 3 to 77 tokens" in refused(encoder(tiny, max_tokens=length))
    tiny_clip(tmp_path, text_cfg={"layers": 1})
    assert "one block" in refused(encoder(tmp_path, tower="penultimate"))


def test_no_cuda_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA" in refused(encoder(tiny, device="cuda"))


# --- The hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, and no network."""

    def no_network(*args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def put(hub: Path, repository: str, **files: bytes) -> Path:
    """Fill the cache as a download does; ``__`` in a name stands for its dot."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    for part in (snapshot, folder / "refs"):
        part.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0" * 40)
    for name, data in files.items():
        (snapshot / name.replace("__", ".")).write_bytes(data)
    return snapshot


def test_a_tag_is_found_in_the_cache_and_the_safe_file_first(hub):
    repository = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    snapshot = put(hub, repository, open_clip_pytorch_model__bin=b"x")
    made = open_clip.OpenClip(open_clip.TDSMParams())
    assert made.found()[1] == snapshot / "open_clip_pytorch_model.bin"
    put(hub, repository, open_clip_model__safetensors=b"y")
    made = open_clip.OpenClip(open_clip.TDSMParams())
    assert made.found()[1] == snapshot / "open_clip_model.safetensors"


@pytest.mark.parametrize("offline", [False, True])
def test_a_tag_that_is_neither_cached_nor_reachable_says_what_to_type(hub, offline, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(UserError, match="could not be downloaded") as error:
        open_clip.OpenClip(open_clip.TDSMParams()).fingerprint()
    repository = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    assert f"hf download {repository} open_clip_model.safetensors" in error.value.hint
    assert "--set tdsm-text.weights=/path" in error.value.hint
    assert len(str(error.value).splitlines()) <= 3


def test_a_repository_is_model_and_weights(hub, tiny, tmp_path):
    config, weights = ((tiny / f"clip.{end}").read_bytes() for end in ("json", "safetensors"))
    wrapped = b'{"model_cfg": ' + config + b', "preprocess_cfg": {}}'
    files = {"open_clip_config__json": wrapped, "open_clip_model__safetensors": weights}
    put(hub, "someone/tiny", **files)
    here = {"model": "hf-hub:someone/tiny", "weights": "hf-hub:someone/tiny"}
    expected = encoder(tiny).encode(TEXTS)
    for values in (here, {"weights": here["weights"]}, {"model": here["model"]}):
        assert torch.equal(encoder(tiny, **values).encode(TEXTS).pooled, expected.pooled)
    tiny_clip(tmp_path, quick_gelu=True)
    assert "another text tower" in refused(encoder(tmp_path, weights=here["weights"]))
    put(hub, "someone/tiny", open_clip_config__json=b"{")
    assert "not the configuration" in refused(encoder(tmp_path, weights=here["weights"]))
    assert "could not be downloaded" in refused(encoder(tiny, weights="hf-hub:someone/else"))
    assert "could not be downloaded" in refused(encoder(tiny, weights="hf-hub:a b/c d/e"))


def test_tags_are_open_clips_own():
    import open_clip as package
    from open_clip.pretrained import get_pretrained_cfg

    tags = _open_clip._tags()
    assert tags.list_pretrained() == package.list_pretrained()
    for model, tag in package.list_pretrained():
        entry = tags.get_pretrained_cfg(model, tag)
        assert entry == get_pretrained_cfg(model, tag)
        assert entry["hf_hub"].count("/") == 2, "no tag is on another server alone"
    configs = {p.stem for p in (_open_clip.package() / "model_configs").glob("*.json")}
    assert configs == set(package.list_models())


# --- Fingerprint -----------------------------------------------------------------------------


def test_a_fingerprint_holds_all_that_decides_features(tiny, tmp_path):
    known = encoder(tiny).fingerprint()
    copy = tmp_path / "copy"
    tiny_clip(copy)
    assert encoder(copy).fingerprint() == known, "the same files elsewhere"
    tiny_clip(tmp_path / "seed", seed=1)
    tiny_clip(tmp_path / "quick", quick_gelu=True)
    others = {encoder(tmp_path / name).fingerprint() for name in ("seed", "quick")}
    assert len(others | {known}) == 3


def test_a_fingerprint_imports_no_deep_learning_library(tiny):
    code = (
        "import sys, zsar_encoders\n"
        "from zsar_encoders import _open_clip, open_clip as oc\n"
        f"files = {{'model': {str(tiny / 'clip.json')!r}, "
        f"'weights': {str(tiny / 'clip.safetensors')!r}}}\n"
        "a = oc.OpenClip(oc.Params(**files)).fingerprint()\n"
        "_open_clip._tags().list_pretrained()\n"
        "heavy = ['torch', 'numpy', 'open_clip', 'torchvision', 'timm', 'transformers']\n"
        "print(a, [m for m in heavy if m in sys.modules])\n"
        "import torch, safetensors.torch"
    )
    run = [sys.executable, "-c", code]
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    out = subprocess.run(run, capture_output=True, text=True, check=True, env=path).stdout.split()
    assert out == [encoder(tiny).fingerprint(), "[]"]


# --- Through the command line ----------------------------------------------------------------


def test_a_run_reads_its_texts_through_open_clip(cli, tiny):
    files = {"model": tiny / "clip.json", "weights": tiny / "clip.safetensors"}
    words = [f"--set=open-clip.{key}={file}" for key, file in files.items()]
    run = ["run", "prototypes", "--protocol", "toy-4-2", "--skeleton-encoder", "toy-mean"]
    cli(*run, "--text-encoder", "open-clip", *words, "--quiet")
    (file,) = cli.cwd.glob("results/**/run.json")
    texts = json.loads(file.read_text())["texts"]
    assert (texts["encoder"], texts["fingerprint"]) == ("open-clip", encoder(tiny).fingerprint())
    assert texts["science"]["tower"] == "clip"

    relative = "--set=open-clip.weights=clip.pt"
    done = cli(*run, "--text-encoder", "open-clip", *words, relative, "--quiet", check=2)
    assert "--set open-clip.weights=/path/to/clip.pt" in done.stderr
    cache = {"HF_HOME": str(cli.cwd / "no-cache")}
    done = cli(*run, "--text-encoder", "tdsm-text", "--quiet", check=2, env=cache)
    assert "hf download laion/CLIP-ViT-H-14" in done.stderr
    assert "Traceback" not in done.stderr
    print(done.stderr)
