"""Run a folder of statistics vectors against `conch.ab` and say how many cases pass.

    python tests/ab/run_vectors.py tests/ab/vectors
    python tests/ab/run_vectors.py DIR --json     # one JSON object as the last line

A vector file is a JSON object with `family` and `cases`; a case has `id`, `inputs` and `expected`
(see `vectors/README.md`). Each family below calls the product's own functions and compares what
they return. Families without an entry are named and do not count. Exit code 1 on any failure.

One file on purpose, so that it runs as a plain script: a short part that compares, then one small
function per family.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from conch import ab
from conch.ab import boundaries, quantiles

Inputs = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family is computed, and how close is close.

    `ci` is the absolute tolerance of intervals that the peer found with a numerical optimiser,
    `rel_of` the relative tolerance of single functions (`fn`) of a family.
    """

    compute: Callable[[Inputs], Any]
    rel: float = 0.0
    abs: float = 0.0
    ci: float = 0.0
    rel_of: Mapping[str, float] = field(default_factory=dict)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {"families": {}, "unknown": []}
    for path in sorted(options.folder.glob("*.json")):
        vectors = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(vectors, dict) or "family" not in vectors:
            continue
        name = vectors["family"]
        if name not in FAMILIES:
            report["unknown"].append(name)
            continue
        failures = [text for case in vectors["cases"] if (text := _failure(FAMILIES[name], case))]
        total = len(vectors["cases"])
        report["families"][name] = {"passed": total - len(failures), "failed": len(failures)}
        print(f"{name:34} {total - len(failures):4} passed {len(failures):4} failed")
        for text in failures:
            print(f"    {text}")
    if report["unknown"]:
        print("not implemented here: " + ", ".join(report["unknown"]))
    if options.json:
        print(json.dumps(report))
    failed = any(counts["failed"] for counts in report["families"].values())
    return 1 if failed or not report["families"] else 0


def _failure(family: Family, case: Mapping[str, Any]) -> str:
    """Return why a case fails; empty when it passes."""
    try:
        got = family.compute(dict(case["inputs"]))
    except Exception as error:  # a case that raises is a failed case, and the run goes on
        return f"{case['id']}: {type(error).__name__}: {error}"
    rel = family.rel_of.get(case["inputs"].get("fn", ""), family.rel)
    where = _difference(got, case["expected"], replace(family, rel=rel))
    return f"{case['id']}: {where}" if where else ""


def _difference(got: Any, want: Any, family: Family, at: str = "") -> str:
    if isinstance(want, dict):
        for key, value in want.items():
            if key not in got:
                return f"{at}{key} is not computed"
            if where := _difference(got[key], value, family, f"{at}{key}."):
                return where
        return ""
    if isinstance(want, list):
        if len(got) != len(want):
            return f"{at[:-1]} has {len(got)} items, expected {len(want)}"
        for index, (one, other) in enumerate(zip(got, want, strict=True)):
            if where := _difference(one, other, family, f"{at}{index}."):
                return where
        return ""
    if want in ("inf", "-inf"):
        want = float(want)
    if got is None or want is None or isinstance(want, str):
        return "" if got == want else f"{at[:-1]} is {got}, expected {want}"
    limit = max(family.abs, family.rel * abs(want), family.ci if at.startswith("ci_") else 0.0)
    if got == want or abs(got - want) <= limit:
        return ""
    return f"{at[:-1] or 'value'} is {got!r}, expected {want!r}"


def _computable(**functions: Callable[[], Any]) -> dict[str, Any]:
    """Return what can be computed; a case that expects more of it then fails by name."""
    found = {}
    for name, function in functions.items():
        try:
            found[name] = function()
        except ab.CannotComputeError:
            continue
    return found


# --- assignment -------------------------------------------------------------------------------


def _hash(inputs: Inputs) -> float | None:
    try:
        found = ab.bucket(inputs["seed"], inputs["value"], inputs["version"])
    except ab.InvalidStatisticError:  # the peer answers null for a version that it does not know
        return None
    many = ab.buckets(inputs["seed"], ["", inputs["value"], "other"], inputs["version"])
    return found if found == float(many[1]) else float("nan")


def _ranges(value: Any) -> tuple[ab.BucketRange, ...]:
    return tuple(ab.BucketRange(start, end) for start, end in value)


def _bucket_ranges(inputs: Inputs) -> list[list[float]]:
    found = ab.bucket_ranges(
        inputs["num_variations"], coverage=inputs["coverage"], weights=inputs["weights"]
    )
    return [[item.start, item.end] for item in found]


