"""Costs of a model: parameters, bytes, multiply-accumulates; and that counting leaves no trace."""

from __future__ import annotations

import warnings

import pytest
import timm
import torch
from torch import nn

from dissensus.ingest import TimmModel, TorchModel, count_gmacs
from dissensus.ingest.zoo.costs import module_costs, weights_bytes

CPU = torch.device("cpu")


def zeros(*shape):
    return torch.zeros(1, *shape)


# Published: torchvision's and timm's tables of models.
@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet18", 1.82), ("vit_small_patch16_224", 4.61), ("mobilenetv3_large_100", 0.22)],
)
def test_published_values_are_met(name, published):
    module = timm.create_model(name).eval()
    assert count_gmacs(module, zeros(3, 224, 224)) == pytest.approx(published, rel=0.02)


def test_counts_are_exact():
    linear, conv = nn.Linear(7, 5), nn.Conv2d(4, 6, 3, padding=1, groups=2)
    assert count_gmacs(linear, zeros(7)) == 35 / 1e9
    assert count_gmacs(conv, zeros(4, 8, 8)) == 8 * 8 * 6 * 9 * 2 / 1e9
    assert count_gmacs(linear, torch.zeros(3, 7)) == 35 / 1e9  # an example's, however many there are
    assert count_gmacs(nn.Flatten(), zeros(3, 4)) == 0.0


class Attention(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x)


def test_attention_counts_on_the_cpu():
    """Torch's own counter has no formula for the CPU's kernel."""
    assert count_gmacs(Attention(), zeros(2, 5, 8)) == 2 * 2 * 5 * 5 * 8 / 1e9


def test_fused_layers_are_taken_apart():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    linear, products = 5 * 16 * (3 * 16 + 16 + 32 + 32), 2 * 5 * 5 * 16
    assert count_gmacs(layer, zeros(5, 16)) == (linear + products) / 1e9
    assert torch.backends.mha.get_fastpath_enabled()


class Compiled(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.compile(backend="eager")


class ByHand(nn.Module):
    """Multiplies by a kernel torch's dispatcher does not show."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x):
        return torch.from_numpy(x.numpy() @ self.weight.detach().numpy())


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x).abs()


@pytest.mark.parametrize(
    "module", [Compiled(), ByHand(), Fails(), Spectrum(), nn.LSTM(4, 4), nn.Embedding(4, 4)], ids=repr
)
def test_what_cannot_be_told_is_none(module):
    assert count_gmacs(module.eval(), zeros(4, 4)) is None


def test_custom_operators_cannot_be_told():
    @torch.library.custom_op("dissensus_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    class Custom(nn.Linear):
        def forward(self, x):
            return twice(super().forward(x))

    assert count_gmacs(Custom(4, 4), zeros(4)) is None


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_counts_unless_made_for_one_library():
    module = timm.create_model("test_resnet").eval()
    images = zeros(3, 64, 64)
    traced = torch.jit.trace(module, images)
    assert count_gmacs(traced, images) == count_gmacs(module, images) > 0
    assert count_gmacs(torch.jit.optimize_for_inference(traced), images) is None


class Stateful(nn.Module):
    """Changes whatever a module can change."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten())
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", None)
        self.seen = 0

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        self.last = x
        self.cache = x + torch.rand(1)
        return self.inner(x)


@pytest.mark.parametrize("training", [False, True])
def test_counting_leaves_no_trace(training):
    module = Stateful().train(training)
    module.inner[2].eval()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    modes, random = [m.training for m in module.modules()], torch.get_rng_state()
    names = set(vars(module))
    assert count_gmacs(module, zeros(3, 8, 8)) == 6 * 6 * 2 * 27 / 1e9
    after = module.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[k], state[k]) for k in state)
    assert [m.training for m in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert (module.seen, module.last, set(vars(module))) == (0, None, names)
    assert all(p.grad is None for p in module.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_buffers_made_in_inference_mode_are_given_back():
    with torch.inference_mode():
        module = Stateful().eval()
    assert count_gmacs(module, zeros(3, 8, 8)) is not None
    assert module.calls == 0


def test_a_failed_count_leaves_no_trace_either():
    module = nn.Sequential(Stateful(), Fails())
    assert count_gmacs(module, zeros(3, 8, 8)) is None
    assert module[0].seen == 0
    assert not nn.modules.module._global_forward_pre_hooks


def test_shared_weights_count_once():
    linear = nn.Linear(4, 4)
    tied = nn.Sequential(linear, linear, nn.BatchNorm1d(4))
    assert weights_bytes(tied) == 20 * 4 + 4 * 4 * 4 + 8
    assert weights_bytes(linear.half()) == 40
    assert module_costs(linear) == {"params": 20, "weights_bytes": 40}


def test_metadata_of_timm_and_torch_models(tmp_path):
    from dissensus.ingest import StatedPreprocess

    module = timm.create_model("test_resnet", num_classes=4)
    torch.save(module.state_dict(), tmp_path / "test_resnet.pth")
    timm_facts = TimmModel("test_resnet", checkpoint=tmp_path / "test_resnet.pth").load(CPU).metadata
    stated = TorchModel("m", module, preprocess=StatedPreprocess((3, 160, 160))).load(CPU).metadata
    for name in ("params", "weights_bytes", "input_size", "gmacs"):
        assert timm_facts[name] == stated[name]
    assert stated["input_size"] == "3x160x160"
    unknown = TorchModel("m", module).load(CPU).metadata  # the size comes with the first batch
    assert not {"input_size", "gmacs"} & unknown.keys()


def test_counting_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_gmacs(timm.create_model("test_vit").eval(), zeros(3, 160, 160)) > 0
