"""Penultimate features: the classifier makes the very logits of them, and taking them changes no bit."""

from __future__ import annotations

import types

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import dissensus as ds
from dissensus import errors
from dissensus.ingest import Features, feature_dim

C = 10
TIMM = [
    *timm.list_models("test_*"),
    "resnet18", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "convnext_atto",
    "mobilenetv3_small_050", "mixer_s32_224", "swin_tiny_patch4_window7_224", "efficientnet_b0", "levit_128s",
    "resnetv2_50", "mambaout_femto",
]  # fmt: skip
MORE = [
    "cait_xxs24_224", "coat_lite_tiny", "convmixer_768_32", "crossvit_9_240", "densenet121", "dla34",
    "dpn48b", "edgenext_xx_small", "efficientformer_l1", "efficientvit_b0", "efficientvit_m0", "fastvit_t8",
    "ghostnet_100", "hgnetv2_b0", "hiera_tiny_224", "hrnet_w18_small", "inception_next_tiny", "inception_v3",
    "mobilenetv4_conv_small", "mobilevit_xxs", "nest_tiny", "pit_ti_distilled_224", "poolformer_s12",
    "pvt_v2_b0", "repvit_m0_9", "resmlp_12_224", "sequencer2d_s", "shvit_s1", "starnet_s1", "swiftformer_xs",
    "tiny_vit_5m_224", "tnt_s_legacy_patch16_224", "vgg11", "visformer_tiny", "vitamin_small_224",
    "xcit_nano_12_p16_224",
]  # fmt: skip


def drawn(module):
    """The module in evaluation mode with a classifier that is not zero, as some begin with."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == C:
            for parameter in layer.parameters(recurse=False):
                nn.init.normal_(parameter, std=0.1, generator=generator)
    return module.eval()


def hooks(module):
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in module.modules())


def classified(module, layers, rows):
    """Logits that the classifiers' own weights make of features."""
    found = [module.get_submodule(name) for name in layers]
    weight = torch.cat([layer.weight.flatten(1) for layer in found], 1) / len(found)
    bias = sum(torch.zeros(C) if layer.bias is None else layer.bias for layer in found) / len(found)
    return rows @ weight.T + bias


def check(module, batch, read=lambda output: output):
    """The promise of `Features`, in the pass that looks for the layer and in those after it."""
    with torch.inference_mode():
        plain = read(module(batch))
        assert plain.shape == (len(batch), C)
        assert float(plain.std()) > 0
        with Features(module, C) as features:
            for _ in range(2):
                assert torch.equal(read(module(batch)), plain)
                rows = features.take()
                made = classified(module, features.layers, rows)
                torch.testing.assert_close(made, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))
            half = batch[:1]  # another number of rows
            module(half)
            assert features.take().shape == (1, rows.shape[1])
        assert hooks(module) == 0
        assert torch.equal(read(module(batch)), plain)
    return features.layers, rows.shape[1]


def of_timm(name):
    module = drawn(timm.create_model(name, pretrained=False, num_classes=C))
    size = timm.data.resolve_model_data_config(module)["input_size"]
    return module, torch.randn(2, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", TIMM)
def test_the_classifier_makes_the_logits_of_them(name):
    module, batch = of_timm(name)
    layers, dim = check(module, batch)
    if len(layers) == 1:
        assert dim == module.head_hidden_size
        assert module.get_submodule(layers[0]) is module.get_classifier()


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_the_classifier_of_other_architectures_makes_them_too(name):
    check(*of_timm(name))


def test_they_are_what_timm_calls_pre_logits():
    for name in ("test_vit", "test_convnext", "test_mambaout", "test_efficientnet", "test_resnet"):
        module, batch = of_timm(name)
        with torch.inference_mode(), Features(module, C) as features:
            module(batch)
            rows = features.take()
            assert torch.equal(rows, module.forward_head(module.forward_features(batch), pre_logits=True))


def test_two_classifiers_give_both_their_features():
    module, batch = of_timm("deit_tiny_distilled_patch16_224")
    assert check(module, batch) == (("head", "head_dist"), 2 * module.num_features)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_32", "shufflenet_v2_x0_5"])
def test_torchvision(name):
    module = drawn(torchvision.models.get_model(name, weights=None, num_classes=C))
    check(module, torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)))


def test_transformers():
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.ViTConfig(**size, image_size=32, patch_size=8, num_labels=C)
    module = drawn(transformers.ViTForImageClassification(config))
    batch = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert check(module, batch, lambda output: output.logits) == (("classifier",), 32)


# modules of every shape


