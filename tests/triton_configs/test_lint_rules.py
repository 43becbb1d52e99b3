"""Each rule of the linter fires on its case and not on configurations without a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from conch.core import DType
from conch.triton_configs import (
    RULES,
    Accelerator,
    BatchInput,
    BatchOutput,
    Control,
    ControlInput,
    ControlKind,
    CudaOptimization,
    DynamicBatching,
    EnsembleStep,
    Ensembling,
    ExecutionAccelerators,
    GraphOptimization,
    HistogramOptions,
    InitialState,
    Input,
    InputFormat,
    InstanceGroup,
    InstanceKind,
    LatestVersions,
    MetricControl,
    MetricIdentifier,
    ModelConfig,
    ModelMetrics,
    OptimizationPolicy,
    Output,
    QueuePolicy,
    RateLimiter,
    RateLimiterResource,
    Reshape,
    ResponseCache,
    SequenceBatching,
    Severity,
    SpecificVersions,
    State,
    StrategyDirect,
    TimeoutAction,
    TransactionPolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
    lint,
)

X = Input(name="x", data_type=DType.FP32, dims=(3, 8, 8))
Y = Output(name="y", data_type=DType.FP32, dims=(4,))
ROW = WarmupInput(data_type=DType.FP32, dims=(3, 8, 8), zero_data=True)
GROUP = InstanceGroup(kind=InstanceKind.CPU, count=2)
BATCHED = ModelConfig(
    name="m",
    backend="onnxruntime",
    version_policy=VersionPolicy(specific=SpecificVersions(versions=(3,))),
    max_batch_size=8,
    input=(X,),
    output=(Y,),
    dynamic_batching=DynamicBatching(
        preferred_batch_size=(4, 8), default_queue_policy=QueuePolicy(max_queue_size=64)
    ),
    instance_group=(GROUP,),
    model_warmup=tuple(
        Warmup(name=f"b{rows}", batch_size=rows, inputs={"x": ROW}) for rows in (1, 4, 8)
    ),
)
PLAN = replace(
    BATCHED,
    backend="tensorrt",
    instance_group=(InstanceGroup(kind=InstanceKind.GPU, count=1, profile=("0",)),),
    optimization=OptimizationPolicy(cuda=CudaOptimization(graphs=True)),
)
TREES = replace(
    BATCHED,
    backend="fil",
    input=(Input(name="input__0", data_type=DType.FP32, dims=(5,)),),
    output=(Output(name="output__0", data_type=DType.FP32, dims=(1,)),),
    parameters={"model_type": "lightgbm", "is_classifier": "true"},
    model_warmup=tuple(
        Warmup(
            name=f"b{rows}",
            batch_size=rows,
            inputs={"input__0": WarmupInput(data_type=DType.FP32, dims=(5,), random_data=True)},
        )
        for rows in (4, 8)
    ),
)
START = Control(kind=ControlKind.SEQUENCE_START, fp32_false_true=(0.0, 1.0))
MEMORY = State(input_name="h", output_name="h_next", data_type=DType.FP32, dims=(4,))
SEQUENCE = replace(
    BATCHED,
    dynamic_batching=None,
    sequence_batching=SequenceBatching(
        direct=StrategyDirect(minimum_slot_utilization=0.5),
        control_input=(ControlInput(name="start", control=(START,)),),
        state=(MEMORY,),
    ),
)
FIRST = EnsembleStep(
    model_name="one", model_version=-1, input_map={"x": "raw"}, output_map={"y": "mid"}
)
SECOND = EnsembleStep(
    model_name="two", model_version=-1, input_map={"x": "mid"}, output_map={"y": "out"}
)
GRAPH = ModelConfig(
    name="m",
    platform="ensemble",
    max_batch_size=8,
    input=(replace(X, name="raw"),),
    output=(replace(Y, name="out"),),
    ensemble_scheduling=Ensembling(step=(SECOND, FIRST)),
)
MEMBERS = {"one": BATCHED, "two": BATCHED}
CLEAN = {"batched": BATCHED, "plan": PLAN, "trees": TREES, "sequence": SEQUENCE, "graph": GRAPH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A configuration with one fault, and where it lies."""

    config: ModelConfig
    path: str
    triton: str = "26.05-py3"
    known: Mapping[str, Any] = field(default_factory=dict)


