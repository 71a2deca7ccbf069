"""The oracle: every computation as plain loops over Python numbers. Imports nothing of ours, nor NumPy.

Sums are loops where their order matters: the built-in `sum` compensates floats from Python 3.12 on.
"""

from __future__ import annotations

import math
import statistics
import struct
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

NAN = math.nan


# Pairs of models, from two lists of right (True) and wrong (False) answers


def pair_counts(right_i, right_j):
    """(n11, n10, n01, n00) of two models over the same examples."""
    n11 = n10 = n01 = n00 = 0
    for i, j in zip(right_i, right_j, strict=True):
        if i and j:
            n11 += 1
        elif i:
            n10 += 1
        elif j:
            n01 += 1
        else:
            n00 += 1
    return n11, n10, n01, n00


def accuracies(n11, n10, n01, n00):
    n = n11 + n10 + n01 + n00
    return (n11 + n10) / n, (n11 + n01) / n


def error_inconsistency(n11, n10, n01, n00):
    return (n10 + n01) / (n11 + n10 + n01 + n00)


def chance_corrected(observed, n11, n10, n01, n00):
    """(c_obs - c_exp) / (1 - c_exp); undefined where both accuracies are 1 or both are 0."""
    a_i, a_j = accuracies(n11, n10, n01, n00)
    if a_i == a_j and a_i in (0.0, 1.0):
        return NAN
    expected = a_i * a_j + (1 - a_i) * (1 - a_j)
    return (observed - expected) / (1 - expected)


def error_consistency(n11, n10, n01, n00):
    return chance_corrected((n11 + n00) / (n11 + n10 + n01 + n00), n11, n10, n01, n00)


def error_consistency_unbiased(n11, n10, n01, n00):
    n, kappa = n11 + n10 + n01 + n00, error_consistency(n11, n10, n01, n00)
    if math.isnan(kappa) or math.isclose(n - 1, -kappa):
        return NAN
    return n * kappa / ((n - 1) + kappa)


def error_consistency_max(n11, n10, n01, n00):
    a_i, a_j = accuracies(n11, n10, n01, n00)
    return chance_corrected(1 - abs(a_i - a_j), n11, n10, n01, n00)


def error_consistency_min(n11, n10, n01, n00):
    a_i, a_j = accuracies(n11, n10, n01, n00)
    return chance_corrected(abs(a_i + a_j - 1), n11, n10, n01, n00)


def phi(n11, n10, n01, n00):
    """Pearson's correlation of the two lists of 0 and 1."""
    product = (n11 + n10) * (n01 + n00) * (n11 + n01) * (n10 + n00)
    return NAN if product == 0 else (n11 * n00 - n01 * n10) / math.sqrt(product)


def q_statistic(n11, n10, n01, n00):
    total = n11 * n00 + n01 * n10
    return NAN if total == 0 else (n11 * n00 - n01 * n10) / total


def double_fault(n11, n10, n01, n00):
    return n00 / (n11 + n10 + n01 + n00)


def error_iou(n11, n10, n01, n00):
    union = n10 + n01 + n00
    return NAN if union == 0 else n00 / union


def oracle_accuracy(n11, n10, n01, n00):
    return 1 - n00 / (n11 + n10 + n01 + n00)


def positive_flip_rate(n11, n10, n01, n00):
    return n01 / (n11 + n10 + n01 + n00)


def negative_flip_rate(n11, n10, n01, n00):
    return n10 / (n11 + n10 + n01 + n00)


def relative_nfr(n11, n10, n01, n00):
    a_i, a_j = accuracies(n11, n10, n01, n00)
    if a_i == 0 or a_j == 1:
        return NAN
    return negative_flip_rate(n11, n10, n01, n00) / (a_i * (1 - a_j))


# Intervals and tests of pairs


def derivative(measure, table, cell, step=Fraction(1, 10**6)):
    """Central difference of a measure by one count, in exact fractions where the measure has no root."""
    ends = []
    for sign in (1, -1):
        moved = [Fraction(count) for count in table]
        moved[cell] += sign * step
        ends.append(measure(*moved))
    return float((ends[0] - ends[1]) / (2 * step))


def best_partners(values, k, ascending):
    """Of each model the first k others by value, then by index; NaN is nobody's. Lists of (index, value)."""
    found = []
    for i, row in enumerate(values):
        others = [(value, j) for j, value in enumerate(row) if j != i and value == value]
        others.sort(key=lambda pair: (pair[0] if ascending else -pair[0], pair[1]))
        found.append([(j, value) for value, j in others[:k]])
    return found


