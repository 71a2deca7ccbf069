"""Members of two families as plain tables: other architectures, and estimators without gradient descent."""

from __future__ import annotations

from typing import Any

Architecture = tuple[str, str, str, dict[str, Any], dict[str, Any]]
"""Model id, architecture, note, options, and what its training changes in the base model's."""

Estimator = tuple[str, str, str, dict[str, Any]]
"""Model id, estimator, note, options."""

SMALL_ARCHITECTURES: tuple[Architecture, ...] = (
    ("mlp", "mlp", "two hidden layers", {"hidden": 256}, {"epochs": 60, "lr": 0.005}),
    ("plain-convnet", "plain-convnet", "VGG-like, no shortcuts", {}, {"epochs": 40, "lr": 0.005}),
    (
        "mixer", "mixer", "MLP-Mixer",
        {"patch": 2, "width": 48, "depth": 2}, {"epochs": 80, "lr": 0.005, "batch_size": 25},
    ),
    (
        "resnetv2", "timm/resnetv2_18", "pre-activation ResNet",
        {"channels": (16, 32, 64, 96)}, {"epochs": 80, "lr": 0.005, "batch_size": 25},
    ),
    (
        "mambaout", "timm/mambaout_femto", "gated convolutions",
        {"dims": (24, 32, 64, 96), "depths": (1, 1, 1, 1)}, {"epochs": 100, "lr": 0.004, "batch_size": 25},
    ),
    (
        "convnext", "timm/convnext_atto", "ConvNeXt",
        {"dims": (24, 32, 64, 96), "depths": (1, 1, 1, 1), "patch_size": 1},
        {"epochs": 90, "lr": 0.004, "batch_size": 25},
    ),
    (
        "xcit", "timm/xcit_nano_12_p8_224", "cross-covariance transformer",
        {"img_size": 8, "patch_size": 8, "embed_dim": 48, "depth": 2},
        {"epochs": 90, "lr": 0.004, "batch_size": 25},
    ),
)  # fmt: skip
"""For 8 x 8 pixels."""

FULL_ARCHITECTURES: tuple[Architecture, ...] = (
    ("mlp", "mlp", "two hidden layers", {"hidden": 384}, {"epochs": 15, "lr": 0.003}),
    ("plain-convnet", "plain-convnet", "VGG-like, no shortcuts", {}, {"lr": 0.003}),
    ("mixer", "mixer", "MLP-Mixer", {"patch": 4, "width": 64, "depth": 2}, {"epochs": 14, "lr": 0.005}),
    (
        "resnet18", "timm/resnet18", "ResNet-18 layout, deep stem",
        {"channels": (16, 32, 64, 128), "stem_width": 8, "stem_type": "deep"}, {"lr": 0.006},
    ),
    ("resnetv2", "timm/resnetv2_18", "pre-activation ResNet", {"channels": (16, 32, 64, 96)}, {"lr": 0.005}),
    (
        "sknet", "timm/skresnet18", "selective kernels",
        {"channels": (16, 32, 64, 96)}, {"epochs": 8, "lr": 0.006},
    ),
    (
        "densenet", "timm/densenet121", "DenseNet",
        {"growth_rate": 12, "block_config": (3, 3, 3)}, {"epochs": 12, "lr": 0.006},
    ),
    (
        "convnext", "timm/convnext_atto", "ConvNeXt",
        {"dims": (32, 64, 96, 128), "depths": (1, 1, 1, 1), "patch_size": 3}, {"epochs": 15, "lr": 0.004},
    ),
    (
        "mambaout", "timm/mambaout_femto", "gated convolutions",
        {"dims": (24, 32, 64, 96), "depths": (1, 1, 1, 1)}, {"epochs": 12, "lr": 0.004},
    ),
    (
        "vit", "timm/vit_tiny_patch16_224", "vision transformer",
        {"img_size": 28, "patch_size": 7, "embed_dim": 64, "depth": 3, "num_heads": 4},
        {"epochs": 15, "lr": 0.003},
    ),
    ("mobilevit", "timm/mobilevit_xxs", "convolutions and attention", {}, {"epochs": 6, "lr": 0.004}),
    ("mobilenetv3", "timm/mobilenetv3_small_050", "MobileNetV3", {}, {"epochs": 7, "lr": 0.006}),
    (
        "repvit", "timm/repvit_m0_9", "RepViT",
        {"embed_dim": (16, 32, 48, 64), "depth": (1, 1, 2, 1)}, {"lr": 0.004},
    ),
)  # fmt: skip
"""For 28 x 28 pixels."""

SMALL_ESTIMATORS: tuple[Estimator, ...] = (
    ("knn", "neighbours", "3 nearest neighbours", {"n_neighbors": 3, "weights": "distance", "votes": 3}),
    ("svm-rbf", "kernel-svm", "SVM, Gaussian kernel", {"C": 10, "gamma": 0.05}),
    ("random-forest", "random-forest", "200 trees", {"n_estimators": 200, "votes": 200}),
    ("extra-trees", "extra-trees", "200 random trees", {"n_estimators": 200, "votes": 200}),
    (
        "boosting", "boosting", "boosted trees",
        {
            "max_iter": 100, "learning_rate": 0.2, "max_leaf_nodes": 4, "min_samples_leaf": 3,
            "max_features": 0.3,
        },
    ),
    ("gaussian-process", "gaussian-process", "Gaussian process", {"length_scale": 1.5}),
)  # fmt: skip
"""For 64 pixels and hundreds of images."""

FULL_ESTIMATORS: tuple[Estimator, ...] = (
    ("knn", "neighbours", "5 nearest neighbours", {"n_neighbors": 5, "weights": "distance", "votes": 5}),
    (
        "svm-rbf", "kernel-svm", "SVM, Gaussian kernel, 100 principal components",
        {"components": 100, "C": 10, "gamma": 0.03, "cache_size": 400},
    ),
    (
        "svm-poly", "kernel-svm", "SVM, cubic kernel, 80 principal components",
        {"components": 80, "kernel": "poly", "degree": 3, "C": 10, "gamma": 0.02, "cache_size": 400},
    ),
    (
        "patches-svm", "kernel-svm", "SVM on a k-means dictionary of patches",
        {"words": 150, "side": 6, "C": 5, "gamma": 0.001, "cache_size": 400},
    ),
    (
        "patches-linear", "logistic-regression", "linear on a k-means dictionary of patches",
        {"words": 150, "side": 6, "C": 0.01, "max_iter": 500, "tol": 0.001},
    ),
    ("random-forest", "random-forest", "200 trees", {"n_estimators": 200, "votes": 200}),
    ("extra-trees", "extra-trees", "200 random trees", {"n_estimators": 200, "votes": 200}),
    (
        "boosting", "boosting", "boosted trees",
        {"max_iter": 100, "learning_rate": 0.2, "max_leaf_nodes": 15, "max_features": 0.1, "max_bins": 32},
    ),
    (
        "logistic-regression", "logistic-regression", "linear on pixels",
        {"C": 0.05, "max_iter": 500, "tol": 0.01},
    ),
)  # fmt: skip
"""For 784 pixels and 12,000 images."""
