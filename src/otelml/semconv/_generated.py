"""Constants and specs of the registry. Made by `python -m otelml.semconv.codegen`; do not edit."""

from __future__ import annotations

from otelml.semconv.model import Attribute, Event, EventField, Metric, Span

CPU_MODE = "cpu.mode"
ERROR_TYPE = "error.type"
HOST_NAME = "host.name"
HW_DRIVER_VERSION = "hw.driver_version"
HW_GPU_TASK = "hw.gpu.task"
HW_ID = "hw.id"
HW_LIMIT_TYPE = "hw.limit_type"
HW_MODEL = "hw.model"
HW_NAME = "hw.name"
HW_PARENT = "hw.parent"
HW_SENSOR_LOCATION = "hw.sensor_location"
HW_SERIAL_NUMBER = "hw.serial_number"
HW_STATE = "hw.state"
HW_TYPE = "hw.type"
HW_VENDOR = "hw.vendor"
ML_CLUSTERING_ALGORITHM = "ml.clustering.algorithm"
ML_DATA_ACTION = "ml.data.action"
ML_DATA_CHECK = "ml.data.check"
ML_DEVICE_NAME = "ml.device.name"
ML_DISTRIBUTED_LOCAL_RANK = "ml.distributed.local_rank"
ML_DISTRIBUTED_RANK = "ml.distributed.rank"
ML_DISTRIBUTED_WORLD_SIZE = "ml.distributed.world_size"
ML_DRIFT_BIN = "ml.drift.bin"
ML_DRIFT_KIND = "ml.drift.kind"
ML_DRIFT_METHOD = "ml.drift.method"
ML_EVALUATION_METRIC = "ml.evaluation.metric"
ML_FEATURE_NAME = "ml.feature.name"
ML_GPU_CALL = "ml.gpu.call"
ML_GPU_CLOCK = "ml.gpu.clock"
ML_GPU_ENGINE = "ml.gpu.engine"
ML_GPU_INDEX = "ml.gpu.index"
ML_GPU_INTERCONNECT = "ml.gpu.interconnect"
ML_GPU_PIPE = "ml.gpu.pipe"
ML_GPU_THROTTLE_REASON = "ml.gpu.throttle.reason"
ML_INFERENCE_BATCH_SIZE = "ml.inference.batch.size"
ML_METRIC_NAME = "ml.metric.name"
ML_MODEL_FORMAT = "ml.model.format"
ML_MODEL_NAME = "ml.model.name"
ML_MODEL_VERSION = "ml.model.version"
ML_PREDICTION_CLASS = "ml.prediction.class"
ML_QUANTIZER_NAME = "ml.quantizer.name"
ML_RUN_EXPERIMENT = "ml.run.experiment"
ML_RUN_ID = "ml.run.id"
ML_RUN_NAME = "ml.run.name"
ML_RUN_STATUS = "ml.run.status"
ML_SMOOTHING_POLICY = "ml.smoothing.policy"
ML_SMOOTHING_SIDE = "ml.smoothing.side"
ML_STAGE_ITEMS = "ml.stage.items"
ML_STAGE_KEPT = "ml.stage.kept"
ML_STAGE_NAME = "ml.stage.name"
ML_TRAINING_EPOCH = "ml.training.epoch"
ML_TRAINING_PHASE = "ml.training.phase"
ML_TRAINING_STEP = "ml.training.step"
NETWORK_IO_DIRECTION = "network.io.direction"
OTELML_COMPONENT = "otelml.component"
OTELML_REASON = "otelml.reason"
SERVICE_INSTANCE_ID = "service.instance.id"
SERVICE_NAME = "service.name"
SERVICE_NAMESPACE = "service.namespace"
SERVICE_VERSION = "service.version"
SYSTEM_DEVICE = "system.device"
SYSTEM_FILESYSTEM_MOUNTPOINT = "system.filesystem.mountpoint"
SYSTEM_FILESYSTEM_STATE = "system.filesystem.state"
SYSTEM_FILESYSTEM_TYPE = "system.filesystem.type"
TELEMETRY_DISTRO_NAME = "telemetry.distro.name"
TELEMETRY_DISTRO_VERSION = "telemetry.distro.version"
VCS_REF_HEAD_REVISION = "vcs.ref.head.revision"

_BOUNDS_ML_GPU_COLLECT_DURATION = (
    1e-05,
    2.5e-05,
    5e-05,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
_BOUNDS_ML_INFERENCE_BATCH_SIZE = (
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
    64.0,
    128.0,
    256.0,
    512.0,
    1024.0,
    2048.0,
    4096.0,
    8192.0,
    16384.0,
    32768.0,
    65536.0,
)
_BOUNDS_ML_INFERENCE_CONFIDENCE = (
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
    0.45,
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.95,
    1.0,
)
_BOUNDS_ML_INFERENCE_DURATION = (
    1e-06,
    2.5e-06,
    5e-06,
    1e-05,
    2.5e-05,
    5e-05,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
)
_BOUNDS_ML_MODEL_CONVERSION_DURATION = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1200.0,
    1800.0,
    3600.0,
)
_BOUNDS_ML_TRAINING_DATA_WAIT_DURATION = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
)