def histogram(values, edges):
    """How many values lie in each bin: its lower edge included, the last bin's upper one too."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        for b in range(len(counts)):
            last = b == len(counts) - 1
            if edges[b] <= value < edges[b + 1] or (last and value == edges[b + 1]):
                counts[b] += 1
    return counts


def delta_interval(measure, table, level, low, high):
    """Interval of a measure from the multinomial variance at one example more in each cell.

    Clipped to the measure's range and enclosing its value.
    """
    value = float(measure(*table))
    if math.isnan(value):
        return NAN, NAN
    more = [count + 1 for count in table]
    n = sum(more)
    slopes = [derivative(measure, more, cell) for cell in range(4)]
    mean = square = 0.0
    for count, slope in zip(more, slopes, strict=True):
        mean += count / n * slope * n
        square += count / n * (slope * n) ** 2
    reach = statistics.NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(max(square - mean**2, 0.0) / n)
    centre = float(measure(*more))
    return max(low, min(centre - reach, value)), min(high, max(centre + reach, value))


def quantile(values, share):
    """Quantile of the defined values, interpolated between two."""
    ordered = sorted(v for v in values if not math.isnan(v))
    if not ordered:
        return NAN
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def percentile_interval(measure, tables, level):
    """Percentiles of a measure over drawn tables."""
    values = [measure(*table) for table in tables]
    return quantile(values, (1 - level) / 2), quantile(values, (1 + level) / 2)


def weighted_counts(right_i, right_j, weights):
    """(n11, n10, n01, n00) with each example counted as often as its weight says."""
    rows = [k for k, weight in enumerate(weights) for _ in range(weight)]
    return pair_counts([right_i[k] for k in rows], [right_j[k] for k in rows])


def benjamini_hochberg(p):
    """q-value of each test: the least level at which the step-up procedure rejects it; NaN is no test."""
    defined = [x for x in p if not math.isnan(x)]
    m, q = len(defined), []
    for x in p:
        levels = []
        for threshold in defined:
            if threshold >= x:
                levels.append(threshold * m / sum(other <= threshold for other in defined))
        q.append(min(1.0, *levels) if levels else NAN)
    return q


def mcnemar(gained, lost):
    """Exact two-sided p-value: twice the smaller tail of fair coins, in fractions; NaN if nothing changed."""
    n = gained + lost
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(min(gained, lost) + 1))
    return NAN if n == 0 else float(min(Fraction(1), 2 * tail))


def independence_z(right_i, right_j):
    """Excess of common right answers over independence, in standard deviations of a random permutation."""
    n, both = len(right_i), pair_counts(right_i, right_j)[0]
    n_i, n_j = sum(right_i), sum(right_j)
    variance = n_i * (n - n_i) * n_j * (n - n_j) / (n**2 * (n - 1))
    return NAN if variance == 0 else (both - n_i * n_j / n) / math.sqrt(variance)


def matrices_with_margins(rows, columns):
    """All matrices of 0 and 1 with given sums of rows and columns, each a tuple of rows."""
    if not rows:
        return [()] if not any(columns) else []
    found = []
    for chosen in combinations(range(len(columns)), rows[0]):
        rest = [total - (j in chosen) for j, total in enumerate(columns)]
        if min(rest) >= 0:
            first = tuple(int(j in chosen) for j in range(len(columns)))
            found += [(first, *others) for others in matrices_with_margins(rows[1:], rest)]
    return found


# Pairs of models, from two lists of predicted classes


def holds(tree, row):
    """True, False or None (unknown) of an expression over an example's columns, a missing value being None.

    A tree is ("and" or "or", tree, tree), ("not", tree), ("column", name), ("in", name, values),
    ("has", name, value) or (operator, name, value), the operator as Python writes it.
    """
    kind = tree[0]
    if kind in ("and", "or"):
        one, other = holds(tree[1], row), holds(tree[2], row)
        decisive = kind == "or"
        if one is decisive or other is decisive:
            return decisive
        return None if one is None or other is None else not decisive
    if kind == "not":
        inner = holds(tree[1], row)
        return None if inner is None else not inner
    value = row[tree[1]]
    if value is None or kind == "column":
        return value
    if kind == "in":
        return any(value == one for one in tree[2])
    if kind == "has":
        return any(one == tree[2] for one in value)
    if kind in ("==", "!="):
        return (value == tree[2]) is (kind == "==")
    return {"<": value < tree[2], "<=": value <= tree[2], ">": value > tree[2], ">=": value >= tree[2]}[kind]


def rows_by_value(values):
    """Row numbers of each value, missing ones under None."""
    groups = {}
    for row, value in enumerate(values):
        groups.setdefault(value, []).append(row)
    return groups


def linked_groups(distance, threshold):
    """Sets of two or more that chains of distances up to a threshold connect."""
    groups = [{i} for i in range(len(distance))]
    for i, j in combinations(range(len(distance)), 2):
        if distance[i][j] <= threshold:
            one, other = (next(g for g in groups if k in g) for k in (i, j))
            if one is not other:
                groups.remove(other)
                one |= other
    return [sorted(group) for group in groups if len(group) > 1]


def average_linkage(distance):
    """Distances at which the nearest two clusters, by the mean over their pairs, are joined in turn."""
    clusters, heights = [[i] for i in range(len(distance))], []
    while len(clusters) > 1:
        tried = []
        for a, b in combinations(range(len(clusters)), 2):
            total = 0.0
            for i in clusters[a]:
                for j in clusters[b]:
                    total += distance[i][j]
            tried.append((total / (len(clusters[a]) * len(clusters[b])), a, b))
        height, a, b = min(tried)
        heights.append(height)
        clusters[a] = clusters[a] + clusters.pop(b)
    return heights


def label_disagreement(top1_i, top1_j):
    different = 0
    for i, j in zip(top1_i, top1_j, strict=True):
        different += i != j
    return different / len(top1_i)


def label_kappa(top1_i, top1_j):
    """Cohen's kappa; undefined where both give one and the same class always."""
    n, observed, chance = len(top1_i), 0, 0
    for i, j in zip(top1_i, top1_j, strict=True):
        observed += i == j
    for c in set(top1_i) | set(top1_j):
        chance += top1_i.count(c) * top1_j.count(c)
    return NAN if chance == n * n else (observed / n - chance / n**2) / (1 - chance / n**2)


