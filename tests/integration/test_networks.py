"""Pretrained networks as sources: what is read of a file, where the cut is, what the library tells, what is refused."""

import http.server
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrained import built, write_weights
from runs import tree

from rltransfer import load_encoder
from rltransfer.artifact import Encoder, average_encoders
from rltransfer.cli import main
from rltransfer.errors import IncompatibleError, RLTransferError, SourceError, UnknownLayerError, UnknownNameError
from rltransfer.networks import build_network, timm_networks, torchvision_networks
from rltransfer.networks.graph import blocks_of, cut_network
from rltransfer.records import parse_name

PREFIX = "features_extractor.network."


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


@pytest.fixture(scope="module")
def encoder(weights: Path) -> Encoder:
    return load_encoder(weights, arch="torchvision:mobilenet_v3_small")


def test_every_tensor_in_front_of_the_cut_is_the_files_bit_for_bit(weights: Path, encoder: Encoder) -> None:
    state = torch.load(weights, weights_only=True)
    network = encoder.source.network
    assert network is not None
    names = {name.removeprefix(PREFIX) for name in encoder.tensors}
    assert names | {*network.left_out} == state.keys()
    assert {*network.left_out} == {"classifier.3.weight", "classifier.3.bias"}
    assert all(torch.equal(tensor, state[name.removeprefix(PREFIX)]) for name, tensor in encoder.tensors.items())
    statistics = {name for name in names if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert len(statistics) == 3 * 34
    assert {name.removeprefix(PREFIX) for name in encoder.anatomy.parameters} == names - statistics
    assert [name for layer in encoder.anatomy.layers for name in layer.tensors] == list(encoder.tensors)


@pytest.mark.parametrize(
    ("name", "cut", "features"),
    [
        ("torchvision:resnet18", "fc", (512,)),
        ("torchvision:inception_v3", "fc", (2048,)),
        ("torchvision:mobilenet_v3_small", "classifier.3", (1024,)),
        ("torchvision:densenet121", "classifier", (1024,)),
        ("torchvision:squeezenet1_1", "classifier.1", (512, 13, 13)),
        ("torchvision:shufflenet_v2_x0_5", "fc", (1024,)),
        ("timm:vit_tiny_patch16_224", "head", (192,)),
        ("timm:ghostnet_100", "classifier", (1280,)),
        ("timm:resnet10t", "fc", (512,)),
        pytest.param("torchvision:vgg11", "classifier.6", (4096,), marks=pytest.mark.long),
        pytest.param("torchvision:vit_b_16", "heads.head", (768,), marks=pytest.mark.long),
    ],
)
def test_the_cut_is_what_the_last_layer_reads_and_blocks_hold_all_of_it(
    name: str, cut: str, features: tuple[int, ...]
) -> None:
    network = built(name)
    parsed = parse_name(name)
    library = timm_networks if parsed.library == "timm" else torchvision_networks
    size = library.describe_weights(parsed.architecture, parsed.weights).contract.size
    images, read = torch.rand(2, 3, *size), []
    hook = network.get_submodule(cut).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        network(images)
    hook.remove()
    part = cut_network(network, size, None, name)
    assert (part.cut, part.shape) == (cut, features)
    assert part.is_fixed == ("vit" in name)
    with torch.no_grad():
        assert torch.equal(part.graph(images), read[0])
    # Its code is run where a saved agent is loaded.
    assert parsed.library not in part.graph.code
    prefixes = [prefix for block in blocks_of(part.graph).values() for prefix in block]
    tensors = part.graph.state_dict()
    assert all(sum(f"{tensor}.".startswith(f"{prefix}.") for prefix in prefixes) == 1 for tensor in tensors)
    assert all(
        any(tensors[name].ndim > 1 for name in tensors if name.startswith(block)) for block in blocks_of(part.graph)
    )


def test_blocks_are_the_children_of_sequences_in_the_order_of_the_computation() -> None:
    part = cut_network(built("torchvision:resnet18"), (64, 64), None, "resnet18")
    blocks = blocks_of(part.graph)
    assert list(blocks) == ["conv1", *(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))]
    assert blocks["conv1"] == ("conv1", "bn1")
    vit = blocks_of(cut_network(built("timm:vit_tiny_patch16_224"), (224, 224), None, "vit").graph)
    assert list(vit) == ["patch_embed", *(f"blocks.{number}" for number in range(12))]
    assert vit["patch_embed"] == ("patch_embed", "cls_token", "pos_embed")
    assert vit["blocks.11"] == ("blocks.11", "norm.weight", "norm.bias")