def _choose_variation(inputs: Inputs) -> int:
    return ab.choose_variation(inputs["n"], _ranges(inputs["ranges"]))


def _namespace(inputs: Inputs) -> int:
    name, start, end = inputs["namespace"]
    return int(ab.Namespace(name=name, start=start, end=end).holds(inputs["user_id"]))


def _assignment(inputs: Inputs) -> dict[str, Any]:
    given = inputs["experiment"]
    count = len(given["variations"])
    if given.keys() - _EXPERIMENT_KEYS:
        raise ValueError(f"unknown experiment keys {sorted(given.keys() - _EXPERIMENT_KEYS)}")
    ranges = _ranges(given["ranges"]) if "ranges" in given else None
    slot = given.get("namespace")
    experiment = ab.Experiment(
        key=given["key"],
        variations=count,
        ranges=ranges
        or ab.bucket_ranges(count, coverage=given.get("coverage", 1), weights=given.get("weights")),
        seed=given.get("seed"),
        hash_version=given.get("hashVersion", 1),
        namespace=ab.Namespace(name=slot[0], start=slot[1], end=slot[2]) if slot else None,
    )
    found = experiment.variation_of(inputs["user_id"])
    if found != experiment.variations_of([inputs["user_id"]])[0]:
        raise AssertionError("one at a time and in bulk disagree")
    taken = found != ab.NOT_ASSIGNED
    return {
        "value": given["variations"][found if taken else 0],
        "in_experiment": int(taken),
        "hash_used": int(taken),
    }


_EXPERIMENT_KEYS = {
    "key", "variations", "ranges", "weights", "coverage", "seed", "hashVersion", "namespace",
}  # fmt: skip

# --- effects ----------------------------------------------------------------------------------


def _arms(inputs: Inputs) -> tuple[ab.Arm, ab.Arm]:
    control, treatment = inputs["control"], inputs["treatment"]
    kind = inputs["kind"]
    if kind == "mean":
        return ab.arms_of_means(*(_moments(arm) for arm in (control, treatment)))
    if kind == "proportion":
        return ab.arms_of_rates(
            *(ab.Counts(units=arm["n"], events=arm["sum"]) for arm in (control, treatment))
        )
    if kind == "ratio":
        return ab.arms_of_ratios(*(_pair(arm, "num_", "den_") for arm in (control, treatment)))
    if kind == "cuped":
        arms = (_pair(arm, "post_", "pre_") for arm in (control, treatment))
        return ab.arms_with_covariate(*arms)
    raise ValueError(f"unknown kind {kind}")


def _moments(arm: Inputs) -> ab.Moments:
    return ab.Moments.from_sums(n=arm["n"], total=arm["sum"], squares=arm["sum_squares"])


def _pair(arm: Inputs, x: str, y: str) -> ab.PairMoments:
    return ab.PairMoments.from_sums(
        n=arm["n"],
        x=arm[f"{x}sum"],
        y=arm[f"{y}sum"],
        xx=arm[f"{x}sum_squares"],
        yy=arm[f"{y}sum_squares"],
        xy=arm[f"{x}{y}sum_products"],
    )


_SIDES: tuple[tuple[str, ab.Side], ...] = (
    ("two_sided", "two-sided"),
    ("greater", "greater"),
    ("less", "less"),
)


def _limits(effect: ab.Effect, result: ab.TestResult | ab.SequenceResult) -> dict[str, Any]:
    return {
        "effect": effect.estimate,
        "se": effect.se,
        "ci_lower": result.lower,
        "ci_upper": result.upper,
        "p_value": result.p_value,
    }


def _ttest(inputs: Inputs) -> dict[str, Any]:
    control, treatment = _arms(inputs)
    effect = ab.effect_of(control, treatment, inputs["difference_type"])
    found: dict[str, Any] = {
        key: _limits(effect, ab.welch_test(effect, alpha=inputs["alpha"], side=side))
        for key, side in _SIDES
    }
    return found | {"dof": effect.dof, "theta": control.theta}


def _sequential(inputs: Inputs) -> dict[str, Any]:
    effect = ab.effect_of(*_arms(inputs), inputs["difference_type"])
    alpha, tuning = inputs["alpha"], inputs["tuning_n"]
    return {
        key: _limits(effect, ab.sequence_of(effect, alpha=alpha, tuning_n=tuning, side=side))
        | {"rho": ab.sequence_rho(alpha, tuning, one_sided=side != "two-sided")}
        for key, side in _SIDES
    }