def same_wrong(top1_i, top1_j, labels):
    """Share of the same class among examples both get wrong; a label is a class or a collection of them."""
    both = same = 0
    for i, j, label in zip(top1_i, top1_j, labels, strict=True):
        if i not in classes_of(label) and j not in classes_of(label):
            both += 1
            same += i == j
    return NAN if both == 0 else same / both


# Pairs of models, from two lists of rows of logits


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def both_softmax(logits_i, logits_j):
    """Probabilities of both models, example by example."""
    for z_i, z_j in zip(logits_i, logits_j, strict=True):
        yield softmax(below_top(z_i)), softmax(below_top(z_j))


def below_top(row):
    return [z - max(row) for z in row]


def dot(one, other):
    return math.fsum(x * y for x, y in zip(one, other, strict=True))


def expected_agreement(logits_i, logits_j, labels):
    return mean(dot(p, q) for p, q in both_softmax(logits_i, logits_j))


def capa(logits_i, logits_j, labels):
    """Goel et al. 2025; undefined where agreement by chance is certain."""
    right_i = mean(truth_probability(below_top(z), y) for z, y in zip(logits_i, labels, strict=True))
    right_j = mean(truth_probability(below_top(z), y) for z, y in zip(logits_j, labels, strict=True))
    expected = right_i * right_j + (1 - right_i) * (1 - right_j) / (len(logits_i[0]) - 1)
    if expected == 1:
        return NAN
    return (expected_agreement(logits_i, logits_j, labels) - expected) / (1 - expected)


def brier_pair(logits_i, logits_j, labels):
    products = []
    for (p, q), y in zip(both_softmax(logits_i, logits_j), labels, strict=True):
        hot = [float(c == y) for c in range(len(p))]
        errors = [[x - h for x, h in zip(row, hot, strict=True)] for row in (p, q)]
        products.append(dot(*errors))
    return mean(products)


def hellinger(logits_i, logits_j, labels):
    squares = []
    for p, q in both_softmax(logits_i, logits_j):
        squares.append(sum((math.sqrt(x) - math.sqrt(y)) ** 2 for x, y in zip(p, q, strict=True)) / 2)
    return math.sqrt(mean(squares))


def kl(logits_i, logits_j, labels):
    """KL(p_i || p_j), through log-sum-exp: no probability of 0 is divided by."""
    divergences = []
    for z_i, z_j in zip(logits_i, logits_j, strict=True):
        p, norm_i, norm_j = softmax(below_top(z_i)), log_sum_exp(z_i), log_sum_exp(z_j)
        logs = [(x - norm_i) - (y - norm_j) for x, y in zip(z_i, z_j, strict=True)]
        divergences.append(dot(p, logs))
    return mean(divergences)


def logit_correlation(logits_i, logits_j, labels):
    """Pearson's correlation of rows minus their means, end to end."""
    one = [z - mean(row) for row in logits_i for z in row]
    other = [z - mean(row) for row in logits_j for z in row]
    spread = math.sqrt(dot(one, one)) * math.sqrt(dot(other, other))
    return NAN if spread == 0 else dot(one, other) / spread


def pair_answers(logits_i, logits_j, labels, temperatures=(1.0, 1.0)):
    """Example by example: whether the ensemble is right, whether the first alone, whether the second.

    The ensemble sums both members' fixed-point probabilities and takes the lowest class of the largest sum;
    alone a model takes the lowest class of its largest logit. A label is a class or a collection of right
    ones.
    """
    for z_i, z_j, label in zip(logits_i, logits_j, labels, strict=True):
        members = zip((z_i, z_j), temperatures, strict=True)
        q_i, q_j = (fixed_point(softmax(below_top(z), t)) for z, t in members)
        answers = argmax([a + b for a, b in zip(q_i, q_j, strict=True)]), argmax(z_i), argmax(z_j)
        yield [answer in classes_of(label) for answer in answers]


def pair_accuracy(logits_i, logits_j, labels, **options):
    answers = list(pair_answers(logits_i, logits_j, labels, **options))
    return sum(ensemble for ensemble, _, _ in answers) / len(answers)