class Net(nn.Module):
    """A backbone, a classifier, and what is done around it."""

    def __init__(self, classifier, around):
        super().__init__()
        self.body, self.head, self.around = nn.Linear(8, 6), classifier, around

    def forward(self, x):
        return self.around(self, torch.relu(self.body(x)))


def net(around, classifier=None):
    torch.manual_seed(0)
    return drawn(Net(classifier or nn.Linear(6, C), around))


def cubes(x):
    """(B, 6) features as (B, 6, 2, 2), unlike at each place."""
    return x[:, :, None, None] * torch.tensor([[1.0, 2.0], [3.0, -1.0]])


FORMS = {
    "plain": lambda m, x: m.head(x),
    "without a bias": lambda m, x: m.head(x),
    "object": lambda m, x: types.SimpleNamespace(logits=m.head(x), other=x),
    "mapping": lambda m, x: {"logits": m.head(x)},
    "tokens pooled behind": lambda m, x: m.head(torch.stack([x, 2 * x, -x], 1)).mean(1),
    "called for something else first": lambda m, x: (m.head(x + 1), m.head(x))[1],
    "called for something else last": lambda m, x: (m.head(x), m.head(x + 1))[0],
    "views of it": lambda m, x: m.head(x)[:, None, :].flatten(1),
    "in double": lambda m, x: m.head(x).double(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_output(form):
    module = net(FORMS[form], nn.Linear(6, C, bias=False) if "bias" in form else None)

    def read(output):
        logits = output["logits"] if isinstance(output, dict) else getattr(output, "logits", output)
        return logits.float()

    batch = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    assert check(module, batch, read) == (("head",), 6)


@pytest.mark.parametrize("pool", [lambda y: y.mean((2, 3)), lambda y: y.flatten(2).mean(2)])
def test_a_convolution_pooled_behind_is_pooled_before(pool):
    module = net(lambda m, x: pool(m.head(cubes(x))), nn.Conv2d(6, C, 1))
    assert check(module, torch.randn(5, 8)) == (("head",), 6)


def test_a_module_that_is_its_own_classifier():
    layer = drawn(nn.Linear(7, C))
    batch = torch.randn(3, 7)
    with torch.inference_mode(), Features(layer, C) as features:
        for _ in range(2):
            layer(batch)
            assert torch.equal(features.take(), batch)
    assert features.layers == ("",)
    assert hooks(layer) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    module = net(FORMS["plain"]).to(dtype)
    with torch.inference_mode(), Features(module, C) as features:
        logits = module(torch.randn(4, 8, dtype=dtype))
        rows = features.take()
        assert torch.equal(module.head(rows), logits)
    assert rows.dtype == dtype


def test_autocast():
    module = net(FORMS["plain"])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), Features(module, C) as features:
        module(torch.randn(4, 8))
        assert features.take().shape == (4, 6)


def test_gradients_flow_as_without():
    module, batch = net(FORMS["plain"]), torch.randn(4, 8)
    with Features(module, C):
        module(batch).sum().backward()
    with_hooks = module.body.weight.grad.clone()
    module.zero_grad()
    module(batch).sum().backward()
    assert torch.equal(module.body.weight.grad, with_hooks)


# no such layer


NONE = {
    "a softmax behind it": (
        net(lambda m, x: m.head(x).softmax(1)),
        r"Net has no features to store: its output is neither that of a layer of 10 outputs nor the mean of "
        r"two \(layers called: head\); store its logits without embeddings",
    ),
    "changed in place": (net(lambda m, x: m.head(x).mul_(2)), r"layers called: head\)"),
    "a rectified convolution": (
        net(lambda m, x: torch.relu(m.head(cubes(x))).mean((2, 3)), nn.Conv2d(6, C, 1)),
        r"layers called: head\)",
    ),
    "its input changed behind it": (
        net(lambda m, x: (m.head(x), x.mul_(3))[0]),
        r"layers called: head\)",
    ),
    "no layer of so many outputs": (
        net(lambda m, x: m.head(x)[:, :C], nn.Linear(6, 12)),
        "has no layer of 10",
    ),
    "no layer called": (net(lambda m, x: x @ m.head.weight.T), r"layers called: none\)"),
    "a pair": (net(lambda m, x: (m.head(x), x)), r"it returns tuple, not logits of shape \(B, 10\)"),
    "not a matrix": (net(lambda m, x: m.head(x)[:, None]), r"it returns Tensor, not logits of shape"),
}


@pytest.mark.parametrize("case", NONE)
def test_where_there_are_none_it_is_said_and_the_logits_stay(case):
    module, match = NONE[case]
    batch = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        plain = module(batch)
        with Features(module, C) as features:
            for _ in range(2):
                one, two = (out[0] if isinstance(out, tuple) else out for out in (module(batch), plain))
                assert torch.equal(one, two)
                with pytest.raises(errors.NoFeatures, match=match):
                    features.take()
    assert features.layers == ()
    assert hooks(module) == 0
    with pytest.raises(LookupError, match=match):
        feature_dim(module, batch, C)


def test_an_architecture_without_is_refused_by_name():
    """VOLO adds the largest of its tokens' logits to those of its class token."""
    module, batch = of_timm("volo_d1_224")
    with pytest.raises(errors.NoFeatures, match=r"VOLO has no features .* \(layers called: head, aux_head\)"):
        feature_dim(module, batch, C)
    assert hooks(module) == 0


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning")
def test_a_scripted_module_has_none():
    scripted = torch.jit.script(drawn(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, C))))
    with pytest.raises(errors.NoFeatures, match="has no layer of 10 outputs"):
        feature_dim(scripted, torch.randn(2, 8), C)