def test_a_named_layer_is_cut_behind_and_its_map_is_pooled(weights: Path) -> None:
    network = built("torchvision:mobilenet_v3_small")
    part = cut_network(network, (64, 64), "features.3", "it")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(part.graph(images), network.features[:4](images))
    facts = load_encoder(weights, arch="torchvision:mobilenet_v3_small", cut="features.3", pool=2).source.network
    assert facts is not None
    assert (facts.cut, facts.is_default_cut, facts.pool, facts.features) == ("features.3", False, 2, 24 * 4)
    assert list(facts.blocks)[-1] == "features.3"
    assert all(name.startswith(("features.", "classifier.")) for name in facts.left_out)
    with pytest.raises(UnknownLayerError, match=r"no layer 'feature\.3'\. Did you mean 'features\.3'"):
        load_encoder(weights, arch="torchvision:mobilenet_v3_small", cut="feature.3")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:levit_128s", "several layers, which read different features: head_dist.linear, head.linear"),
        ("timm:vgg11", "cannot be traced"),
        ("torchvision:swin_t", "where the library is not installed"),
    ],
)
def test_a_network_without_one_place_to_cut_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(IncompatibleError, match=words) as caught:
        cut_network(built(name), (224, 224), None, name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "size", "resize", "mean", "interpolation"),
    [
        ("torchvision:mobilenet_v2/IMAGENET1K_V1", 224, 256, 0.485, "bilinear"),
        ("torchvision:mobilenet_v2", 224, 232, 0.485, "bilinear"),
        ("torchvision:inception_v3", 299, 342, 0.485, "bilinear"),
        ("torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1", 384, 384, 0.485, "bicubic"),
        ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224, 248, 0.5, "bicubic"),
        ("timm:resnet10t", 176, 201, 0.485, "bicubic"),
    ],
)
def test_the_contract_is_that_of_the_librarys_transform(
    name: str, size: int, resize: int, mean: float, interpolation: str
) -> None:
    parsed = parse_name(name)
    library = timm_networks if parsed.library == "timm" else torchvision_networks
    contract = library.describe_weights(parsed.architecture, parsed.weights).contract
    assert (contract.size, contract.resize, contract.mean[0]) == ((size, size), resize, mean)
    assert (contract.interpolation, contract.antialias, contract.channels) == (interpolation, True, "RGB")