def improvement(logits_i, logits_j, labels, **options):
    """Accuracy of the ensemble minus the mean of the members'; one division of whole numbers."""
    answers = list(pair_answers(logits_i, logits_j, labels, **options))
    return sum(2 * ensemble - i - j for ensemble, i, j in answers) / (2 * len(answers))


def conversion_rate(logits_i, logits_j, labels, **options):
    """Share of the examples that one of the two gets right alone which the ensemble gets right."""
    answers = list(pair_answers(logits_i, logits_j, labels, **options))
    apart = [ensemble for ensemble, i, j in answers if i != j]
    return sum(apart) / len(apart) if apart else math.nan


# What a study tells of models: theta, where examples lie, trends over models


def theta(first, second):
    """Angle of (confidence of the second, confidence of the first), in radians."""
    return math.atan2(first, second)


def auroc(first, second):
    """Share of pairs in which the first group's score is larger, equal ones counted half."""
    won = 0
    for a in first:
        for b in second:
            won += Fraction(1) if a > b else Fraction(1, 2) if a == b else Fraction(0)
    return float(won / (len(first) * len(second))) if first and second else NAN


def auroc_deviation(first, second):
    """Standard error of the AUROC by its placements (DeLong et al. 1988)."""
    of_first = [auroc([a], second) for a in first]
    of_second = [auroc(first, [b]) for b in second]
    return math.sqrt(
        statistics.variance(of_first) / len(first) + statistics.variance(of_second) / len(second)
    )


def entropy_bits(counts):
    total = sum(counts)
    return -sum(k / total * math.log2(k / total) for k in counts if k) if total else NAN


def share_of_classes(counts, part):
    """Fewest classes that hold a part (a Fraction) of all, as a share of the classes."""
    left, taken = sorted(counts, reverse=True), 0
    if not sum(counts):
        return NAN
    while sum(left[:taken]) < part * sum(counts):
        taken += 1
    return taken / len(counts)


def mean_ranks(values):
    """Rank from 1 of each value; equal values share their mean."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def correlation(x, y):
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread = math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))
    return products / spread if spread else NAN


def line(x, y):
    """(intercept, slope) of least squares, in fractions."""
    x, y = [Fraction(a) for a in x], [Fraction(b) for b in y]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )
    return mean_y - slope * mean_x, slope


def slope_beside(x, y, beside):
    """Slope on x of least squares on x and another number: that of what a line over it leaves of both."""
    a, b = line(beside, x)
    left_x = [Fraction(v) - a - b * Fraction(w) for v, w in zip(x, beside, strict=True)]
    a, b = line(beside, y)
    left_y = [Fraction(v) - a - b * Fraction(w) for v, w in zip(y, beside, strict=True)]
    return float(line(left_x, left_y)[1])


def slope_error(x, y, beside):
    """HC3 standard error of that slope: residuals of each point from the plane of all the others."""
    a, b = line(beside, x)
    left_x = [Fraction(v) - a - b * Fraction(w) for v, w in zip(x, beside, strict=True)]
    total = Fraction(0)
    for i in range(len(x)):
        rest = [[v for j, v in enumerate(column) if j != i] for column in (x, y, beside)]
        first = Fraction(slope_beside(*rest))
        second = Fraction(slope_beside(rest[2], rest[1], rest[0]))
        mean_x, mean_y, mean_b = (sum(map(Fraction, column)) / len(column) for column in rest)
        told = mean_y + first * (x[i] - mean_x) + second * (beside[i] - mean_b)
        total += (left_x[i] * (y[i] - told)) ** 2
    return math.sqrt(total) / float(sum(v**2 for v in left_x))


def pair_of_models(logits_a, logits_b, right, temperatures):
    """Whether the mean of two models' calibrated probabilities is right on each example, by lowest class."""
    told = []
    for a, b, classes in zip(logits_a, logits_b, right, strict=True):
        q = [
            fixed_point(softmax(row, temperature))
            for row, temperature in zip((a, b), temperatures, strict=True)
        ]
        told.append(argmax([one + other for one, other in zip(*q, strict=True)]) in classes)
    return told


# Single models


def argmax(values):
    """Index of the largest value, the lowest on ties."""
    best = 0
    for index, value in enumerate(values):
        if value > values[best]:
            best = index
    return best


def accuracy(logits, labels):
    hits = 0
    for row, label in zip(logits, labels, strict=True):
        hits += argmax(row) == label
    return hits / len(labels)


def log_sum_exp(row):
    top, total = max(row), 0.0
    for z in row:
        total += math.exp(z - top)
    return top + math.log(total)


def softmax(centred, temperature=1.0):
    """exp(z / T) / sum of them, class by class in float64; `centred` has its maximum at 0."""
    powers, total = [math.exp(z / temperature) for z in centred], 0.0
    for power in powers:
        total += power
    return [power / total for power in powers]


def classes_of(right):
    """Classes that count as right, ascending: of one class, or of a collection of them."""
    return [right] if isinstance(right, int) else sorted(set(right))