def _half_widths(inputs: Inputs) -> dict[str, float]:
    se = (inputs["variance"] / inputs["n"]) ** 0.5
    found = {}
    for key, one_sided in (("two_sided", False), ("one_sided", True)):
        alpha, tuning = inputs["alpha"], inputs["tuning_n"]
        found[f"rho_{key}"] = ab.sequence_rho(alpha, tuning, one_sided=one_sided)
        found[f"halfwidth_{key}"] = ab.half_width(
            se, inputs["n"], alpha=alpha, tuning_n=tuning, one_sided=one_sided
        )
    return found


def _boundary(inputs: Inputs) -> float:
    function: Callable[..., float] = getattr(boundaries, inputs.pop("fn"))
    first = ("s", "v") if "s" in inputs and "log_mixture" in function.__name__ else ("v", "alpha")
    at = [inputs.pop(name) for name in first]
    return function(*at, **inputs)


def _bayesian(inputs: Inputs) -> dict[str, float]:
    found = ab.posterior_of(
        *_arms(inputs),
        scale=inputs["difference_type"],
        prior=ab.NormalPrior(**inputs["prior"]) if inputs["prior"] else None,
        lower_is_better=inputs["lower_is_better"],
        alpha=inputs["alpha"],
    )
    return {
        "chance_to_win": found.chance_to_win,
        "posterior_mean": found.mean,
        "posterior_sd": found.sd,
        "ci_lower": found.lower,
        "ci_upper": found.upper,
        "risk_control": found.risk_control,
        "risk_treatment": found.risk_treatment,
    }


# --- events and splits ------------------------------------------------------------------------


def _two_arm_events(inputs: Inputs) -> dict[str, Any]:
    counts, shares = inputs["event_counts"], inputs["exposure_share"]
    k = inputs["concentration"]
    stage = ab.EventSplit(candidate=counts[1], control=counts[0], share=shares[1])
    log_e = ab.log_e_ratio_differs([stage], concentration=k)
    interval = ab.rate_ratio_interval([stage], inputs["alpha"], concentration=k)
    return {
        "log_e_value": log_e,
        "p_value": math.exp(min(0.0, -log_e)),
        "ci_log_rate_ratio": [_log(limit) for limit in interval],
    } | _computable(log_rate_ratio_estimate=lambda: _log(ab.rate_ratio([stage])))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _one_sided_events(inputs: Inputs) -> dict[str, float]:
    stage = ab.EventSplit(
        candidate=inputs["events_treatment"],
        control=inputs["events_control"],
        share=inputs["exposure_share_treatment"],
    )
    bound = inputs["null_max_rate_ratio"]
    log_e = ab.log_e_ratio_above([stage], bound, concentration=inputs["concentration"])
    return {
        "theta_boundary": stage.theta(bound),
        "log_e_value": log_e,
        "p_value": math.exp(min(0.0, -log_e)),
    }


def _two_counts(inputs: Inputs) -> tuple[ab.Counts, ab.Counts]:
    return (
        ab.Counts(units=inputs["n_control"], events=inputs["events_control"]),
        ab.Counts(units=inputs["n_treatment"], events=inputs["events_treatment"]),
    )


def _two_proportions(inputs: Inputs) -> dict[str, Any]:
    arms, alpha, margin = _two_counts(inputs), inputs["alpha"], inputs["margin_abs"]
    peer: ab.Restriction = "statsmodels"
    p_values = _computable(
        **{
            f"p_two_sided_{method}": partial(ab.difference_p_value, *arms, method=method)
            for method in ("score", "agresti-caffo", "wald")
        }
    )
    return p_values | _computable(
        ci_diff_score=lambda: ab.difference_interval(*arms, alpha=alpha, restriction=peer),
        ci_diff_newcomb=lambda: ab.difference_interval(*arms, alpha=alpha, method="newcombe"),
        ci_diff_wald=lambda: ab.difference_interval(*arms, alpha=alpha, method="wald"),
        p_non_inferior_score=lambda: ab.not_worse_p_value(*arms, margin=margin, restriction=peer),
        ci_ratio_score=lambda: ab.ratio_interval(*arms, alpha=alpha),
    )


def _two_rates(inputs: Inputs) -> dict[str, Any]:
    arms = tuple(
        ab.Exposure(events=inputs[f"events_{arm}"], amount=inputs[f"exposure_{arm}"])
        for arm in ("control", "treatment")
    )
    found: dict[str, Any] = {
        f"p_two_sided_{method}": ab.rate_ratio_p_value(*arms, method=method)
        for method in ("score", "etest-score", "exact-cond")
    }
    found["p_non_inferior_score"] = ab.ratio_below_p_value(*arms, bound=inputs["margin_ratio"])
    return found | _computable(
        ci_ratio_score=lambda: ab.score_ratio_interval(*arms, alpha=inputs["alpha"])
    )


