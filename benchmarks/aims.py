"""What was aimed at in speed and memory, and what the kept results show: met and missed alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aim import COMMANDS, ONE, Aim, Result, at_least, at_most, memory_of_more_examples, of, target, times

ALL_PAIRS = "counts of all pairs, {models} x {examples:,}"
PARTNERS = "20 best partners of {models:,} models x {examples:,}"
CAPA = "CAPA of {scored} x {examples:,} x {classes:,}"
STEPS_OF_ZOO = "fifty greedy steps over {zoo[models]} x {zoo[examples]:,} x {classes:,}"
ENSEMBLES = "all pair ensembles of {models} x {examples:,} x {classes:,}"
STUDY = "a study of {models} x {examples:,} x {classes:,} in a new process"
CHUNKS, SHARDED = "zarr-python, plain chunks", "zarr-python, same sharded array"

AIMS = (
    *of(
        "pair-counts",
        at_least(
            f"{ALL_PAIRS}, beside a float32 matrix product",
            times("float32 GEMM", "dissensus counts"),
            25,
            "times",
        ),
        at_least(
            f"{ALL_PAIRS}, beside scipy's `pdist` (hamming)",
            times("scipy pdist hamming", "dissensus counts"),
            500,
            "times",
        ),
        at_most(
            f"{ALL_PAIRS}, beside the machine's popcount roof",
            times("dissensus counts", "popcount roof"),
            1.5,
            "times",
        ),
    ),
    *of(
        "pair-queries",
        at_most(
            "`dissensus pairs --top 20`, {models} x {examples:,}, in a new process",
            target("dissensus pairs --top 20"),
            1,
        ),
        at_most(
            "all measures of all pairs of {models} models, with delta intervals",
            target("all, delta intervals"),
            1,
        ),
        at_most(
            "kappa of all pairs of {models} models, {draws:,} multinomial draws each",
            target("kappa, resampled intervals"),
            60,
        ),
        at_least(f"{CAPA} from disk, of the machine's float32 rate", target("capa, first time"), 0.6),
        at_least(
            f"{CAPA}, files in memory, of the machine's float32 rate", target("capa, files in memory"), 0.6
        ),
    ),
    *of(
        "pair-scale",
        at_most(PARTNERS, target("seconds"), 60),
        at_most(f"{PARTNERS}: peak memory of the process", target("peak_bytes"), 2**30, "MiB"),
        at_least(
            "the matrix of all pairs of {matrix[models]:,} models to Zarr, of the disk's speed",
            lambda r: (
                float(r["matrix"]["seconds"]["writing as many bytes"])
                / r["matrix"]["seconds"]["matrix to .zarr"]
            ),
            0.9,
        ),
    ),
    *of(
        "greedy",
        at_least(
            "a greedy step, {models} x {examples:,} x {classes:,}, beside a parallel float32 brute force",
            target("times_float32"),
            30,
            "times",
        ),
        at_most(
            "answers of a greedy step that are read from full rows, after the first step",
            target("open_share"),
            0.001,
            "%",
        ),
        at_most(f"{STEPS_OF_ZOO}, from views", lambda r: float(r["zoo"]["seconds"]), 10),
        at_most(
            f"{STEPS_OF_ZOO}: peak memory of the process",
            lambda r: float(r["zoo"]["peak_bytes"]),
            4 * 2**30,
            "MiB",
        ),
    ),
    *of(
        "full-store",
        at_most(
            "{steps} greedy steps over a store of {models} x {examples:,} x {classes:,} on disk: memory "
            "of the process's own",
            lambda r: float(r["private_bytes"]["greedy"]),
            4 * 2**30,
            "MiB",
        ),
    ),
    *of(
        "greedy-peers",
        at_least(
            "a whole greedy step by NLL, {models} x {examples:,} x {classes:,}, beside TabArena's "
            "`fast_log_loss`",
            target("times_fast_log_loss_step"),
            3,
            "times",
        ),
        at_least(
            "the choice within a greedy step by NLL, which is all that `fast_log_loss` does, beside it",
            target("times_fast_log_loss_choice"),
            3,
            "times",
        ),
    ),
    *of(
        "pair-ensembles",
        at_most(f"{ENSEMBLES}, from views", target("all pairs from views"), 30),
        at_most(f"{ENSEMBLES}: answers that need full rows", target("share by full rows"), 0.0005, "%"),
    ),
    *of(
        "store-speed",
        at_least("write of a model, of the speed of a raw write and sync", target("write"), 0.8),
        at_least(
            "write beside zarr-python, plain chunks, synced alike",
            times(f"{CHUNKS}, synced", part="write"),
            3,
            "times",
        ),
        at_least(
            "write beside zarr-python, plain chunks, without its sync",
            times(CHUNKS, part="write"),
            3,
            "times",
        ),
        at_least(
            "write beside `torch.save`, without its sync", times("torch.save", part="write"), 1, "times"
        ),
        at_least(
            "write beside `torch.save`, synced alike", times("torch.save, synced", part="write"), 1, "times"
        ),
        at_least(
            "write beside `np.savez_compressed`", times("np.savez_compressed", part="write"), 1, "times"
        ),
        at_least(
            "write beside pandas' Parquet", times("pandas Parquet, list column", part="write"), 1, "times"
        ),
        at_least("reading blocks, cached, of the speed of raw `preadv`", target("read, cached"), 0.8),
        at_least("reading blocks, cold, of the speed of raw `preadv`", target("read, cold"), 0.8),
        at_least(
            "reading blocks, cached, beside zarr-python", times(SHARDED, part="read, cached"), 3, "times"
        ),
        at_least("reading blocks, cold, beside zarr-python", times(SHARDED, part="read, cold"), 3, "times"),
        at_least("full verify, cached, of the speed of reading the files", target("verify, cached"), 0.7),
        at_least("full verify, cold, of the speed of reading the files", target("verify, cold"), 0.7),
        at_most("opening a store of {listed:,} models", target("listing the models"), 100, "ms"),
        at_most(
            "top-1 and correctness of {predicted} x {examples:,} from the cache",
            target("predictions, from the cache"),
            50,
            "ms",
        ),
    ),
    *of(
        "imports",
        at_most("four ImageNet models x 50,000 by file name, and ReaL, imported", target("ImageNet"), 20),
        at_most("thirty CIFAR-10 models x 10,000 imported", target("CIFAR-10"), 20),
    ),
    *of(
        "study",
        at_most(STUDY, target("seconds"), 180),
        at_most(f"{STUDY}: memory without mapped files", target("peak_anonymous_bytes"), 4 * 2**30, "MiB"),
    ),
    *of(
        "ingest-speed",
        at_most(
            "what streaming into the store adds to the bare loop, {loops[0][architecture]} at "
            "{loops[0][side]} px",
            lambda r: float(r["loops"][0]["ratios"]["the store"]["median"]),
            0.03,
            "%",
        ),
        at_most(
            "16 {peers[0][name]} over JPEG files, share of the time of timm's 16 passes",
            lambda r: float(r["peers"][0]["ratios"][ONE]["median"]),
            0.4,
            "%",
        ),
        at_most(
            "decodes of an image by one `infer` of 16 {peers[0][name]}",
            lambda r: float(r["peers"][0]["decodes"][ONE] / r["peers"][0]["decodes"]["images"]),
            1,
            "",
        ),
    ),
    *of(
        "ingest-memory",
        *(
            at_most(
                f"what streaming adds to the process at {{runs[1][examples]:,}} examples, beside "
                f"{{runs[0][examples]:,}}, {told}",
                memory_of_more_examples(resident),
                1.05,
                "times",
            )
            for resident, told in ((1, "a model in memory"), (8, "8 models in memory"))
        ),
    ),
    *of(
        "predictions",
        at_least("forecasts of `dissensus plan` within 30 % of the time", target("time within 30 %"), 1, "%"),
        at_least(
            "forecasts within 15 % of the memory, and not too low",
            target("memory within 15 % and not too low"),
            1,
            "%",
        ),
        at_least(
            "forecasts that tell enough memory", lambda r: 1 - r["targets"]["memory too low"]["found"], 1, "%"
        ),
    ),
    *of("demo-digits", at_most("the demo on digits, from nothing", lambda r: 60 * r["minutes"], 180)),
    *of(
        "demo-fashion-mnist",
        at_most("the demo on Fashion-MNIST, from nothing", lambda r: 60 * r["minutes"], 1_800),
    ),
)


def table(newest: Callable[[str], Result]) -> str:
    """The aims as a table, the farthest from being met first; what no result holds is named below it."""
    found = [(aim, _holding(aim, newest)) for aim in AIMS]
    known = [(aim, result) for aim, result in found if result is not None]
    lacking = dict.fromkeys(COMMANDS[aim.result] for aim, result in found if result is None)
    known.sort(key=lambda both: both[0].share(both[1]))
    missed = sum(aim.share(result) < 1 for aim, result in known)
    lines = [
        f"Of {len(known)} figures that were aimed at {missed} are missed ({machines(known)}):",
        "",
        "| what | found | aim | when | by |",
        "|---|---|---|---|---|",
    ]
    lines += [aim.row(result) for aim, result in known]
    if lacking:
        lines += ["", f"{len(AIMS) - len(known)} more were not measured: {_commands(lacking)}."]
    return "\n".join(lines)


def _commands(scripts: Iterable[str]) -> str:
    return ", ".join(f"`python benchmarks/{script}`" for script in scripts)


def machines(known: list[tuple[Aim, Result]]) -> str:
    return "; ".join(dict.fromkeys(str(result["machine"]) for _, result in known))


def _holding(aim: Aim, newest: Callable[[str], Result]) -> Result | None:
    try:
        result = newest(aim.result)
        aim.row(result)
    except (KeyError, IndexError, ValueError):
        return None
    return result