def truth_probability(centred, right, temperature=1.0):
    """Probability of the right classes together: their powers in ascending order, over the sum of all."""
    powers, total, some = [math.exp(z / temperature) for z in centred], 0.0, 0.0
    for power in powers:
        total += power
    for c in classes_of(right):
        some += powers[c]
    return some / total


def nll(logits, labels, temperature=1.0):
    """Mean of -log p(truth) at a temperature; a label is a class or a collection of right ones."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        scaled = [z / temperature for z in row]
        total += log_sum_exp(scaled) - log_sum_exp([scaled[c] for c in classes_of(label)])
    return total / len(labels)


def mean_and_variance(values, temperature):
    """Mean and variance of values under their softmax, as distances from the largest."""
    top, total, mean, spread = max(values), 0.0, 0.0, 0.0
    powers = [math.exp((z - top) / temperature) for z in values]
    for z, power in zip(values, powers, strict=True):
        total += power
        mean += power * (z - top)
    mean = top + mean / total
    for z, power in zip(values, powers, strict=True):
        spread += power * (z - mean) ** 2
    return mean, spread / total


def nll_slopes(centred, right, temperature=1.0):
    """First and second derivative of -log p(truth) by the inverse temperature."""
    mean, spread = mean_and_variance(centred, temperature)
    mean_right, spread_right = mean_and_variance([centred[c] for c in classes_of(right)], temperature)
    return mean - mean_right, spread - spread_right


# What the store writes


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def float16(value):
    return struct.unpack("<e", struct.pack("<e", value))[0]


def centred_float16(logits):
    """Rows of float32 logits as stored: minus the row maximum in float32, at least -65504, then float16."""
    rows = []
    for row in logits:
        top = max(row)
        rows.append([float16(below(float32(max(z - top, -65504.0)))) for z in row])
    return rows


def below(z):
    """What is below the maximum stays so by float16's smallest step."""
    return min(z, -(2.0**-24)) if z < 0 else z


def crc32c(data):
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# Greedy forward selection


class Step(NamedTuple):
    """A member taken, and the ensemble's score with it."""

    model: int
    hits: int
    nll: int


def fixed_point(probabilities):
    """p * 2**31 as integers, halves to even: their sums are exact, so that ties are ties."""
    return [round(p * 2**31) for p in probabilities]


def hits_with(sums, member, labels):
    """Examples right when a member's fixed-point rows are added to the ensemble's."""
    hits = 0
    for total, row, label in zip(sums, member, labels, strict=True):
        hits += argmax([t + q for t, q in zip(total, row, strict=True)]) in classes_of(label)
    return hits


def nll_with(truth, member, size):
    """Sum over examples of -log(mean p(truth)) * 2**32, each rounded, with a member added as the size-th."""
    total = 0
    for running, p in zip(truth, member, strict=True):
        value = math.log(size) - math.log(max(running + p, 2.0**-1022))
        total += round(value * 2**32)
    return total


def rank(step, members, metric):
    """Sort key, best first: the metric; a member already used; for accuracy then NLL; the lower index."""
    new = step.model not in members
    return (step.nll, new, step.model) if metric == "nll" else (-step.hits, new, step.nll, step.model)


def greedy(logits, labels, temperatures, size, metric="accuracy", start=(), replacement=True):
    """Steps of greedy selection over logits[model][example][class], given centred; `start` comes first.

    A label is the right class of an example, or a collection of right ones.
    """
    models = list(zip(logits, temperatures, strict=True))
    q = [[fixed_point(softmax(row, t)) for row in z] for z, t in models]
    p = [[truth_probability(row, y, t) for row, y in zip(z, labels, strict=True)] for z, t in models]
    sums, truth = [[0] * len(q[0][0]) for _ in labels], [0.0] * len(labels)
    steps: list[Step] = []
    while len(steps) < size:
        members, k = [step.model for step in steps], len(steps) + 1
        pool = [m for m in range(len(p)) if replacement or m not in members]
        pool = list(start[k - 1 : k]) or pool
        if not pool:
            break
        tried = [Step(m, hits_with(sums, q[m], labels), nll_with(truth, p[m], k)) for m in pool]
        best = min(tried, key=lambda step: rank(step, members, metric))
        sums = [[t + v for t, v in zip(*rows, strict=True)] for rows in zip(sums, q[best.model], strict=True)]
        truth = [s + t for s, t in zip(truth, p[best.model], strict=True)]
        steps.append(best)
    return steps


def ensemble_scores(q, p, labels, members):
    """(hits, fixed-point NLL) of members given in order, from q[model][example][class], p[model][example]."""
    hits = nll = 0
    for n, label in enumerate(labels):
        sums, truth = [0] * len(q[0][n]), 0.0
        for m in members:
            sums = [s + v for s, v in zip(sums, q[m][n], strict=True)]
            truth += p[m][n]
        hits += argmax(sums) in classes_of(label)
        nll += round((math.log(len(members)) - math.log(max(truth, 2.0**-1022))) * 2**32)
    return hits, nll