METRIC_HW_ENERGY = Metric(
    name="hw.energy",
    kind="counter",
    unit="J",
    brief="Energy that the GPU has used.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_TYPE,
    ),
    value_type="double",
    required=(HW_ID, HW_TYPE),
)
METRIC_HW_ERRORS = Metric(
    name="hw.errors",
    kind="counter",
    unit="{error}",
    brief="Errors of the GPU.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_TYPE,
        ERROR_TYPE,
    ),
    value_type="int",
    required=(HW_ID, HW_TYPE, ERROR_TYPE),
)
METRIC_HW_FAN_SPEED_RATIO = Metric(
    name="hw.fan.speed_ratio",
    kind="gauge",
    unit="1",
    brief="Speed of the GPU's fan as a fraction of its maximum.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_SENSOR_LOCATION,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_HW_GPU_IO = Metric(
    name="hw.gpu.io",
    kind="counter",
    unit="By",
    brief="Bytes that the GPU received and transmitted over PCIe.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        NETWORK_IO_DIRECTION,
    ),
    value_type="int",
    required=(HW_ID, NETWORK_IO_DIRECTION),
)
METRIC_HW_GPU_MEMORY_LIMIT = Metric(
    name="hw.gpu.memory.limit",
    kind="updowncounter",
    unit="By",
    brief="Size of the GPU's memory.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="int",
    required=(HW_ID,),
)
METRIC_HW_GPU_MEMORY_USAGE = Metric(
    name="hw.gpu.memory.usage",
    kind="updowncounter",
    unit="By",
    brief="Memory of the GPU that is in use.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="int",
    required=(HW_ID,),
)
METRIC_HW_GPU_MEMORY_UTILIZATION = Metric(
    name="hw.gpu.memory.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of the GPU's memory that is in use.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_HW_GPU_UTILIZATION = Metric(
    name="hw.gpu.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which the GPU was busy with a task, however little of it was used.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_GPU_TASK,
    ),
    value_type="double",
    required=(HW_ID, HW_GPU_TASK),
)
METRIC_HW_POWER = Metric(
    name="hw.power",
    kind="gauge",
    unit="W",
    brief="Power that the GPU draws.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_TYPE,
    ),
    value_type="double",
    required=(HW_ID, HW_TYPE),
)
METRIC_HW_STATUS = Metric(
    name="hw.status",
    kind="updowncounter",
    unit="1",
    brief="Whether the GPU is in a state, 1 or 0 for each of the states.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_TYPE,
        HW_STATE,
    ),
    value_type="int",
    required=(HW_ID, HW_TYPE, HW_STATE),
)
METRIC_HW_TEMPERATURE = Metric(
    name="hw.temperature",
    kind="gauge",
    unit="Cel",
    brief="Temperature of the GPU or of its memory.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_SENSOR_LOCATION,
    ),
    value_type="double",
    required=(HW_ID, HW_SENSOR_LOCATION),
)
METRIC_HW_TEMPERATURE_LIMIT = Metric(
    name="hw.temperature.limit",
    kind="gauge",
    unit="Cel",
    brief="Temperature at which the GPU slows down or shuts down.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        HW_SENSOR_LOCATION,
        HW_LIMIT_TYPE,
    ),
    value_type="double",
    required=(HW_ID, HW_SENSOR_LOCATION, HW_LIMIT_TYPE),
)
METRIC_ML_CLUSTERING_CLUSTER_COUNT = Metric(
    name="ml.clustering.cluster.count",
    kind="gauge",
    unit="{cluster}",
    brief="Clusters found by the latest clustering.",
    attributes=(ML_CLUSTERING_ALGORITHM,),
    value_type="int",
    required=(ML_CLUSTERING_ALGORITHM,),
)
METRIC_ML_DATA_ROWS = Metric(
    name="ml.data.rows",
    kind="counter",
    unit="{row}",
    brief="Rows of data that a quality check found, by what was done with them.",
    attributes=(ML_DATA_CHECK, ML_DATA_ACTION),
    value_type="int",
    required=(ML_DATA_CHECK,),
)
METRIC_ML_DRIFT_ALERTS = Metric(
    name="ml.drift.alerts",
    kind="counter",
    unit="{alert}",
    brief="Drift alerts raised.",
    attributes=(ML_DRIFT_KIND, ML_FEATURE_NAME),
    value_type="int",
    required=(ML_DRIFT_KIND,),
)
METRIC_ML_DRIFT_NOISE_FLOOR = Metric(
    name="ml.drift.noise_floor",
    kind="gauge",
    unit="{score}",
    brief="The score that windows of this size reach without any drift.",
    attributes=(ML_DRIFT_KIND, ML_DRIFT_METHOD, ML_FEATURE_NAME, ML_MODEL_NAME),
    value_type="double",
    cardinality=1500,
    required=(ML_DRIFT_KIND, ML_DRIFT_METHOD),
)
METRIC_ML_DRIFT_OBSERVATIONS = Metric(
    name="ml.drift.observations",
    kind="counter",
    unit="{observation}",
    brief="Observations by bin of the reference.",
    attributes=(ML_FEATURE_NAME, ML_DRIFT_BIN, ML_MODEL_NAME),
    value_type="int",
    cardinality=5000,
    required=(ML_DRIFT_BIN,),
)
METRIC_ML_DRIFT_REFERENCE_PROPORTION = Metric(
    name="ml.drift.reference.proportion",
    kind="gauge",
    unit="1",
    brief="Share of the reference's observations in a bin.",
    attributes=(ML_FEATURE_NAME, ML_DRIFT_BIN, ML_MODEL_NAME),
    value_type="double",
    cardinality=5000,
    required=(ML_DRIFT_BIN,),
)
METRIC_ML_DRIFT_SCORE = Metric(
    name="ml.drift.score",
    kind="gauge",
    unit="{score}",
    brief="How far the latest window lies from the reference.",
    attributes=(ML_DRIFT_KIND, ML_DRIFT_METHOD, ML_FEATURE_NAME, ML_MODEL_NAME),
    value_type="double",
    cardinality=1500,
    required=(ML_DRIFT_KIND, ML_DRIFT_METHOD),
)
METRIC_ML_DRIFT_THRESHOLD = Metric(
    name="ml.drift.threshold",
    kind="gauge",
    unit="{score}",
    brief="The score above which a window counts as drifted.",
    attributes=(ML_DRIFT_KIND, ML_DRIFT_METHOD, ML_FEATURE_NAME, ML_MODEL_NAME),
    value_type="double",
    cardinality=1500,
    required=(ML_DRIFT_KIND, ML_DRIFT_METHOD),
)
METRIC_ML_EVALUATION_SCORE = Metric(
    name="ml.evaluation.score",
    kind="gauge",
    unit="{score}",
    brief="Latest score of a model in an evaluation.",
    attributes=(ML_MODEL_NAME, ML_EVALUATION_METRIC),
    value_type="double",
    required=(ML_MODEL_NAME, ML_EVALUATION_METRIC),
)
METRIC_ML_GPU_CLOCK_FREQUENCY = Metric(
    name="ml.gpu.clock.frequency",
    kind="gauge",
    unit="Hz",
    brief="Frequency of a clock of the GPU.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        ML_GPU_CLOCK,
    ),
    value_type="int",
    required=(HW_ID, ML_GPU_CLOCK),
)
METRIC_ML_GPU_COLLECT_DURATION = Metric(
    name="ml.gpu.collect.duration",
    kind="histogram",
    unit="s",
    brief="How long it took to read all GPUs once.",
    value_type="double",
    bounds=_BOUNDS_ML_GPU_COLLECT_DURATION,
)
METRIC_ML_GPU_COLLECT_ERRORS = Metric(
    name="ml.gpu.collect.errors",
    kind="counter",
    unit="{error}",
    brief="NVML calls that failed.",
    attributes=(ML_GPU_CALL, ERROR_TYPE, HW_ID),
    value_type="int",
    required=(ML_GPU_CALL,),
)
METRIC_ML_GPU_ENGINE_UTILIZATION = Metric(
    name="ml.gpu.engine.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which an engine of the GPU was busy.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        ML_GPU_ENGINE,
    ),
    value_type="double",
    required=(HW_ID, ML_GPU_ENGINE),
)
METRIC_ML_GPU_INTERCONNECT_IO = Metric(
    name="ml.gpu.interconnect.io",
    kind="gauge",
    unit="By/s",
    brief="Rate at which the GPU exchanges data over PCIe and NVLink.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        ML_GPU_INTERCONNECT,
        NETWORK_IO_DIRECTION,
    ),
    value_type="double",
    required=(HW_ID, ML_GPU_INTERCONNECT, NETWORK_IO_DIRECTION),
)
METRIC_ML_GPU_MEMORY_BANDWIDTH_UTILIZATION = Metric(
    name="ml.gpu.memory.bandwidth.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of the GPU's memory bandwidth that was used.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_ML_GPU_MEMORY_CONTROLLER_UTILIZATION = Metric(
    name="ml.gpu.memory.controller.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which the GPU's memory was being read or written.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_ML_GPU_MEMORY_RESERVED = Metric(
    name="ml.gpu.memory.reserved",
    kind="updowncounter",
    unit="By",
    brief="Memory of the GPU that the driver keeps for itself.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="int",
    required=(HW_ID,),
)
METRIC_ML_GPU_PIPE_UTILIZATION = Metric(
    name="ml.gpu.pipe.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which an arithmetic pipe of the GPU was busy.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        ML_GPU_PIPE,
    ),
    value_type="double",
    required=(HW_ID, ML_GPU_PIPE),
)
METRIC_ML_GPU_POWER_LIMIT = Metric(
    name="ml.gpu.power.limit",
    kind="gauge",
    unit="W",
    brief="Power limit that is enforced on the GPU.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_ML_GPU_PROCESS_MEMORY_USAGE = Metric(
    name="ml.gpu.process.memory.usage",
    kind="updowncounter",
    unit="By",
    brief="Memory of the GPU that this process and its children use.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="int",
    required=(HW_ID,),
)
METRIC_ML_GPU_SM_OCCUPANCY = Metric(
    name="ml.gpu.sm.occupancy",
    kind="gauge",
    unit="1",
    brief="Warps resident on the GPU's multiprocessors, over the most that they can hold.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_ML_GPU_SM_UTILIZATION = Metric(
    name="ml.gpu.sm.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which the GPU's multiprocessors had work, on average over all of them.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_ML_GPU_TENSOR_UTILIZATION = Metric(
    name="ml.gpu.tensor.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which the GPU's tensor cores were busy.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
    ),
    value_type="double",
    required=(HW_ID,),
)
METRIC_ML_GPU_THROTTLE_ACTIVE = Metric(
    name="ml.gpu.throttle.active",
    kind="gauge",
    unit="{state}",
    brief="Whether the GPU is being slowed down, 1 or 0 for each of the reasons.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        ML_GPU_THROTTLE_REASON,
    ),
    value_type="int",
    required=(HW_ID, ML_GPU_THROTTLE_REASON),
)
METRIC_ML_GPU_THROTTLE_DURATION = Metric(
    name="ml.gpu.throttle.duration",
    kind="counter",
    unit="s",
    brief="Time that the GPU ran slower than it could.",
    attributes=(
        HW_ID,
        HW_NAME,
        ML_GPU_INDEX,
        HW_MODEL,
        HW_VENDOR,
        HW_DRIVER_VERSION,
        HW_SERIAL_NUMBER,
        HW_PARENT,
        ML_GPU_THROTTLE_REASON,
    ),
    value_type="double",
    required=(HW_ID, ML_GPU_THROTTLE_REASON),
)
METRIC_ML_INFERENCE_ACTIVE = Metric(
    name="ml.inference.active",
    kind="updowncounter",
    unit="{request}",
    brief="Inference requests in flight.",
    attributes=(ML_MODEL_NAME,),
    value_type="int",
    required=(ML_MODEL_NAME,),
)
METRIC_ML_INFERENCE_BATCH_SIZE = Metric(
    name="ml.inference.batch.size",
    kind="histogram",
    unit="{item}",
    brief="Samples in an inference request.",
    attributes=(ML_MODEL_NAME,),
    value_type="int",
    bounds=_BOUNDS_ML_INFERENCE_BATCH_SIZE,
    required=(ML_MODEL_NAME,),
)
METRIC_ML_INFERENCE_CONFIDENCE = Metric(
    name="ml.inference.confidence",
    kind="histogram",
    unit="1",
    brief="Confidence of predictions.",
    attributes=(ML_MODEL_NAME,),
    value_type="double",
    bounds=_BOUNDS_ML_INFERENCE_CONFIDENCE,
    required=(ML_MODEL_NAME,),
)
METRIC_ML_INFERENCE_DURATION = Metric(
    name="ml.inference.duration",
    kind="histogram",
    unit="s",
    brief="Duration of an inference request.",
    attributes=(ML_MODEL_NAME, ML_MODEL_VERSION, ML_DEVICE_NAME, ERROR_TYPE),
    value_type="double",
    bounds=_BOUNDS_ML_INFERENCE_DURATION,
    required=(ML_MODEL_NAME,),
)
METRIC_ML_INFERENCE_PREDICTIONS = Metric(
    name="ml.inference.predictions",
    kind="counter",
    unit="{prediction}",
    brief="Predictions by class.",
    attributes=(ML_MODEL_NAME, ML_PREDICTION_CLASS),
    value_type="int",
    cardinality=1500,
    required=(ML_MODEL_NAME, ML_PREDICTION_CLASS),
)
METRIC_ML_MODEL_CONVERSION_DURATION = Metric(
    name="ml.model.conversion.duration",
    kind="histogram",
    unit="s",
    brief="Duration of the conversion of a model to another format.",
    attributes=(ML_MODEL_NAME, ML_MODEL_FORMAT, ERROR_TYPE),
    value_type="double",
    bounds=_BOUNDS_ML_MODEL_CONVERSION_DURATION,
    required=(ML_MODEL_NAME,),
)
METRIC_ML_MODEL_SIZE = Metric(
    name="ml.model.size",
    kind="gauge",
    unit="By",
    brief="Size of a stored model.",
    attributes=(ML_MODEL_NAME, ML_MODEL_FORMAT),
    value_type="int",
    required=(ML_MODEL_NAME,),
)
METRIC_ML_QUANTIZER_CODE_DEAD = Metric(
    name="ml.quantizer.code.dead",
    kind="gauge",
    unit="{code}",
    brief="Codes of the codebook that were not seen in the window.",
    attributes=(ML_QUANTIZER_NAME,),
    value_type="int",
    required=(ML_QUANTIZER_NAME,),
)
METRIC_ML_QUANTIZER_CODE_LIMIT = Metric(
    name="ml.quantizer.code.limit",
    kind="gauge",
    unit="{code}",
    brief="Size of the codebook.",
    attributes=(ML_QUANTIZER_NAME,),
    value_type="int",
    required=(ML_QUANTIZER_NAME,),
)
METRIC_ML_QUANTIZER_CODE_UTILIZATION = Metric(
    name="ml.quantizer.code.utilization",
    kind="gauge",
    unit="1",
    brief="Codes seen in the window, over the codebook's size.",
    attributes=(ML_QUANTIZER_NAME,),
    value_type="double",
    required=(ML_QUANTIZER_NAME,),
)
METRIC_ML_QUANTIZER_CODES = Metric(
    name="ml.quantizer.codes",
    kind="counter",
    unit="{code}",
    brief="Codes that the quantizer produced.",
    attributes=(ML_QUANTIZER_NAME,),
    value_type="int",
    required=(ML_QUANTIZER_NAME,),
)
METRIC_ML_QUANTIZER_ENTROPY_UTILIZATION = Metric(
    name="ml.quantizer.entropy.utilization",
    kind="gauge",
    unit="1",
    brief="Entropy of the codes in the window, over the logarithm of the codebook's size.",
    attributes=(ML_QUANTIZER_NAME,),
    value_type="double",
    required=(ML_QUANTIZER_NAME,),
)
METRIC_ML_QUANTIZER_PERPLEXITY = Metric(
    name="ml.quantizer.perplexity",
    kind="gauge",
    unit="{code}",
    brief="Perplexity of the codes in the window, the number of equally likely codes of the same entropy.",
    attributes=(ML_QUANTIZER_NAME,),
    value_type="double",
    required=(ML_QUANTIZER_NAME,),
)
METRIC_ML_RESOURCE_CPU_UTILIZATION = Metric(
    name="ml.resource.cpu.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of the CPUs in use, as the program measured it.",
    value_type="double",
)
METRIC_ML_RESOURCE_GPU_MEMORY_USAGE = Metric(
    name="ml.resource.gpu.memory.usage",
    kind="gauge",
    unit="By",
    brief="Memory of a GPU or another accelerator in use, as the program measured it.",
    attributes=(ML_GPU_INDEX, ML_DEVICE_NAME),
    value_type="int",
)
METRIC_ML_RESOURCE_GPU_UTILIZATION = Metric(
    name="ml.resource.gpu.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of time in which a GPU or another accelerator was busy, as the program measured it.",
    attributes=(ML_GPU_INDEX, ML_DEVICE_NAME),
    value_type="double",
)
METRIC_ML_RESOURCE_MEMORY_USAGE = Metric(
    name="ml.resource.memory.usage",
    kind="gauge",
    unit="By",
    brief="Memory in use, as the program measured it.",
    value_type="int",
)
METRIC_ML_SMOOTHING_TRANSITIONS = Metric(
    name="ml.smoothing.transitions",
    kind="counter",
    unit="{transition}",
    brief="Transitions between labels, before and after temporal smoothing.",
    attributes=(ML_SMOOTHING_POLICY, ML_SMOOTHING_SIDE),
    value_type="int",
    required=(ML_SMOOTHING_POLICY, ML_SMOOTHING_SIDE),
)
METRIC_ML_STAGE_DURATION = Metric(
    name="ml.stage.duration",
    kind="histogram",
    unit="s",
    brief="Duration of a stage.",
    attributes=(ML_STAGE_NAME, ERROR_TYPE),
    value_type="double",
    bounds=_BOUNDS_ML_INFERENCE_DURATION,
    cardinality=1000,
    required=(ML_STAGE_NAME,),
)
METRIC_ML_STAGE_ITEMS = Metric(
    name="ml.stage.items",
    kind="counter",
    unit="{item}",
    brief="Items that stages worked on.",
    attributes=(ML_STAGE_NAME,),
    value_type="int",
    required=(ML_STAGE_NAME,),
)
METRIC_ML_TRAINING_DATA_WAIT_DURATION = Metric(
    name="ml.training.data.wait.duration",
    kind="histogram",
    unit="s",
    brief="How long a step waited for its data.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="double",
    bounds=_BOUNDS_ML_TRAINING_DATA_WAIT_DURATION,
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_EPOCH = Metric(
    name="ml.training.epoch",
    kind="gauge",
    unit="{epoch}",
    brief="The epoch that is running.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="int",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_GRADIENT_NORM = Metric(
    name="ml.training.gradient.norm",
    kind="gauge",
    unit="{norm}",
    brief="Latest norm of the gradient.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="double",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_LEARNING_RATE = Metric(
    name="ml.training.learning_rate",
    kind="gauge",
    unit="{rate}",
    brief="Latest learning rate.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="double",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_LOSS = Metric(
    name="ml.training.loss",
    kind="gauge",
    unit="{loss}",
    brief="Latest loss.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="double",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_METRIC = Metric(
    name="ml.training.metric",
    kind="gauge",
    unit="{value}",
    brief="Latest value of a quantity that the program logs under a name of its own.",
    attributes=(ML_METRIC_NAME, ML_TRAINING_PHASE),
    value_type="double",
    required=(ML_METRIC_NAME, ML_TRAINING_PHASE),
)
METRIC_ML_TRAINING_NON_FINITE = Metric(
    name="ml.training.non_finite",
    kind="counter",
    unit="{value}",
    brief="Values of a logged quantity that were NaN or infinite.",
    attributes=(ML_METRIC_NAME,),
    value_type="int",
    required=(ML_METRIC_NAME,),
)
METRIC_ML_TRAINING_PROGRESS = Metric(
    name="ml.training.progress",
    kind="gauge",
    unit="1",
    brief="Share of the planned work that is done.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="double",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_SAMPLES = Metric(
    name="ml.training.samples",
    kind="counter",
    unit="{sample}",
    brief="Samples processed.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="int",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_STEP_DURATION = Metric(
    name="ml.training.step.duration",
    kind="histogram",
    unit="s",
    brief="Duration of a step, without the wait for its data.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="double",
    bounds=_BOUNDS_ML_TRAINING_DATA_WAIT_DURATION,
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_STEPS = Metric(
    name="ml.training.steps",
    kind="counter",
    unit="{step}",
    brief="Steps done.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="int",
    required=(ML_TRAINING_PHASE,),
)
METRIC_ML_TRAINING_TOKENS = Metric(
    name="ml.training.tokens",
    kind="counter",
    unit="{token}",
    brief="Tokens processed.",
    attributes=(ML_TRAINING_PHASE,),
    value_type="int",
    required=(ML_TRAINING_PHASE,),
)
METRIC_OTELML_INTERNAL_DROPPED = Metric(
    name="otelml.internal.dropped",
    kind="counter",
    unit="{item}",
    brief="What otelml left out, such as values that are not finite and spans over budget.",
    attributes=(OTELML_COMPONENT, OTELML_REASON),
    value_type="int",
    required=(OTELML_COMPONENT, OTELML_REASON),
)
METRIC_OTELML_INTERNAL_ERRORS = Metric(
    name="otelml.internal.errors",
    kind="counter",
    unit="{error}",
    brief="Errors inside otelml that were contained.",
    attributes=(OTELML_COMPONENT, OTELML_REASON),
    value_type="int",
    required=(OTELML_COMPONENT, OTELML_REASON),
)
METRIC_OTELML_INTERNAL_OVERFLOW = Metric(
    name="otelml.internal.overflow",
    kind="counter",
    unit="{attribute_set}",
    brief="Attribute sets beyond the cardinality limit, which share one series.",
    attributes=(OTELML_COMPONENT, OTELML_REASON),
    value_type="int",
    required=(OTELML_COMPONENT, OTELML_REASON),
)
METRIC_PROCESS_CPU_UTILIZATION = Metric(
    name="process.cpu.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of the CPUs that this process may use in which it was busy.",
    attributes=(CPU_MODE,),
    value_type="double",
    required=(CPU_MODE,),
)
METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT = Metric(
    name="process.unix.file_descriptor.count",
    kind="updowncounter",
    unit="{file_descriptor}",
    brief="Files, pipes and sockets that this process has open.",
    value_type="int",
)
METRIC_SYSTEM_CPU_UTILIZATION = Metric(
    name="system.cpu.utilization",
    kind="gauge",
    unit="1",
    brief="Fraction of all the machine's CPU time that went into a mode.",
    attributes=(CPU_MODE,),
    value_type="double",
    required=(CPU_MODE,),
)
METRIC_SYSTEM_FILESYSTEM_LIMIT = Metric(
    name="system.filesystem.limit",
    kind="updowncounter",
    unit="By",
    brief="Size of a filesystem that the program uses.",
    attributes=(SYSTEM_FILESYSTEM_MOUNTPOINT, SYSTEM_DEVICE, SYSTEM_FILESYSTEM_TYPE),
    value_type="int",
    required=(SYSTEM_FILESYSTEM_MOUNTPOINT,),
)
METRIC_SYSTEM_FILESYSTEM_USAGE = Metric(
    name="system.filesystem.usage",
    kind="updowncounter",
    unit="By",
    brief="Space of a filesystem that the program uses, by its state.",
    attributes=(SYSTEM_FILESYSTEM_MOUNTPOINT, SYSTEM_DEVICE, SYSTEM_FILESYSTEM_TYPE, SYSTEM_FILESYSTEM_STATE),
    value_type="int",
    required=(SYSTEM_FILESYSTEM_MOUNTPOINT, SYSTEM_FILESYSTEM_STATE),
)
METRIC_SYSTEM_FILESYSTEM_UTILIZATION = Metric(
    name="system.filesystem.utilization",
    kind="gauge",
    unit="1",
    brief="How full a filesystem is for a user, as `df` says it.",
    attributes=(SYSTEM_FILESYSTEM_MOUNTPOINT, SYSTEM_DEVICE, SYSTEM_FILESYSTEM_TYPE),
    value_type="double",
    required=(SYSTEM_FILESYSTEM_MOUNTPOINT,),
)
METRIC_SYSTEM_MEMORY_LIMIT = Metric(
    name="system.memory.limit",
    kind="updowncounter",
    unit="By",
    brief="Size of the machine's memory.",
    value_type="int",
)
METRIC_SYSTEM_MEMORY_LINUX_AVAILABLE = Metric(
    name="system.memory.linux.available",
    kind="updowncounter",
    unit="By",
    brief="Memory that programs can still have without swapping.",
    value_type="int",
)

EVENT_BATCH_COMPLETE = Event(
    name="batch_complete",
    brief="A batch is over.",
    level="INFO",
    fields=(
        EventField("batch_size", "int", "required"),
        EventField("unique_labels", "int", "recommended"),
        EventField("processing_time", "double", "recommended"),
    ),
)
EVENT_BATCH_START = Event(
    name="batch_start",
    brief="A batch begins.",
    level="INFO",
    fields=(
        EventField("batch_size", "int", "required"),
        EventField("input_shape", "int[]", "recommended"),
    ),
)
EVENT_CLUSTERING = Event(
    name="clustering",
    brief="Samples were clustered.",
    level="INFO",
    fields=(
        EventField("algorithm", "string", "required"),
        EventField("k_clusters", "int", "required"),
        EventField("n_samples", "int", "recommended"),
        EventField("silhouette_score", "double", "recommended"),
        EventField("merge_operations", "int", "recommended"),
        EventField("clusters_final", "int", "recommended"),
        EventField("hungarian_matching", "boolean", "recommended"),
        EventField("clustering_duration_ms", "double", "recommended"),
    ),
)
EVENT_CONFIG = Event(
    name="config",
    brief="The configuration of the program.",
    level="INFO",
    fields=(
        EventField("config_hash", "string", "required"),
        EventField("model_name", "string", "recommended"),
        EventField("fsq_levels", "int[]", "recommended"),
        EventField("embedding_dim", "int", "recommended"),
        EventField("codebook_size", "int", "recommended"),
        EventField("random_seed", "int", "recommended"),
        EventField("config", "any", "recommended"),
    ),
)
EVENT_DRIFT_CLEARED = Event(
    name="drift_cleared",
    brief="A drift is over.",
    level="INFO",
    fields=(
        EventField("kind", "string", "required"),
        EventField("method", "string", "required"),
        EventField("score", "double", "required"),
        EventField("threshold", "double", "required"),
        EventField("noise_floor", "double", "recommended"),
        EventField("feature", "string", "recommended"),
        EventField("model", "string", "recommended"),
        EventField("windows", "int", "recommended"),
        EventField("observations", "int", "recommended"),
    ),
)
EVENT_DRIFT_DETECTED = Event(
    name="drift_detected",
    brief="The data or the model has drifted from the reference; said once an episode.",
    level="WARNING",
    fields=(
        EventField("kind", "string", "required"),
        EventField("method", "string", "required"),
        EventField("score", "double", "required"),
        EventField("threshold", "double", "required"),
        EventField("noise_floor", "double", "recommended"),
        EventField("feature", "string", "recommended"),
        EventField("model", "string", "recommended"),
        EventField("windows", "int", "recommended"),
        EventField("observations", "int", "recommended"),
    ),
)
EVENT_EPOCH_COMPLETE = Event(
    name="epoch_complete",
    brief="An epoch is over.",
    level="INFO",
    fields=(
        EventField("epoch", "int", "required"),
        EventField("loss", "double", "recommended"),
        EventField("accuracy", "double", "recommended"),
        EventField("learning_rate", "double", "recommended"),
        EventField("duration_seconds", "double", "recommended"),
        EventField("samples", "int", "recommended"),
        EventField("samples_per_second", "double", "recommended"),
        EventField("metrics", "any", "recommended"),
        EventField("energy_joules", "double", "recommended"),
    ),
)
EVENT_FSQ_CONFIG = Event(
    name="fsq_config",
    brief="The configuration of a finite scalar quantizer.",
    level="INFO",
    fields=(
        EventField("levels", "int[]", "required"),
        EventField("codebook_size", "int", "required"),
        EventField("embedding_dim", "int", "recommended"),
    ),
)
EVENT_FSQ_ENCODING = Event(
    name="fsq_encoding",
    brief="A batch was encoded by a finite scalar quantizer.",
    level="INFO",
    fields=(
        EventField("batch_size", "int", "required"),
        EventField("perplexity", "double", "recommended"),
        EventField("code_usage_percent", "double", "recommended"),
        EventField("codebook_utilization", "string", "recommended"),
        EventField("encoding_duration_ms", "double", "recommended"),
        EventField("codes_per_second", "double", "recommended"),
    ),
)
EVENT_GPU_THROTTLED = Event(
    name="gpu_throttled",
    brief="A GPU is being slowed down; said once an episode.",
    level="WARNING",
    fields=(
        EventField("reason", "string", "required"),
        EventField("duration_seconds", "double", "recommended"),
        EventField("hw.id", "string", "required"),
        EventField("hw.name", "string", "recommended"),
        EventField("ml.gpu.index", "int", "recommended"),
    ),
)
EVENT_GPU_XID = Event(
    name="gpu_xid",
    brief="The driver reported an error of a GPU.",
    level="ERROR",
    fields=(
        EventField("xid", "int", "required"),
        EventField("meaning", "string", "recommended"),
        EventField("hw.id", "string", "required"),
        EventField("hw.name", "string", "recommended"),
        EventField("ml.gpu.index", "int", "recommended"),
    ),
)
EVENT_HEALTH = Event(
    name="health",
    brief="The state of program and machine.",
    level="INFO",
    fields=(
        EventField("status", "string", "required"),
        EventField("reasons", "string[]", "recommended"),
        EventField("dependencies", "any", "recommended"),
        EventField("resources", "any", "recommended"),
    ),
)
EVENT_METRICS_SUMMARY = Event(
    name="metrics_summary",
    brief="Statistics of everything recorded so far.",
    level="INFO",
    fields=(
        EventField("counters", "any", "recommended"),
        EventField("gauges", "any", "recommended"),
        EventField("timers", "any", "recommended"),
        EventField("histograms", "any", "recommended"),
    ),
)
EVENT_NON_FINITE = Event(
    name="non_finite",
    brief="A recorded value was NaN or infinite; said once a series.",
    level="WARNING",
    fields=(
        EventField("metric", "string", "required"),
        EventField("count", "int", "recommended"),
        EventField("step", "int", "recommended"),
        EventField("epoch", "int", "recommended"),
    ),
)
EVENT_PROGRESS = Event(
    name="progress",
    brief="How far a loop is; said now and then where no bar is drawn.",
    level="INFO",
    fields=(
        EventField("description", "string", "required"),
        EventField("done", "int", "required"),
        EventField("total", "int", "recommended"),
        EventField("rate", "double", "recommended"),
        EventField("eta_seconds", "double", "recommended"),
        EventField("metrics", "any", "recommended"),
    ),
)
EVENT_QA_EXCEPTION = Event(
    name="qa_exception",
    brief="A quality check found something in the data.",
    level="WARNING",
    fields=(
        EventField("check", "string", "required"),
        EventField("severity", "string", "required"),
        EventField("affected_rows", "int", "recommended"),
        EventField("total_rows", "int", "recommended"),
        EventField("affected_percent", "double", "recommended"),
        EventField("details", "string", "recommended"),
        EventField("action_taken", "string", "recommended"),
    ),
)
EVENT_QA_SUMMARY = Event(
    name="qa_summary",
    brief="What the quality checks of a data set came to.",
    level="INFO",
    fields=(
        EventField("total_samples", "int", "required"),
        EventField("interpolated", "int", "recommended"),
        EventField("all_nan", "int", "recommended"),
        EventField("mean_fallback", "int", "recommended"),
        EventField("outliers_detected", "int", "recommended"),
    ),
)
EVENT_QUANTIZER_COLLAPSE = Event(
    name="quantizer_collapse",
    brief="A quantizer uses too few of its codes; said once an episode.",
    level="WARNING",
    fields=(
        EventField("quantizer", "string", "required"),
        EventField("measure", "string", "required"),
        EventField("threshold", "double", "required"),
        EventField("perplexity", "double", "recommended"),
        EventField("entropy_utilization", "double", "recommended"),
        EventField("code_utilization", "double", "recommended"),
        EventField("dead_codes", "int", "recommended"),
        EventField("codebook_size", "int", "recommended"),
        EventField("window_codes", "int", "recommended"),
    ),
)
EVENT_RUN_ARTIFACT = Event(
    name="run_artifact",
    brief="A file that a run produced.",
    level="INFO",
    fields=(
        EventField("path", "string", "required"),
        EventField("artifact_type", "string", "recommended"),
        EventField("size_bytes", "int", "recommended"),
        EventField("sha256", "string", "recommended"),
    ),
)
EVENT_RUN_END = Event(
    name="run_end",
    brief="A run is over.",
    level="INFO",
    fields=(
        EventField("status", "string", "required"),
        EventField("duration_seconds", "double", "recommended"),
        EventField("final_metrics", "any", "recommended"),
        EventField("error_type", "string", "recommended"),
        EventField("error_message", "string", "recommended"),
        EventField("energy_joules", "double", "recommended"),
    ),
)
EVENT_RUN_METRICS = Event(
    name="run_metrics",
    brief="Metrics that a run logged.",
    level="INFO",
    fields=(
        EventField("metrics", "any", "required"),
        EventField("step", "int", "recommended"),
        EventField("epoch", "int", "recommended"),
    ),
)
EVENT_RUN_PARAMS = Event(
    name="run_params",
    brief="Parameters of a run.",
    level="INFO",
    fields=(EventField("params", "any", "required"),),
)
EVENT_RUN_RESULT = Event(
    name="run_result",
    brief="A result of a run.",
    level="INFO",
    fields=(
        EventField("result", "string", "required"),
        EventField("value", "any", "required"),
        EventField("metadata", "any", "recommended"),
    ),
)
EVENT_RUN_START = Event(
    name="run_start",
    brief="A run begins.",
    level="INFO",
    fields=(
        EventField("experiment", "string", "required"),
        EventField("run_name", "string", "recommended"),
        EventField("tags", "any", "recommended"),
        EventField("parent_run_id", "string", "recommended"),
        EventField("resumed", "boolean", "recommended"),
    ),
)
EVENT_RUN_TAGS = Event(
    name="run_tags",
    brief="Tags that a run got after its start.",
    level="INFO",
    fields=(EventField("tags", "any", "required"),),
)
EVENT_STAGE_COMPLETE = Event(
    name="stage_complete",
    brief="A stage is over.",
    level="INFO",
    fields=(
        EventField("stage", "string", "required"),
        EventField("elapsed_ms", "double", "required"),
        EventField("items", "int", "recommended"),
    ),
)
EVENT_STAGE_ERROR = Event(
    name="stage_error",
    brief="A stage ended with an exception.",
    level="ERROR",
    fields=(
        EventField("stage", "string", "required"),
        EventField("elapsed_ms", "double", "required"),
        EventField("error_type", "string", "required"),
        EventField("error_message", "string", "recommended"),
        EventField("items", "int", "recommended"),
    ),
)
EVENT_STAGE_START = Event(
    name="stage_start",
    brief="A stage begins.",
    level="INFO",
    fields=(
        EventField("stage", "string", "required"),
        EventField("items", "int", "recommended"),
    ),
)
EVENT_TEMPORAL_SMOOTHING = Event(
    name="temporal_smoothing",
    brief="A sequence of labels was smoothed.",
    level="INFO",
    fields=(
        EventField("policy", "string", "required"),
        EventField("transitions_before", "int", "required"),
        EventField("transitions_after", "int", "required"),
        EventField("reduction_percent", "double", "recommended"),
        EventField("min_dwell", "int", "recommended"),
        EventField("window_size", "int", "recommended"),
        EventField("smoothing_duration_ms", "double", "recommended"),
    ),
)
EVENT_TRAINING_COMPLETE = Event(
    name="training_complete",
    brief="A training is over.",
    level="INFO",
    fields=(
        EventField("total_epochs", "int", "recommended"),
        EventField("final_accuracy", "double", "recommended"),
        EventField("duration_seconds", "double", "recommended"),
        EventField("metrics_summary", "any", "recommended"),
    ),
)
EVENT_TRAINING_START = Event(
    name="training_start",
    brief="A training begins.",
    level="INFO",
    fields=(
        EventField("model", "string", "recommended"),
        EventField("dataset", "string", "recommended"),
        EventField("config_hash", "string", "recommended"),
        EventField("seed", "int", "recommended"),
        EventField("batch_size", "int", "recommended"),
        EventField("total_epochs", "int", "recommended"),
    ),
)

SPAN_ML_INFERENCE = Span(
    type="ml.inference",
    brief="An inference request.",
    attributes=(
        ML_MODEL_NAME,
        ML_STAGE_KEPT,
        ML_MODEL_VERSION,
        ML_DEVICE_NAME,
        ML_INFERENCE_BATCH_SIZE,
        ERROR_TYPE,
    ),
    required=(ML_MODEL_NAME, ML_STAGE_KEPT),
)
SPAN_ML_RUN = Span(
    type="ml.run",
    brief="A run of an experiment, from its start to its end.",
    attributes=(ML_RUN_ID, ML_RUN_EXPERIMENT, ML_RUN_NAME, ML_RUN_STATUS, ERROR_TYPE),
    required=(ML_RUN_ID, ML_RUN_EXPERIMENT),
)
SPAN_ML_STAGE = Span(
    type="ml.stage",
    brief="A timed piece of work.",
    attributes=(ML_STAGE_NAME, ML_STAGE_KEPT, ML_STAGE_ITEMS, ERROR_TYPE),
    required=(ML_STAGE_NAME, ML_STAGE_KEPT),
)


_ATTRIBUTES = (
    Attribute(
        CPU_MODE,
        "string",
        "What the CPU time was spent on.",
        members=(
            "user",
            "system",
            "nice",
            "idle",
            "iowait",
            "interrupt",
            "steal",
        ),
    ),
    Attribute(ERROR_TYPE, "string", "Class of the error that ended the operation."),
    Attribute(HOST_NAME, "string", "Name of the host."),
    Attribute(HW_DRIVER_VERSION, "string", "Version of the GPU's driver."),
    Attribute(HW_GPU_TASK, "string", "What the GPU is busy with.", members=("general", "encoder", "decoder")),
    Attribute(HW_ID, "string", "Identifies the GPU by its UUID (`GPU-...`), as other exporters do."),
    Attribute(HW_LIMIT_TYPE, "string", "What happens at the limit."),
    Attribute(HW_MODEL, "string", "Model of the GPU."),
    Attribute(HW_NAME, "string", "Name of the GPU."),
    Attribute(HW_PARENT, "string", "The `hw.id` of the GPU that a MIG device is a part of."),
    Attribute(HW_SENSOR_LOCATION, "string", "Where the sensor is."),
    Attribute(HW_SERIAL_NUMBER, "string", "Serial number of the GPU."),
    Attribute(
        HW_STATE,
        "string",
        "A state that the GPU may be in.",
        members=("ok", "degraded", "failed", "predicted_failure"),
    ),
    Attribute(HW_TYPE, "string", "Kind of component; `gpu` here.", members=("gpu",)),
    Attribute(HW_VENDOR, "string", "Vendor of the GPU."),
    Attribute(ML_CLUSTERING_ALGORITHM, "string", "The clustering algorithm.", cardinality=10),
    Attribute(ML_DATA_ACTION, "string", "What was done with the rows.", cardinality=10),
    Attribute(ML_DATA_CHECK, "string", "The check of data quality that found something.", cardinality=30),
    Attribute(ML_DEVICE_NAME, "string", "The device that a model runs on.", cardinality=20),
    Attribute(ML_DISTRIBUTED_LOCAL_RANK, "int", "Rank of the process among those of its node."),
    Attribute(ML_DISTRIBUTED_RANK, "int", "Rank of the process among all processes of the job."),
    Attribute(ML_DISTRIBUTED_WORLD_SIZE, "int", "How many processes the job has."),
    Attribute(
        ML_DRIFT_BIN,
        "string",
        "A bin of the reference, by its position or its meaning.",
        cardinality=30,
    ),
    Attribute(
        ML_DRIFT_KIND,
        "string",
        "What has drifted.",
        members=("distribution", "confidence", "performance"),
        cardinality=3,
    ),
    Attribute(
        ML_DRIFT_METHOD,
        "string",
        "How a drift score is computed.",
        members=(
            "psi",
            "js",
            "ks",
            "wasserstein",
            "hellinger",
            "tv",
            "chi2",
            "difference",
        ),
        cardinality=8,
    ),
    Attribute(ML_EVALUATION_METRIC, "string", "What an evaluation measured.", cardinality=20),
    Attribute(ML_FEATURE_NAME, "string", "Name of a feature of the input.", cardinality=100),
    Attribute(ML_GPU_CALL, "string", "The NVML call.", cardinality=40),
    Attribute(
        ML_GPU_CLOCK,
        "string",
        "A clock of the GPU.",
        members=("sm", "memory", "graphics", "video"),
        cardinality=4,
    ),
    Attribute(
        ML_GPU_ENGINE,
        "string",
        "An engine of the GPU that OpenTelemetry has no name for.",
        members=("jpeg", "ofa"),
        cardinality=2,
    ),
    Attribute(
        ML_GPU_INDEX,
        "int",
        "Index of the GPU as NVML counts, which need not be CUDA's.",
        cardinality=16,
    ),
    Attribute(
        ML_GPU_INTERCONNECT,
        "string",
        "What the GPU exchanges data over.",
        members=("pcie", "nvlink"),
        cardinality=2,
    ),
    Attribute(
        ML_GPU_PIPE,
        "string",
        "An arithmetic pipe of the GPU.",
        members=("fp64", "fp32", "fp16"),
        cardinality=3,
    ),
    Attribute(
        ML_GPU_THROTTLE_REASON,
        "string",
        "Why the GPU runs slower than it could; being idle is no reason.",
        cardinality=12,
    ),
    Attribute(ML_INFERENCE_BATCH_SIZE, "int", "How many samples an inference request has."),
    Attribute(ML_METRIC_NAME, "string", "Name of a quantity that the program logs.", cardinality=100),
    Attribute(ML_MODEL_FORMAT, "string", "Format of a stored or converted model.", cardinality=10),
    Attribute(ML_MODEL_NAME, "string", "Name of a model, as its users know it.", cardinality=50),
    Attribute(ML_MODEL_VERSION, "string", "Version of a model.", cardinality=10),
    Attribute(ML_PREDICTION_CLASS, "string", "The class that a model predicted.", cardinality=1000),
    Attribute(ML_QUANTIZER_NAME, "string", "Name of a quantizer (FSQ or VQ).", cardinality=20),
    Attribute(ML_RUN_EXPERIMENT, "string", "The experiment that a run belongs to."),
    Attribute(ML_RUN_ID, "string", "Identifies a run."),
    Attribute(ML_RUN_NAME, "string", "Name of a run, for people."),
    Attribute(ML_RUN_STATUS, "string", "How a run ended.", members=("completed", "failed", "killed")),
    Attribute(ML_SMOOTHING_POLICY, "string", "The policy of temporal smoothing.", cardinality=10),
    Attribute(
        ML_SMOOTHING_SIDE,
        "string",
        "Whether transitions were counted before or after the smoothing.",
        members=("before", "after"),
        cardinality=2,
    ),
    Attribute(ML_STAGE_ITEMS, "int", "How many items (rows, samples) the stage worked on."),
    Attribute(
        ML_STAGE_KEPT,
        "string",
        "Why this stage has a span.",
        members=("budget", "first", "failed", "outlier"),
    ),
    Attribute(ML_STAGE_NAME, "string", "Name of a stage, a constant of the program.", cardinality=200),
    Attribute(ML_TRAINING_EPOCH, "int", "The epoch that a span or log line belongs to."),
    Attribute(ML_TRAINING_PHASE, "string", "What a step is for.", members=("train", "eval"), cardinality=2),
    Attribute(ML_TRAINING_STEP, "int", "The step that a span or log line belongs to."),
    Attribute(
        NETWORK_IO_DIRECTION,
        "string",
        "The direction, as the GPU sees it.",
        members=("receive", "transmit"),
    ),
    Attribute(OTELML_COMPONENT, "string", "The part of otelml that reports.", cardinality=20),
    Attribute(
        OTELML_REASON,
        "string",
        "What went wrong, as a constant or the type of an exception.",
        cardinality=20,
    ),
    Attribute(SERVICE_INSTANCE_ID, "string", "Identifies this process among those of the service."),
    Attribute(SERVICE_NAME, "string", "Name of the program."),
    Attribute(SERVICE_NAMESPACE, "string", "What the service is a part of."),
    Attribute(SERVICE_VERSION, "string", "Version of the program."),
    Attribute(SYSTEM_DEVICE, "string", "The device that the filesystem is on."),
    Attribute(SYSTEM_FILESYSTEM_MOUNTPOINT, "string", "Where the filesystem is mounted."),
    Attribute(
        SYSTEM_FILESYSTEM_STATE,
        "string",
        "State of the filesystem's space.",
        members=("used", "free", "reserved"),
    ),
    Attribute(SYSTEM_FILESYSTEM_TYPE, "string", "Kind of filesystem, as the kernel calls it."),
    Attribute(TELEMETRY_DISTRO_NAME, "string", "Name of the distribution; `otelml` here."),
    Attribute(TELEMETRY_DISTRO_VERSION, "string", "Version of the distribution."),
    Attribute(VCS_REF_HEAD_REVISION, "string", "Git revision of the program."),
)
ATTRIBUTES: dict[str, Attribute] = {attribute.key: attribute for attribute in _ATTRIBUTES}

_METRICS = (
    METRIC_HW_ENERGY,
    METRIC_HW_ERRORS,
    METRIC_HW_FAN_SPEED_RATIO,
    METRIC_HW_GPU_IO,
    METRIC_HW_GPU_MEMORY_LIMIT,
    METRIC_HW_GPU_MEMORY_USAGE,
    METRIC_HW_GPU_MEMORY_UTILIZATION,
    METRIC_HW_GPU_UTILIZATION,
    METRIC_HW_POWER,
    METRIC_HW_STATUS,
    METRIC_HW_TEMPERATURE,
    METRIC_HW_TEMPERATURE_LIMIT,
    METRIC_ML_CLUSTERING_CLUSTER_COUNT,
    METRIC_ML_DATA_ROWS,
    METRIC_ML_DRIFT_ALERTS,
    METRIC_ML_DRIFT_NOISE_FLOOR,
    METRIC_ML_DRIFT_OBSERVATIONS,
    METRIC_ML_DRIFT_REFERENCE_PROPORTION,
    METRIC_ML_DRIFT_SCORE,
    METRIC_ML_DRIFT_THRESHOLD,
    METRIC_ML_EVALUATION_SCORE,
    METRIC_ML_GPU_CLOCK_FREQUENCY,
    METRIC_ML_GPU_COLLECT_DURATION,
    METRIC_ML_GPU_COLLECT_ERRORS,
    METRIC_ML_GPU_ENGINE_UTILIZATION,
    METRIC_ML_GPU_INTERCONNECT_IO,
    METRIC_ML_GPU_MEMORY_BANDWIDTH_UTILIZATION,
    METRIC_ML_GPU_MEMORY_CONTROLLER_UTILIZATION,
    METRIC_ML_GPU_MEMORY_RESERVED,
    METRIC_ML_GPU_PIPE_UTILIZATION,
    METRIC_ML_GPU_POWER_LIMIT,
    METRIC_ML_GPU_PROCESS_MEMORY_USAGE,
    METRIC_ML_GPU_SM_OCCUPANCY,
    METRIC_ML_GPU_SM_UTILIZATION,
    METRIC_ML_GPU_TENSOR_UTILIZATION,
    METRIC_ML_GPU_THROTTLE_ACTIVE,
    METRIC_ML_GPU_THROTTLE_DURATION,
    METRIC_ML_INFERENCE_ACTIVE,
    METRIC_ML_INFERENCE_BATCH_SIZE,
    METRIC_ML_INFERENCE_CONFIDENCE,
    METRIC_ML_INFERENCE_DURATION,
    METRIC_ML_INFERENCE_PREDICTIONS,
    METRIC_ML_MODEL_CONVERSION_DURATION,
    METRIC_ML_MODEL_SIZE,
    METRIC_ML_QUANTIZER_CODE_DEAD,
    METRIC_ML_QUANTIZER_CODE_LIMIT,
    METRIC_ML_QUANTIZER_CODE_UTILIZATION,
    METRIC_ML_QUANTIZER_CODES,
    METRIC_ML_QUANTIZER_ENTROPY_UTILIZATION,
    METRIC_ML_QUANTIZER_PERPLEXITY,
    METRIC_ML_RESOURCE_CPU_UTILIZATION,
    METRIC_ML_RESOURCE_GPU_MEMORY_USAGE,
    METRIC_ML_RESOURCE_GPU_UTILIZATION,
    METRIC_ML_RESOURCE_MEMORY_USAGE,
    METRIC_ML_SMOOTHING_TRANSITIONS,
    METRIC_ML_STAGE_DURATION,
    METRIC_ML_STAGE_ITEMS,
    METRIC_ML_TRAINING_DATA_WAIT_DURATION,
    METRIC_ML_TRAINING_EPOCH,
    METRIC_ML_TRAINING_GRADIENT_NORM,
    METRIC_ML_TRAINING_LEARNING_RATE,
    METRIC_ML_TRAINING_LOSS,
    METRIC_ML_TRAINING_METRIC,
    METRIC_ML_TRAINING_NON_FINITE,
    METRIC_ML_TRAINING_PROGRESS,
    METRIC_ML_TRAINING_SAMPLES,
    METRIC_ML_TRAINING_STEP_DURATION,
    METRIC_ML_TRAINING_STEPS,
    METRIC_ML_TRAINING_TOKENS,
    METRIC_OTELML_INTERNAL_DROPPED,
    METRIC_OTELML_INTERNAL_ERRORS,
    METRIC_OTELML_INTERNAL_OVERFLOW,
    METRIC_PROCESS_CPU_UTILIZATION,
    METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
    METRIC_SYSTEM_CPU_UTILIZATION,
    METRIC_SYSTEM_FILESYSTEM_LIMIT,
    METRIC_SYSTEM_FILESYSTEM_USAGE,
    METRIC_SYSTEM_FILESYSTEM_UTILIZATION,
    METRIC_SYSTEM_MEMORY_LIMIT,
    METRIC_SYSTEM_MEMORY_LINUX_AVAILABLE,
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}

_EVENTS = (
    EVENT_BATCH_COMPLETE,
    EVENT_BATCH_START,
    EVENT_CLUSTERING,
    EVENT_CONFIG,
    EVENT_DRIFT_CLEARED,
    EVENT_DRIFT_DETECTED,
    EVENT_EPOCH_COMPLETE,
    EVENT_FSQ_CONFIG,
    EVENT_FSQ_ENCODING,
    EVENT_GPU_THROTTLED,
    EVENT_GPU_XID,
    EVENT_HEALTH,
    EVENT_METRICS_SUMMARY,
    EVENT_NON_FINITE,
    EVENT_PROGRESS,
    EVENT_QA_EXCEPTION,
    EVENT_QA_SUMMARY,
    EVENT_QUANTIZER_COLLAPSE,
    EVENT_RUN_ARTIFACT,
    EVENT_RUN_END,
    EVENT_RUN_METRICS,
    EVENT_RUN_PARAMS,
    EVENT_RUN_RESULT,
    EVENT_RUN_START,
    EVENT_RUN_TAGS,
    EVENT_STAGE_COMPLETE,
    EVENT_STAGE_ERROR,
    EVENT_STAGE_START,
    EVENT_TEMPORAL_SMOOTHING,
    EVENT_TRAINING_COMPLETE,
    EVENT_TRAINING_START,
)
EVENTS: dict[str, Event] = {event.name: event for event in _EVENTS}

_SPANS = (
    SPAN_ML_INFERENCE,
    SPAN_ML_RUN,
    SPAN_ML_STAGE,
)
SPANS: dict[str, Span] = {span.type: span for span in _SPANS}