def test_an_artifact_holds_all_and_is_read_where_no_library_is(
    encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = encoder.save(tmp_path / "artifact")
    again = load_encoder(folder)
    assert again.source == encoder.source
    assert again.anatomy == encoder.anatomy
    assert all(torch.equal(tensor, encoder.tensors[name]) for name, tensor in again.tensors.items())
    probe = (
        "import sys; sys.modules.update(torchvision=None, timm=None, huggingface_hub=None); "
        "from rltransfer.cli import main; sys.exit(main(['inspect', sys.argv[1]]))"
    )
    shown = subprocess.run([sys.executable, "-c", probe, folder], capture_output=True, text=True, check=True).stdout
    assert main(["inspect", str(folder)]) in (0, None)
    assert capsys.readouterr().out == shown
    for words in (
        "features_extractor.network.features.12.0  shared  encoder  6 with",
        "network:   torchvision's mobilenet_v3_small, 14 blocks",
        "cut:       before classifier.3, its last layer: 1,024 features",
        "left out:  2 tensors of the file, behind the cut: classifier.3",
        "images:    RGB in [0, 1], shorter side to 256 (bilinear, antialias), middle 224x224, mean 0.485",
        "of the library's default weights: the file does not tell",
        "read from: weights.pth",
    ):
        assert words in shown


@pytest.mark.long
def test_a_file_is_rebuilt_as_the_weights_it_is_said_to_be_of(tmp_path: Path) -> None:
    torch.save(built("torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1").state_dict(), tmp_path / "weights.pth")
    encoder = load_encoder(tmp_path / "weights.pth", arch="torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1")
    assert encoder.source.path == str(tmp_path / "weights.pth")
    assert encoder.source.network is not None
    # The library's default takes 224x224.
    assert encoder.source.network.contract.size == (384, 384)
    state = build_network(encoder.source.network).state_dict()
    assert {PREFIX + name: tuple(value.shape) for name, value in state.items()} == encoder.anatomy.shapes


def test_safetensors_and_usual_wrappings_of_a_state_dict_are_read(weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = torch.load(weights, weights_only=True)
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        again = load_encoder(tmp_path / name, arch="torchvision:mobilenet_v3_small")
        assert all(torch.equal(tensor, state[key.removeprefix(PREFIX)]) for key, tensor in again.tensors.items())


def test_a_file_without_counts_of_batches_is_read_as_pytorch_reads_it(tmp_path: Path) -> None:
    # As PyTorch wrote them before 0.4.1.
    state = built("torchvision:resnet18").state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "weights.pth")
    tensors = load_encoder(tmp_path / "weights.pth", arch="torchvision:resnet18").tensors
    counts = {name for name in tensors if name.endswith("num_batches_tracked")}
    assert len(counts) == 20
    assert all(int(tensors[name]) == 0 for name in counts)
    assert all(torch.equal(tensors[name], kept[name.removeprefix(PREFIX)]) for name in tensors.keys() - counts)


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_file_that_holds_more_than_tensors_runs_nothing(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Hostile(tmp_path / "ran")}, tmp_path / "weights.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    for name in ("weights.pth", "plain.pth"):
        with pytest.raises(SourceError, match=rf"{name} is not a file of weights: .* Tensors alone are read"):
            load_encoder(tmp_path / name, arch="torchvision:resnet18")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_of_these_weights_is_refused_by_name(weights: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"arch": "torchvision:resnet18"},
            r"weights of torchvision:resnet18: conv1\.weight is not there; .*, and \d+ more",
        ),
        ({"arch": "torchvision:resnet81"}, "no classifier 'resnet81'. Did you mean 'resnet18'"),
        ({"arch": "torchvision:resnet18/V3"}, "Unknown weights of torchvision's resnet18 'V3'"),
        ({"arch": "timm:resnet81"}, "timm has no network 'resnet81'"),
        ({"arch": "timm:resnet18.nothing"}, "timm has no weights 'nothing' of resnet18"),
        ({"arch": "resnet18"}, "'resnet18' is no network: expected torchvision:NAME"),
        ({"arch": "torchvision:resnet18", "which": "last"}, "which: of an agent"),
        ({"arch": "torchvision:resnet18", "activation": "ReLU"}, "activation: of an agent"),
        ({"arch": "torchvision:mobilenet_v3_small", "pool": 0}, "pool: expected the side of a map"),
    ]
    for settings, words in cases:
        with pytest.raises(RLTransferError, match=words):
            load_encoder(weights, **settings)
    (tmp_path / "broken.pth").write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    torch.save([1.0], tmp_path / "list.pth")
    torch.save({"weight": 1.0}, tmp_path / "number.pth")
    for name, words in {
        "missing.pth": "does not exist",
        "broken.pth": "is not a file of weights",
        "broken.safetensors": "is not a safetensors file",
        "list.pth": "holds no state dict: expected tensors by name, found list",
        "number.pth": "holds other things than tensors: weight",
    }.items():
        with pytest.raises(SourceError, match=words):
            load_encoder(tmp_path / name, arch="torchvision:resnet18")
    with pytest.raises(SourceError, match="cut is of a pretrained network, and .* holds an agent"):
        load_encoder(tmp_path, cut="layer1")
    with pytest.raises(UnknownNameError, match="Known: DEFAULT, IMAGENET1K_V1"):
        load_encoder("torchvision:resnet18/IMAGENET1K_V9")