def search(score, pool, size, key, *, first=(), sorted_start=0, beam=1, replacement=True, allowed=None):
    """Members in order, of the best ensemble that a beam search finds.

    `score(members)` gives (hits, nll), `key` makes of it what is to be small; `allowed(members)` says whether
    distinct members are within the limits.
    """
    beams: list[list[int]] = [[]]
    while len(beams[0]) < size:
        tried = []
        for place, members in enumerate(beams):
            for m in pool:
                if (m in members and not replacement) or (allowed and not allowed({*members, m})):
                    continue
                tried.append((*ordered(score, key, members, m), place, m))
            step = len(members)
            if step < len(first):
                tried = [(*ordered(score, key, members, first[step]), place, first[step])]
            elif step < len(first) + sorted_start:
                alone = [t for t in tried if t[-1] not in members]
                best_alone = sorted(alone, key=lambda t: (*ordered(score, key, [], t[-1]), t[-1]))[:1]
                tried = best_alone or tried  # where limits leave no other, a member again
        if not tried:
            break
        best: list[list[int]] = []
        for *_, place, m in sorted(tried):
            new = [*beams[place], m]
            if sorted(new) not in [sorted(other) for other in best]:
                best.append(new)
        beams = best[:beam]
    return beams[0]


def ordered(score, key, members, m):
    """What a candidate is ordered by: its loss, whether it is new, the tie."""
    loss, tie = key(score([*members, m]))
    return loss, m not in members, tie


def best_prefix(losses, least=1):
    """Shortest length with the least loss."""
    best = least
    for k in range(least, len(losses) + 1):
        if losses[k - 1] < losses[best - 1]:
            best = k
    return best


def stop_of(losses, forced, patience):
    """Steps done when so many after the last new best, and after those that were no choice, brought none."""
    for k in range(1, len(losses) + 1):
        if k - max(best_prefix(losses[:k]), forced) >= patience:
            return k
    return len(losses)


def prune(loss, members, kept=()):
    """Members left, and dropped in order, while the loss does not rise; the latest chosen goes on ties."""
    left, dropped = list(members), []
    while len(set(left)) > 1:
        tried = []
        for k, m in enumerate([m for m in dict.fromkeys(left) if m not in kept]):
            tried.append((loss([x for x in left if x != m]), -k, m))
        if not tried or min(tried)[0] > loss(left):
            break
        worst = min(tried)[2]
        left = [x for x in left if x != worst]
        dropped.append(worst)
    return left, dropped


def pareto(points):
    """Places of (cost, loss) that no other is at most as dear as and better than, or equal to and before."""
    front = []
    for i, (cost, loss) in enumerate(points):
        beaten = False
        for j, (other_cost, other_loss) in enumerate(points):
            no_worse = other_cost <= cost and other_loss <= loss
            strictly = other_cost < cost or other_loss < loss or j < i
            beaten = beaten or (j != i and no_worse and strictly)
        if not beaten:
            front.append(i)
    return sorted(front, key=lambda i: points[i][0])


def mixture_nll(p, labels, weights, each=None):
    """Mean -log of the weighted mean of p[model][example][class] at the truth; examples count `each`."""
    each, total = each or [1] * len(labels), 0.0
    for n, label in enumerate(labels):
        total -= each[n] * math.log(sum(w * rows[n][label] for w, rows in zip(weights, p, strict=True)))
    return total / sum(each)


def mixture_brier(p, labels, weights, each=None):
    """Mean over examples of the sum over classes of (weighted mean - truth)^2; examples count `each`."""
    each, total = each or [1] * len(labels), 0.0
    for n, label in enumerate(labels):
        for c in range(len(p[0][n])):
            mixed = sum(w * rows[n][c] for w, rows in zip(weights, p, strict=True))
            total += each[n] * (mixed - (c == label)) ** 2
    return total / sum(each)


def simplex_grid(k, steps):
    """All weights of k members that are multiples of 1 / steps."""
    whole = [[]]
    for _ in range(k - 1):
        whole = [[*row, v] for row in whole for v in range(steps + 1) if sum(row) + v <= steps]
    return [[v / steps for v in [*row, steps - sum(row)]] for row in whole]


def em_weights(p_truth, rounds):
    """Expectation maximisation of a mixture's weights, from equal ones."""
    w, n = [1 / len(p_truth)] * len(p_truth), len(p_truth[0])
    for _ in range(rounds):
        mixed = [sum(w[m] * row[k] for m, row in enumerate(p_truth)) for k in range(n)]
        w = [w[m] * sum(row[k] / mixed[k] for k in range(n)) / n for m, row in enumerate(p_truth)]
    return w


def calibration_error(confidence, right, bins):
    """Mean |share right - mean confidence| over bins of equal mass, the first of them larger by one."""
    order = sorted(range(len(right)), key=lambda n: confidence[n])
    bins = min(bins, len(right))
    small, larger = divmod(len(right), bins)
    total = at = 0
    for k in range(bins):
        part = order[at : at + small + (k < larger)]
        at += len(part)
        total += abs(sum(right[n] for n in part) - sum(confidence[n] for n in part))
    return total / len(right)