def _non_inferiority(inputs: Inputs) -> dict[str, Any]:
    found = ab.non_inferiority_test(
        *_two_counts(inputs),
        margin=inputs["nim_relative"],
        lower_is_better=inputs["preferred_direction"] == "decrease",
        alpha=inputs["alpha"],
    )
    return {
        "difference": found.difference,
        "null_hypothesis": found.null,
        "p_value_noninferiority": found.p_value,
        "ci_one_sided": [found.lower, found.upper],
        "is_significant": int(found.p_value < inputs["alpha"]),
        "p_value_two_sided": found.two_sided.p_value,
        "ci_two_sided": [found.two_sided.lower, found.two_sided.upper],
    }


def _srm_growthbook(inputs: Inputs) -> dict[str, float]:
    counts, weights = inputs["counts"], inputs["weights"]
    found = ab.sample_ratio_tests(counts, weights, dof=len(weights) - 1)
    return {"p_value": found.p_pearson}


def _srm_once(inputs: Inputs) -> dict[str, Any]:
    found = ab.sample_ratio_tests(inputs["counts"], inputs["weights"])
    return {
        "chi2": found.chi2,
        "p_value_pearson": found.p_pearson,
        "p_value_g_test": found.p_g,
        "p_value_exact_binomial": found.p_binomial,
    }


def _srm_sequential(inputs: Inputs) -> dict[str, Any]:
    null, k = inputs["theta_null"], inputs["concentration"]
    counts, logs, p_values = [0] * len(null), [], [1.0]
    for batch in inputs["batches"]:
        counts = [one + other for one, other in zip(counts, batch, strict=True)]
        logs.append(ab.log_e_sample_ratio([(counts, null)], concentration=k))
        p_values.append(min(p_values[-1], math.exp(min(0.0, -logs[-1]))))
    below = [p <= inputs["alpha"] for p in p_values[1:]]
    return {
        "log_e_value_after_each_batch": logs,
        "running_p_value": p_values[1:],
        "first_batch_rejecting": below.index(True) if any(below) else None,
        "ci_theta_at_end": ab.share_intervals(counts, null, alpha=inputs["alpha"], concentration=k),
    }


# --- quantiles, bounded means, families of tests, power ---------------------------------------


def _quantile_metric(inputs: Inputs) -> dict[str, Any]:
    try:
        control, treatment = (
            ab.QuantileSummary(
                level=inputs["nu"],
                n=arm["n"],
                n_bounds=arm["n_star"],
                quantile=arm["quantile"],
                lower=arm["lower"],
                upper=arm["upper"],
            ).arm()
            for arm in (inputs["control"], inputs["treatment"])
        )
    except ab.CannotComputeError:
        return {"refused": True}
    effect = ab.effect_of(control, treatment, inputs["difference_type"])
    alpha = inputs["alpha"]
    sequence = ab.sequence_of(effect, alpha=alpha, tuning_n=inputs["tuning_n"])
    return {
        "refused": False,
        "variance_control": control.variance,
        "variance_treatment": treatment.variance,
        "fixed": _limits(effect, ab.welch_test(effect, alpha=alpha)),
        "sequential": _limits(effect, sequence),
    }


def _quantile_sequential(inputs: Inputs) -> Any:
    function = inputs.pop("fn")
    if function == "empirical_process_lil_bound":
        return quantiles.empirical_process_lil_bound(
            inputs["t"], inputs["alpha"], t_min=inputs["t_min"], a=inputs["A"]
        )
    if function == "double_stitching_bound":
        first = [inputs.pop(name) for name in ("quantile", "t", "alpha")]
        return quantiles.double_stitching_bound(*first, **inputs)
    if function == "fixed_quantile_confidence_sequence":
        first = [inputs.pop(name) for name in ("values", "quantile")]
        found = ab.quantile_interval(*first, **inputs, close_open_sides=True)
        return {key: getattr(found, key) for key in found.__slots__}
    if function == "quantile_ab_p_value":
        arms = (inputs.pop("control"), inputs.pop("treatment"))
        return ab.quantile_p_value(*arms, inputs.pop("quantile"), **inputs)
    raise ValueError(f"unknown function {function}")


def _bernoulli(inputs: Inputs) -> dict[str, float]:
    lower, upper = ab.share_interval(inputs.pop("successes"), inputs.pop("trials"), **inputs)
    return {"lower": lower, "upper": upper}


def _betting(inputs: Inputs) -> dict[str, list[float]]:
    lower, upper = ab.betting_interval(
        inputs["values"], alpha=inputs["alpha"], grid_points=inputs["grid_points"]
    )
    at = inputs["index"]
    return {"lower": lower[at].tolist(), "upper": upper[at].tolist()}