class Files(http.server.BaseHTTPRequestHandler):
    """Serves the same file at every address, as the Hugging Face Hub does, and notes what was asked."""

    content = b""
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.content)

    def _answer(self, body: bytes) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", '"an-etag"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, type[Files]]]:
    """A server on the loopback device: its address, and what it serves."""
    handler = type("TheseFiles", (Files,), {"asked": []})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", handler
    served.shutdown()
    served.server_close()


def at(address: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Has torchvision name another address for its weights."""
    import dataclasses

    describe = torchvision_networks.describe_weights
    monkeypatch.setattr(
        torchvision_networks,
        "describe_weights",
        lambda *names: dataclasses.replace(describe(*names), url=f"{address}/weights.pth", **changes),
    )


def test_weights_are_fetched_once_checked_and_found_again(
    server: tuple[str, type[Files]], weights: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = server
    handler.content = weights.read_bytes()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    at(address, monkeypatch, hash_prefix=encoder.source.sha256[:8])
    for _ in range(2):
        fetched = load_encoder("torchvision:mobilenet_v3_small")
        assert fetched.source.sha256 == encoder.source.sha256
        assert all(torch.equal(tensor, encoder.tensors[name]) for name, tensor in fetched.tensors.items())
    assert handler.asked == ["GET /weights.pth"]
    assert fetched.source.network is not None
    assert fetched.source.path == "torchvision:mobilenet_v3_small/IMAGENET1K_V1"
    assert fetched.source.network.url == f"{address}/weights.pth"
    (path,) = (tmp_path / "hub" / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(SourceError, match=r"is damaged: its sha256 does not begin with"):
        load_encoder("torchvision:mobilenet_v3_small")


def test_weights_that_arrive_damaged_or_not_at_all_leave_nothing(
    server: tuple[str, type[Files]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, handler = server
    handler.content = b"something else"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with monkeypatch.context() as patch:
        at(address, patch, hash_prefix="12345678")
        with pytest.raises(SourceError, match="what was fetched is damaged"):
            load_encoder("torchvision:mobilenet_v3_small")
    with monkeypatch.context() as patch:
        at("http://127.0.0.1:9", patch)
        with pytest.raises(SourceError) as caught:
            load_encoder("torchvision:mobilenet_v3_small")
    path = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
    url = "http://127.0.0.1:9/weights.pth"
    assert f"The weights {path} are not there, and {url} cannot be fetched" in str(caught.value)
    assert str(caught.value).endswith(f"type: curl -L --create-dirs -o {path} {url}")
    assert not tree(tmp_path / "hub" / "checkpoints")


@pytest.mark.long
def test_weights_of_timm_come_from_the_hub(server: tuple[str, type[Files]], tmp_path: Path) -> None:
    from safetensors.torch import save

    address, handler = server
    state = built("timm:vit_tiny_patch16_224").state_dict()
    handler.content = save(state)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_DISABLE_XET": "1"}
    command = [
        sys.executable,
        "-m",
        "rltransfer",
        "inspect",
        "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "--json",
    ]
    result = subprocess.run(
        command, env={**environment, "HF_ENDPOINT": address}, capture_output=True, text=True, check=True
    )
    facts = json.loads(result.stdout)["source"]
    assert facts["path"] == "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert sorted(facts["network"]["left_out"]) == ["head.bias", "head.weight"]
    assert facts["network"]["licence"] == "apache-2.0"
    repository = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert any(asked == f"GET /{repository}/resolve/main/model.safetensors" for asked in handler.asked)
    offline = subprocess.run(
        command,
        env={**environment, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert offline.returncode == 2
    assert offline.stderr.strip().endswith(f"type: hf download {repository} model.safetensors")


def test_networks_are_not_averaged(encoder: Encoder) -> None:
    with pytest.raises(IncompatibleError, match="An average is of agents, and torchvision:mobilenet_v3_small is"):
        average_encoders([encoder, encoder])