def vector_loss(log_p, labels, x, temperature):
    """Mean NLL of softmax(log_p * factors + offsets), and its penalty."""
    n, c = len(log_p), len(log_p[0])
    scores = [[x[k] * v + x[c + k] for k, v in enumerate(row)] for row in log_p]
    away = sum((v - 1 / temperature) ** 2 for v in x[:c]) + sum(v**2 for v in x[c:])
    return nll(scores, labels) + away / (2 * n)


def greedy_by(score, n_models, size):
    """(model, score) of each step by the score of a list of members, larger is better.

    Ties go to a member already used, then to the lower index.
    """
    members: list[int] = []
    steps = []
    while len(steps) < size:
        tried = [(-score([*members, m]), m not in members, m) for m in range(n_models)]
        lost, _, best = min(tried)
        members.append(best)
        steps.append((best, -lost))
    return steps


def weighted_hits(rows, members, labels, weights):
    """Weight of the examples whose largest sum over members' rows[model][example] is a right class's."""
    hits = 0
    for n, (label, weight) in enumerate(zip(labels, weights, strict=True)):
        sums = [sum(values) for values in zip(*(rows[m][n] for m in members), strict=True)]
        hits += weight * (argmax(sums) in classes_of(label))
    return hits


def fixed_weights(values):
    """Whole weights as they are; others with a mean of 1, times 2**32, as integers."""
    if all(value == int(value) for value in values):
        return [int(value) for value in values]
    scale = len(values) * 2**32 / math.fsum(values)
    return [round(value * scale) for value in values]


def balanced_weights(labels, each):
    """Integer weights so scaled that every class present has the same sum, all together n times 2**32."""
    of_class = {y: sum(w for w, label in zip(each, labels, strict=True) if label == y) for y in labels}
    share = len(labels) * 2**32 / sum(total > 0 for total in of_class.values())
    return [round(w * (share / max(of_class[y], 1))) for w, y in zip(each, labels, strict=True)]