def case(path: str, base: ModelConfig = BATCHED, **changes: Any) -> Case:
    """Return a clean configuration with some members changed."""
    return Case(config=replace(base, **changes), path=path)


def batching(path: str, **changes: Any) -> Case:
    """Return the clean configuration with another dynamic batcher."""
    return case(f"dynamic_batching.{path}", dynamic_batching=DynamicBatching(**changes))


def group(path: str, base: ModelConfig = BATCHED, **changes: Any) -> Case:
    """Return a clean configuration with another instance group."""
    return case(f"instance_group[0].{path}", base, instance_group=(replace(GROUP, **changes),))


def sequence(path: str, **changes: Any) -> Case:
    """Return the clean sequence model with another batcher."""
    return case(
        f"sequence_batching.{path}", SEQUENCE, sequence_batching=SequenceBatching(**changes)
    )


def steps(path: str, *given: EnsembleStep, **changes: Any) -> Case:
    """Return the clean ensemble with other steps."""
    return case(path, GRAPH, ensemble_scheduling=Ensembling(step=given), **changes)


def warm(path: str, given: WarmupInput = ROW, **changes: Any) -> Case:
    """Return the clean configuration with one other sample."""
    sample = Warmup(**{"name": "w", "batch_size": 4, "inputs": {"x": given}, **changes})
    return case(f"model_warmup[0]{path}", model_warmup=(sample,))


def accelerated(path: str, base: ModelConfig = BATCHED, **given: Any) -> Case:
    """Return a clean configuration with execution accelerators."""
    accelerators = ExecutionAccelerators(**given)
    return case(
        f"optimization.execution_accelerators{path}",
        base,
        optimization=OptimizationPolicy(execution_accelerators=accelerators),
    )


