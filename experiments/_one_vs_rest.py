"""The baseline planner: TF-IDF and sentence embeddings, a logistic regression a task type, order by pair counts.

scikit-learn's parts with their usual settings; the regularisation and the threshold are chosen on validation samples by
node F1. It plans chains, over task types that occur in training.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import MultiLabelBinarizer

from orchestai_jax.data import PlanningSample
from orchestai_jax.evaluation import PredictedPlan, chain_links, score_plans

STRENGTHS = (10.0, 100.0, 1000.0)
"""Inverse regularisation strengths (scikit-learn's C) that are tried."""

THRESHOLDS = tuple(np.round(np.arange(0.05, 0.65, 0.025), 3))
"""Least probabilities of a chosen task type that are tried."""

_MAX_PERMUTED = 6  # 720 orders; a longer plan keeps the order of its probabilities' best pairs, greedily


@dataclasses.dataclass(frozen=True)
class OneVsRestPlanner:
    """A fitted baseline."""

    vectorizer: FeatureUnion
    classifier: OneVsRestClassifier
    task_types: tuple[str, ...]
    before: Counter[tuple[str, str]]
    """How often the first task type came before the second in a training plan."""
    strength: float
    threshold: float

    def plan_many(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[PredictedPlan]:
        """Plans of instructions, given their embeddings [texts, width]: the likely task types, as a chain."""
        scores = self.classifier.predict_proba(_features(self.vectorizer, texts, embeddings))
        return _plans(scores, self.threshold, self.task_types, self.before)

    def settings(self) -> dict[str, Any]:
        """What was chosen on the validation samples, for the results."""
        return {"C": self.strength, "threshold": self.threshold, "tfidf_features": _width(self.vectorizer)}


def fit_one_vs_rest(
    train: Sequence[PlanningSample],
    train_embeddings: NDArray[np.float32],
    validation: Sequence[PlanningSample],
    validation_embeddings: NDArray[np.float32],
    seed: int = 0,
) -> OneVsRestPlanner:
    """Fit on `train` with embeddings [samples, width]; choose C and the threshold on `validation` by node F1."""
    vectorizer = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=3)),
        ]
    )
    texts = [s.instruction for s in train]
    vectorizer.fit(texts)
    inputs = _features(vectorizer, texts, train_embeddings)
    held_out = _features(vectorizer, [s.instruction for s in validation], validation_embeddings)
    binarizer = MultiLabelBinarizer()
    labels = binarizer.fit_transform([s.nodes for s in train])
    task_types = tuple(binarizer.classes_)
    before = count_pairs(train)

    best: tuple[float, OneVsRestPlanner] | None = None
    for strength in STRENGTHS:
        # the dual form is an order of magnitude faster here: far more features than samples
        regression = LogisticRegression(C=strength, solver="liblinear", dual=True, random_state=seed, max_iter=1000)
        classifier = OneVsRestClassifier(regression).fit(inputs, labels)
        scores = classifier.predict_proba(held_out)
        for threshold in THRESHOLDS:
            plans = _plans(scores, float(threshold), task_types, before)
            value = score_plans(validation, plans).means["node_f1"]
            if best is None or value > best[0]:
                chosen = OneVsRestPlanner(vectorizer, classifier, task_types, before, strength, float(threshold))
                best = (value, chosen)
    if best is None:
        raise ValueError("no C or threshold to choose from; give STRENGTHS and THRESHOLDS at least one entry each")
    return best[1]


def count_pairs(samples: Sequence[PlanningSample]) -> Counter[tuple[str, str]]:
    """How often each task type comes before each other one in the samples' plans."""
    before: Counter[tuple[str, str]] = Counter()
    for sample in samples:
        for first, second in itertools.combinations(dict.fromkeys(sample.task_types), 2):
            before[first, second] += 1
    return before


def best_order(task_types: Sequence[str], before: Counter[tuple[str, str]]) -> tuple[str, ...]:
    """The order with the highest sum of log-odds of "a comes before b" over all pairs (add-half smoothed).

    All orders are tried up to 6 task types; beyond, types are inserted one by one where they fit best.
    """

    def odds(first: str, second: str) -> float:
        return math.log((before[first, second] + 0.5) / (before[second, first] + 0.5))

    def value(order: Sequence[str]) -> float:
        return sum(odds(a, b) for a, b in itertools.combinations(order, 2))

    if len(task_types) <= _MAX_PERMUTED:
        return max(itertools.permutations(task_types), key=value)
    order: tuple[str, ...] = ()
    for task_type in task_types:
        places = ((*order[:i], task_type, *order[i:]) for i in range(len(order) + 1))
        order = max(places, key=value)
    return order


def _plans(
    scores: NDArray[np.float64], threshold: float, task_types: tuple[str, ...], before: Counter[tuple[str, str]]
) -> list[PredictedPlan]:
    plans = []
    for row in scores:
        ranked = np.argsort(-row, kind="stable")
        chosen = [task_types[i] for i in ranked if row[i] >= threshold] or [task_types[ranked[0]]]
        order = best_order(chosen, before)
        plans.append(PredictedPlan(order, chain_links(order)))
    return plans


def _features(
    vectorizer: FeatureUnion, texts: Sequence[str], embeddings: NDArray[np.float32]
) -> scipy.sparse.csr_matrix:
    """TF-IDF beside the embeddings at length 1, so that each of the three blocks weighs the same."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    dense = scipy.sparse.csr_matrix(embeddings / np.maximum(lengths, 1e-12))
    return scipy.sparse.csr_matrix(scipy.sparse.hstack([vectorizer.transform(texts), dense]))


def _width(vectorizer: FeatureUnion) -> int:
    return sum(len(part.vocabulary_) for _, part in vectorizer.transformer_list)
