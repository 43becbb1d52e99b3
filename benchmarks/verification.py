"""How well verification tells a changed model from a right one, at scale.

Five models are trained, logged with MLflow and converted as a build converts them. Then their
graphs are changed at random, one change each, and asked what a build asks. A change counts as
harmful if it changes 0.5 % of the labels on rows that neither training nor verification has seen.
And models of other seeds, converted rightly, are asked the same way: none of them may be refused.

    python benchmarks/verification.py [--quick] [--json] [--mutants N] [--clean N]

A changed graph that ONNX Runtime does not load is drawn again: any check refuses that.

Keys of the JSON object, which is the last line:

- `mutants`, `harmful`: graphs that were changed and loaded; those that are harmful.
- `detected`: share of the harmful ones that conch refuses.
- `detected_finite_and_shape`: share that a check of shapes and finiteness on the example refuses.
- `detected_mean_error`: share that a threshold of 1e-3 on the mean absolute error on the example
  refuses.
- `clean`, `refused_clean`: right conversions, and those of them that conch refuses.
- `refused_clean_mean_error`: those that the mean-error check refuses.
- `missed`: the harmful changes that conch did not refuse, in words.
- `harmless_refused`: changes below 0.5 % of labels that conch refuses all the same; they are
  changes, so this is no fault.
- `compare_ms`: median time to judge one graph, with all rows.
- `seconds`: of the whole run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mutating.judging import Judged, judge, prove
from mutating.mutants import Mutant, mutant
from mutating.subjects import SUBJECTS

HARMFUL = 0.005
Say = Callable[[str], None]


@dataclass(slots=True)
class Figures:
    """What was seen.

    Attributes:
        judged: Every mutant with what became of it, by subject.
        clean: What became of right conversions, by subject.
        compare_s: Seconds per judged graph.
    """

    judged: dict[str, list[tuple[Mutant, Judged]]] = field(default_factory=dict)
    clean: dict[str, list[Judged]] = field(default_factory=dict)
    compare_s: list[float] = field(default_factory=list)

    def harmful(self, subject: str | None = None) -> list[tuple[Mutant, Judged]]:
        """Return the mutants that change labels."""
        names = [subject] if subject else list(self.judged)
        return [pair for name in names for pair in self.judged[name] if pair[1].changed >= HARMFUL]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        every = [pair for pairs in self.judged.values() for pair in pairs]
        harmful = self.harmful()
        clean = [one for found in self.clean.values() for one in found]
        return {
            "mutants": len(every),
            "harmful": len(harmful),
            "detected": share(one.refused for _, one in harmful),
            "detected_finite_and_shape": share(one.finite for _, one in harmful),
            "detected_mean_error": share(one.mean for _, one in harmful),
            "clean": len(clean),
            "refused_clean": sum(one.refused for one in clean),
            "refused_clean_mean_error": sum(one.mean for one in clean),
            "missed": [change.what for change, one in harmful if not one.refused],
            "harmless_refused": sum(one.refused and one.changed < HARMFUL for _, one in every),
            "compare_ms": round(1000 * statistics.median(self.compare_s or [0.0]), 1),
        }


def share(found: Any) -> float | None:
    """Return the share of what is true, to four digits; None of nothing."""
    values = list(found)
    return round(sum(values) / len(values), 4) if values else None


def mutate(figures: Figures, folder: Path, *, mutants: int, seed: int, say: Say) -> None:
    """Judge changed graphs, equally many of every subject."""
    for number, (name, make) in enumerate(SUBJECTS.items()):
        count = mutants // len(SUBJECTS) + (number < mutants % len(SUBJECTS))
        proof = prove(make(folder / name, seed), seed=seed)
        random = np.random.default_rng((seed, number))
        found: list[tuple[Mutant, Judged]] = []
        while len(found) < count:
            change = mutant(proof.graph, random)
            begun = time.perf_counter()
            one = judge(proof, change.graph)
            if one.loads:
                figures.compare_s.append(time.perf_counter() - begun)
                found.append((change, one))
        figures.judged[name] = found
        harmful = figures.harmful(name)
        say(
            f"{name:18} {len(found):5} mutants {len(harmful):5} harmful  refused: conch "
            f"{share(j.refused for _, j in harmful)}, finite and shape "
            f"{share(j.finite for _, j in harmful)}, mean error "
            f"{share(j.mean for _, j in harmful)}"
        )
        for change, one in harmful:
            if not one.refused:
                say(f"    missed: {change.what} ({one.changed:.2%} of labels)")


def convert_clean(figures: Figures, folder: Path, *, clean: int, seed: int, say: Say) -> None:
    """Judge right conversions of models of other seeds."""
    for number, (name, make) in enumerate(SUBJECTS.items()):
        count = clean // len(SUBJECTS) + (number < clean % len(SUBJECTS))
        found: list[Judged] = []
        for other in range(count):
            own = 1000 + 100 * seed + other
            proof = prove(make(folder / f"{name}-{own}", own), seed=own)
            found.append(judge(proof, proof.graph))
        figures.clean[name] = found
        say(f"{name:18} {count:5} clean   {sum(one.refused for one in found):5} refused")


def main() -> None:
    """Run, print, and end with the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 mutants, 10 clean conversions")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--mutants", type=int, default=None)
    parser.add_argument("--clean", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    mutants = given.mutants if given.mutants is not None else 40 if given.quick else 200
    clean = given.clean if given.clean is not None else 10 if given.quick else 200

    def say(line: str) -> None:
        if not given.json:
            print(line, flush=True)

    figures = Figures()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="conch-verification-") as scratch:
        mutate(figures, Path(scratch), mutants=mutants, seed=given.seed, say=say)
        convert_clean(figures, Path(scratch), clean=clean, seed=given.seed, say=say)
    kinds = Counter(one.kind for _, one in figures.harmful() if one.refused)
    say("what the refused ones look like: " + ", ".join(f"{k} {n}" for k, n in kinds.most_common()))
    print(json.dumps({**figures.as_dict(), "seconds": round(time.perf_counter() - begun, 1)}))


if __name__ == "__main__":
    main()