CASES: dict[str, Case] = {
    # identity
    "name-missing": case("name", name=""),
    "name-mismatch": Case(config=BATCHED, path="name", known={"folder": "other"}),
    "backend-missing": case("backend", backend=""),
    "platform-unknown": case("platform", backend="", platform="caffe2_netdef"),
    "platform-mismatch": case("platform", platform="tensorrt_plan"),
    "platform-too-new": Case(
        config=replace(BATCHED, backend="pytorch", platform="torch_aoti"),
        path="platform",
        triton="26.02",
    ),
    "backend-removed": Case(
        config=replace(BATCHED, backend="", platform="tensorflow_savedmodel"),
        path="backend",
        triton="25.03",
    ),
    "backend-absent": Case(config=BATCHED, path="backend", triton="2.51.0-python"),
    "backend-custom": case("backend", backend="my_backend"),
    "field-too-new": Case(
        config=replace(
            GRAPH, ensemble_scheduling=Ensembling(step=(FIRST,), max_inflight_requests=2)
        ),
        path="ensemble_scheduling.max_inflight_requests",
        triton="25.10",
    ),
    "version-policy-empty": case(
        "version_policy.latest", version_policy=VersionPolicy(latest=LatestVersions())
    ),
    "version-policy-implicit": case("version_policy", version_policy=VersionPolicy()),
    "version-missing": Case(
        config=BATCHED,
        path="version_policy.specific.versions[0]",
        known={"versions": [1, 2]},
    ),
    "path-escapes": case(
        "output[0].label_filename", output=(replace(Y, label_filename="../../etc/labels"),)
    ),
    "cache-needs-flag": case("response_cache", response_cache=ResponseCache(enable=True)),
    "metrics-incomplete": case(
        "model_metrics.metric_control[0].histogram_options",
        model_metrics=ModelMetrics(
            metric_control=(MetricControl(metric_identifier=MetricIdentifier(family="f")),)
        ),
    ),
    # tensors
    "inputs-missing": case("input", input=()),
    "outputs-missing": case("output", output=()),
    "tensor-unnamed": case("output[0].name", output=(replace(Y, name=""),)),
    "tensor-duplicate": case("input[1].name", input=(X, X)),
    "dtype-missing": case("input[0].data_type", input=(replace(X, data_type=None),)),
    "dims-missing": case("output[0].dims", output=(replace(Y, dims=()),)),
    "dims-invalid": case("output[0].dims[0]", output=(replace(Y, dims=(0,)),)),
    "reshape-scalar": case(
        "output[0].reshape",
        max_batch_size=0,
        output=(replace(Y, dims=(1,), reshape=Reshape()),),
    ),
    "reshape-mismatch": case(
        "output[0].reshape", output=(replace(Y, dims=(-1, 4), reshape=Reshape(shape=(4, -1))),)
    ),
    "format-rank": case(
        "input[0].format", input=(replace(X, dims=(8, 8), format=InputFormat.NHWC),)
    ),
    "tensorrt-only-tensor": case(
        "input[0].is_shape_tensor", input=(replace(X, is_shape_tensor=True),)
    ),
    "non-linear-rank": case(
        "output[0].dims", PLAN, output=(replace(Y, is_non_linear_format_io=True),)
    ),
    "ragged-unbatched": case(
        "input[0].allow_ragged_batch",
        input=(replace(X, allow_ragged_batch=True),),
        dynamic_batching=None,
    ),
    "variable-dims-batch": case("input[0].dims", input=(replace(X, dims=(3, -1, -1)),)),
    "batch-input-invalid": case(
        "batch_input[0].source_input",
        batch_input=(BatchInput(source_input=("z",), data_type=DType.INT32),),
    ),
    "batch-output-invalid": case(
        "batch_output[0].target_name",
        batch_output=(BatchOutput(source_input=("x",), target_name=("y", "y")),),
    ),
    # scheduling
    "max-batch-negative": case("max_batch_size", max_batch_size=-1),
    "schedulers-conflict": case("sequence_batching", sequence_batching=SequenceBatching()),
    "batching-missing": case("dynamic_batching", dynamic_batching=None),
    "batching-unbatched": case(
        "dynamic_batching", max_batch_size=0, dynamic_batching=DynamicBatching()
    ),
    "preferred-batch-range": batching("preferred_batch_size[1]", preferred_batch_size=(4, 16)),
    "queue-delay-long": batching(
        "max_queue_delay_microseconds", max_queue_delay_microseconds=2_000_000
    ),
    "priority-default-range": batching("default_priority_level", priority_levels=2),
    "priority-policy-range": batching(
        "priority_queue_policy[3]",
        priority_levels=2,
        default_priority_level=1,
        priority_queue_policy={3: QueuePolicy()},
    ),
    "priority-ignored": batching("priority_levels", default_priority_level=1),
    "ordering-conflict": batching(
        "preserve_ordering", preserve_ordering=True, priority_levels=2, default_priority_level=1
    ),
    "queue-action-idle": batching(
        "default_queue_policy.timeout_action",
        default_queue_policy=QueuePolicy(timeout_action=TimeoutAction.DELAY),
    ),
    "cache-sequence": case("response_cache", SEQUENCE, response_cache=ResponseCache(enable=True)),
    "cache-decoupled": case(
        "response_cache",
        response_cache=ResponseCache(enable=True),
        model_transaction_policy=TransactionPolicy(decoupled=True),
    ),
    "decoupled-needs-stream": case(
        "model_transaction_policy.decoupled",
        model_transaction_policy=TransactionPolicy(decoupled=True),
    ),
    "sequence-control-invalid": sequence(
        "control_input[0].control[0]",
        control_input=(ControlInput(name="start", control=(Control(int32_false_true=(1,)),)),),
    ),
    "sequence-utilization-range": sequence(
        "direct.minimum_slot_utilization", direct=StrategyDirect(minimum_slot_utilization=1.5)
    ),
    "sequence-state-incomplete": sequence(
        "state[0].initial_state[0]", state=(replace(MEMORY, initial_state=(InitialState(),)),)
    ),
    # placement
    "instances-implicit": case("instance_group", instance_group=()),
    "instances-passive": case("instance_group", instance_group=(replace(GROUP, passive=True),)),
    "instances-negative": group("count", count=-1),
    "gpus-on-other-kind": group("gpus", gpus=(0,)),
    "gpu-on-cpu-server": Case(
        config=replace(BATCHED, instance_group=(InstanceGroup(kind=InstanceKind.GPU),)),
        path="instance_group[0].kind",
        triton="26.05-cpu-only",
    ),
    "tensorrt-needs-gpu": group("kind", PLAN),
    "openvino-needs-cpu": group(
        "kind", replace(BATCHED, backend="openvino"), kind=InstanceKind.GPU
    ),
    "profile-backend": group("profile", profile=("0",)),
    "profile-number": group("profile[0]", PLAN, kind=InstanceKind.GPU, profile=("first",)),
    "rate-limiter-needs-flag": group("rate_limiter", rate_limiter=RateLimiter(priority=1)),
    "host-policy-needs-flag": group("host_policy", host_policy="numa0"),
    "rate-limiter-empty": group(
        "rate_limiter.resources[0]",
        rate_limiter=RateLimiter(resources=(RateLimiterResource(name="memory"),)),
    ),
    # backends
    "dtype-unsupported": case(
        "input[0].data_type", PLAN, input=(replace(X, data_type=DType.BYTES),)
    ),
    "aoti-batching": case("max_batch_size", backend="pytorch", platform="torch_aoti"),
    "torchscript-names": case(
        "output", backend="pytorch", output=(replace(Y, name="OUTPUT__0"), replace(Y, name="b"))
    ),
    "openvino-output-unnamed": case(
        "output[0].name", backend="openvino", output=(replace(Y, name=""),)
    ),
    "fil-model-type": case(
        "parameters['model_type']", TREES, parameters={"model_type": "catboost"}
    ),
    "fil-model-type-implicit": case("parameters['model_type']", TREES, parameters={}),
    "fil-names": case("output[0].name", TREES, output=(replace(Y, name="label"),)),
    "fil-shape": case("max_batch_size", TREES, max_batch_size=0),
    "fil-boolean": case(
        "parameters['is_classifier']",
        TREES,
        parameters={"model_type": "lightgbm", "is_classifier": "yes"},
    ),
    "accelerator-ignored": accelerated(
        "",
        replace(BATCHED, backend="python"),
        gpu_execution_accelerator=(Accelerator(name="tensorrt"),),
    ),
    "accelerator-unknown": accelerated(
        ".cpu_execution_accelerator[0].name",
        cpu_execution_accelerator=(Accelerator(name="tensorrt"),),
    ),
    "accelerator-device": accelerated(
        ".gpu_execution_accelerator[0]", gpu_execution_accelerator=(Accelerator(name="cuda"),)
    ),
    "graph-level-unknown": case(
        "optimization.graph.level",
        optimization=OptimizationPolicy(graph=GraphOptimization(level=3)),
    ),
    "optimization-ignored": case(
        "optimization.eager_batching", optimization=OptimizationPolicy(eager_batching=True)
    ),
    # warm-up
    "warmup-missing": case("model_warmup", model_warmup=()),
    "warmup-input-unknown": warm(".inputs['z']", inputs={"x": ROW, "z": ROW}),
    "warmup-input-missing": warm(".inputs", inputs={}),
    "warmup-dtype": warm(".inputs['x'].data_type", replace(ROW, data_type=DType.FP64)),
    "warmup-dims": warm(".inputs['x'].dims", replace(ROW, dims=(4, 3, 8, 8))),
    "warmup-source": warm(".inputs['x']", replace(ROW, zero_data=None)),
    "warmup-batch-size": warm(".batch_size", batch_size=9),
    "warmup-skipped": warm(".batch_size", batch_size=0),
    "warmup-uncovered": case("model_warmup", model_warmup=BATCHED.model_warmup[:2]),
    # ensembles
    "ensemble-platform": case("backend", GRAPH, backend="python"),
    "ensemble-field": case("instance_group", GRAPH, instance_group=(GROUP,)),
    "ensemble-step-incomplete": steps(
        "ensemble_scheduling.step[1].output_map", FIRST, replace(SECOND, output_map={})
    ),
    "ensemble-step-version": steps(
        "ensemble_scheduling.step[0].model_version", replace(FIRST, model_version=0), SECOND
    ),
    "ensemble-tensor-twice": steps(
        "ensemble_scheduling.step", FIRST, SECOND, replace(FIRST, model_name="three")
    ),
    "ensemble-tensor-unfed": steps(
        "ensemble_scheduling.step[0].input_map['x']",
        replace(FIRST, input_map={"x": "out"}),
        SECOND,
    ),
    "ensemble-tensor-unused": steps(
        "ensemble_scheduling.step[1].output_map['z']",
        FIRST,
        replace(SECOND, output_map={"y": "out", "z": "spare"}),
    ),
    "ensemble-model-unknown": Case(
        config=GRAPH,
        path="ensemble_scheduling.step[0].model_name",
        known={"members": {"one": BATCHED}},
    ),
    "ensemble-wiring": Case(
        config=replace(
            GRAPH,
            ensemble_scheduling=Ensembling(
                step=(replace(FIRST, input_map={"image": "raw"}), SECOND)
            ),
        ),
        path="ensemble_scheduling.step[0].input_map['image']",
        known={"members": MEMBERS},
    ),
}