def brier_if_added(q, members, labels, each):
    """Minus the sum of squared distances of the mean from the truth, times 2**52, rounded down to an integer.

    Of q[model][example], probabilities times 2**31, rounded to 20 bits; examples count `each`, in integers.
    """
    total, size = 0, len(members)
    for n, label in enumerate(labels):
        for c in range(len(q[0][n])):
            u = sum((q[m][n][c] + 1024) // 2048 for m in members)
            total += each[n] * (u - size * 2**20 * (c == label)) ** 2
    return -(total * 2**12 // size**2)


def scaled_logits(row, temperature):
    """z / T * 2**24 as integers, halves to even."""
    return [round(z / temperature * 2**24) for z in row]


def plurality(votes, n_classes):
    """Class with most votes, the lowest on ties."""
    return argmax([sum(vote == c for vote in votes) for c in range(n_classes)])


def votes_right(top1, members, labels, n_classes):
    """Examples whose plurality vote of members' top1[model][example] is right."""
    hits = 0
    for n, label in enumerate(labels):
        hits += plurality([top1[m][n] for m in members], n_classes) in classes_of(label)
    return hits


def greedy_votes(top1, labels, n_classes, size, start=(), replacement=True):
    """(model, hits) of each step; ties go to a member already used, then to the lower index."""
    members: list[int] = []
    steps = []
    while len(steps) < size:
        pool = [m for m in range(len(top1)) if replacement or m not in members]
        pool = list(start[len(steps) : len(steps) + 1]) or pool
        tried = [(-votes_right(top1, [*members, m], labels, n_classes), m not in members, m) for m in pool]
        lost, _, best = min(tried)
        members.append(best)
        steps.append((best, -lost))
    return steps


def correct_under_sets(top1, sets):
    """For each model, whether each predicted class is among the example's right ones."""
    return [[predicted in right for predicted, right in zip(row, sets, strict=True)] for row in top1]


# Predictions in files


def kind_of_scores(rows):
    """Whether rows are one-hot, probabilities, log-probabilities or logits, or what they are refused as.

    "mixed" where some are probabilities and some are not, "classes" where they could as well be classes,
    "sigmoids" where they lie in 0..1, "shares" where most rows have nearly one sum.
    """
    n_classes, values = len(rows[0]), [x for row in rows for x in row]
    decimals = next((d for d in range(6) if all(x == round(x, d) for x in values)), 6)
    tolerance = max(0.02, min(0.5, n_classes / 2 * 10**-decimals)) + 1e-9
    sums = [math.fsum(row) for row in rows]

    if all(sorted(row) == [0] * (n_classes - 1) + [1] for row in rows):
        return "one-hot"
    n_probabilities = sum(min(row) >= 0 and abs(math.fsum(row) - 1) <= tolerance for row in rows)
    if n_probabilities == len(rows):
        return "probabilities" if all(abs(total - 1) <= 1e-3 + 1e-9 for total in sums) else "renormalised"
    luck = min(len(rows) / 2, max(3, 0.02 * len(rows))) if min(values) < 0 else 0
    if n_probabilities > luck:
        return "mixed"
    if all(x in range(n_classes) for x in values):
        return "classes"
    if min(values) >= 0 and max(values) <= 1:
        return "sigmoids"
    positive = [total for row, total in zip(rows, sums, strict=True) if min(row) >= 0]
    middle = statistics.median(positive) if positive else 0
    rounding = n_classes / 2 * 10**-decimals if decimals < 6 else 0
    reach = max(0.02 * middle, min(rounding, middle / 20)) + 1e-9
    if middle > 0 and 2 * sum(abs(total - middle) <= reach for total in positive) > len(rows):
        return "shares"
    is_log = all(max(row) <= 0 and abs(math.log(math.fsum(map(math.exp, row)))) <= 0.02 for row in rows)
    return "log-probabilities" if is_log else "logits"


def rows_by_id(rows, ids, wanted):
    """Rows in another order of ids."""
    by_id = dict(zip(ids, rows, strict=True))
    return [by_id[name] for name in wanted]


def accuracy_in_order(predicted, labels, file_order):
    """Accuracy if class c of the predictions is class file_order[c] of the labels."""
    return sum(file_order[p] == y for p, y in zip(predicted, labels, strict=True)) / len(labels)


# Ranks


def top_classes(row, k):
    """First k classes of a row: the largest logit first, the lowest class of equal ones."""
    left, found = list(range(len(row))), []
    for _ in range(k):
        best = left[0]
        for c in left:
            if row[c] > row[best]:
                best = c
        found.append(best)
        left.remove(best)
    return found


def topk_accuracy(rows, truths, k):
    """Share of examples with a right class among the first k; examples without a right class do not count."""
    counted = [(row, right) for row, right in zip(rows, truths, strict=True) if right]
    hits = [any(c in right for c in top_classes(row, k)) for row, right in counted]
    return sum(hits) / len(hits) if hits else NAN


# Why an ensemble gains, who gets an example right, what a new model breaks


def judged(q, weights, right):
    """Whether a right class comes first in the weighted sum of fixed-point rows; not without any weight."""
    total = [sum(w * row[c] for w, row in zip(weights, q, strict=True)) for c in range(len(q[0]))]
    return any(weights) and argmax(total) in classes_of(right)


def brier(q, weights, right):
    """Squared distance of the weighted mean to the right class, an exact fraction; NaN without weight."""
    whole = sum(weights) * 2**31
    if whole == 0:
        return NAN
    total = [sum(w * row[c] for w, row in zip(weights, q, strict=True)) for c in range(len(q[0]))]
    return sum((Fraction(t, whole) - (c == right)) ** 2 for c, t in enumerate(total))


def brier_spread(q, weights):
    """Weighted mean of the members' squared distances to their mean, an exact fraction."""
    whole, spread = sum(weights), Fraction(0)
    for w, row in zip(weights, q, strict=True):
        for c in range(len(row)):
            mean = Fraction(sum(v * other[c] for v, other in zip(weights, q, strict=True)), whole * 2**31)
            spread += Fraction(w, whole) * (Fraction(row[c], 2**31) - mean) ** 2
    return spread


def mean_nll(p, weights):
    """NLL of the weighted mean of probabilities of the truth; NaN without weight."""
    whole = sum(weights)
    mean = sum(w * x for w, x in zip(weights, p, strict=True)) / whole if whole else NAN
    return NAN if not whole else -math.log(max(mean, 2.0**-1022))


def without(weights, m):
    """Weights with the m-th taken away."""
    return [0 if i == m else w for i, w in enumerate(weights)]


def changes(before, after, values):
    """By value: (n, right before, right after, only after, only before), in the order of first sight."""
    found = {}
    for old, new, value in zip(before, after, values, strict=True):
        counts = found.setdefault(value, [0, 0, 0, 0, 0])
        for place, flag in enumerate((True, old, new, new and not old, old and not new)):
            counts[place] += flag
    return found


def item(right, n):
    """Discrimination and slope of example n from right[model][example]: rest accuracy against being right."""
    size, others = len(right), len(right[0]) - 1
    x = [int(row[n]) for row in right]
    rest = [Fraction(sum(row) - row[n], others) if others else Fraction(0) for row in right]
    mean_x, mean_r = Fraction(sum(x), size), sum(rest) / size
    both = sum((a - mean_x) * (b - mean_r) for a, b in zip(x, rest, strict=True))
    spread_x, spread_r = sum((a - mean_x) ** 2 for a in x), sum((b - mean_r) ** 2 for b in rest)
    if spread_x == 0 or spread_r == 0:
        return NAN, NAN
    return float(both) / math.sqrt(spread_x * spread_r), float(both / spread_r)


def who(right, n, categories):
    """Places of the models that get example n right, strongest first, and the one category they have."""
    order = sorted(range(len(right)), key=lambda m: -sum(right[m]))
    able = [m for m in order if right[m][n]]
    kinds = {categories[m] for m in able}
    return able, kinds.pop() if len(kinds) == 1 and len(set(categories)) > 1 else None
