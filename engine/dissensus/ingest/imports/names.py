"""Names by which columns and arrays are recognised, in the order of preference."""

from __future__ import annotations

STRONG_IDS = (
    "example_id", "example_ids", "id", "ids", "file_name", "file_names", "filename", "filenames", "file",
    "files", "image", "image_id", "image_ids", "image_name", "path", "paths", "filepath", "image_path",
)  # fmt: skip
WEAK_IDS = (  # ids only where their values are those of the store, or distinct where there is none
    "key", "keys", "name", "names", "index", "", "unnamed: 0", "__index_level_0__",
)  # fmt: skip
IDS = STRONG_IDS + WEAK_IDS
MEMBER_IDS = (*STRONG_IDS, "names", "keys")  # of arrays, whose values are not looked at

# Of arrays: scores say more than probabilities, these more than classes.
LOGITS = ("logits", "scores", "outputs")
PROBABILITIES = ("probabilities", "probs", "softmax")
PREDICTIONS = (
    "predicted_class", "predicted_label", "prediction", "predictions", "predicted", "pred", "preds", "top1",
    "top_1", "y_pred", "y_hat", "labels_pred", "predicted_class_name",
)  # fmt: skip
HINTS = {"logit": "logits", "prob": "probabilities", "softmax": "probabilities"}
# The first classes of each example, and their scores, where a table has no more of them.
TOP_CLASSES = ("index", "indices", "label", "labels", "class")
TOP_SCORES = ("prob", "probs", "probability", "probabilities", "score", "scores", "confidence")
MODEL = ("model", "model_id", "model_name")

# Right answers; in a table without other candidates they may be predictions.
TRUTH_ARRAYS = (
    "label", "labels", "target", "targets", "true_label", "y_true", "truth", "ground_truth",
)  # fmt: skip
TRUTH = (*TRUTH_ARRAYS, "class", "class_id", "class_name", "y")

# Arrays with one name a class; pandas calls them "columns" where it splits a frame.
CLASS_ORDERS = ("classes", "class_names", "classes_", "label_names", "categories", "columns")
CLASS_NAMES = ("name", "class_name", "class", "label", "wnid", "synset")
CLASS_NUMBERS = ("class_id", "class", "index", "id", "label", "number")

UNNAMED = r"(arr_)?\d+"  # what numpy.savez calls arrays without names; places of a tuple

VALUE = "value"  # the column of a file that has just one


def hint_of(name: str) -> str | None:
    """Kind of predictions that a name speaks of."""
    return next((kind for word, kind in HINTS.items() if word in name.lower()), None)