def test_every_rule_has_its_case() -> None:
    """No rule is without a case, and no code is given to two rules."""
    codes = [rule.code for rule in RULES]
    assert sorted(codes) == sorted(CASES)
    assert all(rule.summary.endswith(".") for rule in RULES)


@pytest.mark.parametrize("code", CASES)
def test_a_rule_fires_on_its_case(code: str) -> None:
    """The finding has the code, the severity of the rule, the place and a cure."""
    case = CASES[code]
    found = [
        finding
        for finding in lint(case.config, triton=case.triton, **case.known)
        if finding.code == code and finding.path == case.path
    ]
    assert len(found) == 1
    assert found[0].message
    assert found[0].fix
    assert found[0].severity is next(rule.severity for rule in RULES if rule.code == code)


@pytest.mark.parametrize("name", CLEAN)
def test_no_rule_fires_without_a_fault(name: str) -> None:
    """Configurations as they should be have no finding at all."""
    found = lint(CLEAN[name], triton="26.05-py3", folder="m", versions={2, 3}, members=MEMBERS)
    assert [str(finding) for finding in found] == []


def test_errors_come_first() -> None:
    """What stops the model from loading is read first."""
    worst = replace(BATCHED, name="", model_warmup=(), max_batch_size=-1)
    order = [finding.severity for finding in lint(worst, triton="26.05")]
    assert order == sorted(order, key=list(Severity).index)
    assert {Severity.ERROR, Severity.WARNING, Severity.INFO} <= set(order)


def test_a_reshape_keeps_elements_between_variable_dimensions() -> None:
    """[2, 4, -1, 6] may become [8, -1, 1, 6], as in Triton's own example."""
    good = replace(X, dims=(2, 4, -1, 6), reshape=Reshape(shape=(8, -1, 1, 6)))
    found = lint(replace(BATCHED, input=(good,)), triton="26.05")
    assert "reshape-mismatch" not in {finding.code for finding in found}


def test_metrics_with_buckets_are_complete() -> None:
    """A family and buckets are all that a metric control needs."""
    control = MetricControl(
        metric_identifier=MetricIdentifier(family="f"),
        histogram_options=HistogramOptions(buckets=(1.0, 10.0)),
    )
    found = lint(
        replace(BATCHED, model_metrics=ModelMetrics(metric_control=(control,))), triton="26.05"
    )
    assert found == ()