def test_passes_that_go_different_ways_are_refused():
    module = net(lambda m, x: m.head(x) if len(x) > 1 else x @ m.head.weight.T)
    with torch.inference_mode(), Features(module, C) as features:
        module(torch.randn(3, 8))
        features.take()
        module(torch.randn(1, 8))
        with pytest.raises(errors.NoFeatures, match="its passes differ"):
            features.take()


# use and misuse


def test_features_are_given_once_a_pass():
    module, batch = net(FORMS["plain"]), torch.randn(3, 8)
    with torch.inference_mode(), Features(module, C) as features:
        with pytest.raises(errors.ArgumentError, match="once; call the module first"):
            features.take()
        module(batch)
        features.take()
        with pytest.raises(errors.ArgumentError, match="once; call the module first"):
            features.take()
        module(batch)
        module(2 * batch)
        assert torch.equal(features.take(), torch.relu(module.body(2 * batch)))
        module(batch)
    with pytest.raises(errors.ArgumentError, match="call the module first"):
        features.take()


def test_hooks_go_whatever_happens():
    def failing(m, x):
        m.head(x)
        raise RuntimeError("out of memory")

    for module in (net(failing), net(FORMS["plain"])):
        with pytest.raises(RuntimeError):
            with Features(module, C):
                module(torch.randn(2, 8))
                raise RuntimeError
        assert hooks(module) == 0


def test_a_pass_that_failed_is_no_pass():
    module = net(FORMS["plain"])
    with torch.inference_mode(), Features(module, C) as features:
        with pytest.raises(RuntimeError):
            module(torch.randn(2, 9))
        with pytest.raises(errors.ArgumentError, match="call the module first"):
            features.take()
        module(torch.randn(2, 8))
        assert features.take().shape == (2, 6)


def test_only_the_classifier_is_watched_after_the_first_pass():
    module, batch = of_timm("test_efficientnet")
    candidates = nn.ModuleDict({str(i): nn.Linear(4, C) for i in range(5)})
    module.unused = candidates
    with torch.inference_mode(), Features(module, C) as features:
        before = hooks(module)
        module(batch)
        assert (before, hooks(module)) == (8, 3)
        features.take()


def test_what_is_no_module_is_refused():
    with pytest.raises(errors.ArgumentError, match="module must be a torch.nn.Module, got function"):
        Features(lambda x: x, C)


def test_the_number_of_features_by_a_small_pass():
    module, batch = of_timm("test_vit")
    assert feature_dim(module, batch[:1], C) == 64
    assert hooks(module) == 0


def test_a_module_into_a_store_in_one_pass(tmp_path):
    module, calls = net(FORMS["plain"]), []
    module.register_forward_pre_hook(lambda m, given: calls.append(len(given[0])))
    x = torch.randn(300, 8, generator=torch.Generator().manual_seed(1))
    store = ds.create(tmp_path / "s.zoo", np.arange(300) % C, dtype="float32")
    with torch.inference_mode(), Features(module, C) as features:
        dim = feature_dim(module, x[:1], C)
        with store.writer("m", fingerprint={}, embedding_dim=dim) as writer:
            for batch in x.split(128):
                logits = module(batch)
                writer.append(logits.numpy(), embeddings=features.take().float().numpy())
    assert calls == [1, 128, 128, 44]
    rows = torch.from_numpy(store.embeddings("m")[:])
    torch.testing.assert_close(module.head(rows), torch.from_numpy(store.logits("m")[:]))