def _multiple(inputs: Inputs) -> dict[str, Any]:
    p_values, alpha = inputs["p_values"], inputs["alpha"]
    return {
        method.value: {
            "adjusted": list(ab.adjusted(p_values, method)),
            "reject": [int(found) for found in ab.rejected(p_values, method, alpha)],
        }
        for method in ab.Correction
    }


def _sample_size(inputs: Inputs) -> dict[str, float]:
    kind = inputs["kind"]
    if kind == "noninferiority_proportion_normal":
        found = ab.units_for_non_inferiority(
            inputs["rate"],
            inputs["margin_abs"],
            alpha=inputs["alpha_one_sided"],
            power=inputs["power"],
        )
        return {"n_per_arm": found}
    ratio = inputs["ratio_treatment_to_control"]
    alpha, power = inputs["alpha"], inputs["power"]
    if kind == "proportion_arcsine":
        baseline, change = inputs["baseline"], inputs["mde_abs"]
        units = ab.units_for_proportions(baseline, change, alpha=alpha, power=power, ratio=ratio)
        return {
            "effect_size_h": ab.effect_size_h(baseline, baseline + change),
            "n_control": units,
        }
    if kind == "mean_cohen_d":
        size = inputs["effect_size"]
        units = ab.units_for_means(size, alpha=alpha, power=power, ratio=ratio)
        half = round(units / 2)
        return {
            "n_control": units,
            "n_half": half,
            "power_at_half": ab.power_for_means(size, half, alpha=alpha, ratio=ratio),
        }
    raise ValueError(f"unknown kind {kind}")


def _mid_experiment(inputs: Inputs) -> dict[str, Any]:
    effect = ab.effect_of(*_arms(inputs), inputs["difference_type"])
    found = {}
    for key, tuning in (("fixed", None), ("sequential", inputs["tuning_n"])):
        power = ab.mid_experiment_power(
            effect,
            inputs["target_mde"],
            alpha=inputs["alpha"],
            power=inputs["target_power"],
            goals=inputs["num_goal_metrics"],
            comparisons=inputs["num_variations"] - 1,
            tuning_n=tuning,
        )
        found[key] = {
            "scaling_factor": power.growth,
            "power_now": power.now,
            "power_at_double": power.at_double,
        }
    return found


FAMILIES: dict[str, Family] = {
    "assignment_growthbook": Family(_assignment),
    "asympcs_halfwidth": Family(_half_widths, rel=1e-9),
    "bayesian_effect": Family(_bayesian, rel=1e-7, abs=1e-12),
    "bernoulli_confidence_sequence": Family(_bernoulli, abs=1e-6),
    "betting_bounded_mean": Family(_betting, abs=2e-3),
    "bucket_ranges": Family(_bucket_ranges, abs=1e-9),
    "canary_event_rate_eprocess": Family(_two_arm_events, rel=1e-9, abs=1e-8, ci=2e-4),
    "choose_variation": Family(_choose_variation),
    "confseq_boundaries": Family(_boundary, rel=1e-6),
    "error_rate_noninferiority": Family(_two_proportions, rel=1e-5, abs=1e-9),
    "event_rate_one_sided_eprocess": Family(_one_sided_events, abs=1e-8),
    "event_rate_ratio": Family(_two_rates, rel=1e-5),
    "hash_growthbook": Family(_hash),
    "midexperiment_power": Family(_mid_experiment, rel=1e-3, abs=1e-6),
    "multiple_testing": Family(_multiple, abs=1e-10),
    "namespace": Family(_namespace),
    "noninferiority_ztest": Family(_non_inferiority, rel=1e-7, abs=1e-12),
    "quantile_metric": Family(_quantile_metric, rel=1e-8, abs=1e-12),
    "quantile_sequential": Family(
        _quantile_sequential, rel=1e-6, rel_of={"quantile_ab_p_value": 1e-3}
    ),
    "sample_size": Family(_sample_size, rel=1e-4),
    "sequential_asympcs": Family(_sequential, rel=1e-8),
    "srm_chi2_gb": Family(_srm_growthbook, rel=1e-8, abs=1e-12),
    "srm_scipy": Family(_srm_once, rel=1e-8, abs=1e-12),
    "srm_sequential_multinomial": Family(_srm_sequential, rel=1e-6, abs=1e-8, ci=2e-4),
    "ttest_fixed": Family(_ttest, rel=1e-8, abs=1e-12),
}

if __name__ == "__main__":
    sys.exit(main())
