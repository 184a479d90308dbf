"""Stable codes of failures. Imports nothing heavy: the decoder's child process has them too."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Stable names of failures, beside their sentences: programs and tests match these, sentences may change."""

    # An image of a run, for good
    IMAGE_MISSING = "image.missing"
    IMAGE_FORBIDDEN = "image.forbidden"
    IMAGE_UNREADABLE = "image.unreadable"
    IMAGE_EMPTY = "image.empty"
    IMAGE_BYTES = "image.too_many_bytes"
    IMAGE_PIXELS = "image.too_many_pixels"
    IMAGE_SMALL = "image.too_small"
    IMAGE_BLANK = "image.blank"
    IMAGE_FORMAT = "image.format"
    IMAGE_TRUNCATED = "image.truncated"
    IMAGE_NOT_FINITE = "image.not_finite"
    IMAGE_DECODER = "image.decoder"
    IMAGE_CHANGED = "image.changed"
    IMAGE_NAME = "image.name"
    IMAGE_NOT_PERMITTED = "image.not_permitted"
    MASK_INVALID = "mask.invalid"
    CHANNELS_MANY = "channels.too_many"
    CHANNELS_EMPTY = "channels.empty"
    CHANNELS_SIZE = "channels.size"
    CHANNELS_INVALID = "channels.invalid"
    # The images of a command
    IMAGES_NONE = "images.none"
    IMAGES_MANY = "images.many"
    IMAGES_DUPLICATE = "images.duplicate"
    LIST_UNREADABLE = "list.unreadable"
    LIST_COLUMN = "list.column"
    LIST_ROW = "list.row"
    LIST_SIZE = "list.size"
    # Options, settings and tasks
    USAGE = "usage"
    OPTION_MISSING = "option.missing"
    OPTION_UNKNOWN = "option.unknown"
    OPTION_VALUE = "option.value"
    OPTION_TWICE = "option.twice"
    CONFIG_UNREADABLE = "config.unreadable"
    SETTING = "setting"
    SIZE = "size"
    DEVICE = "device"
    RESOURCES = "resources"
    TEMPORARY_FOLDER = "temporary.folder"
    METHOD_UNKNOWN = "method.unknown"
    TASK_UNKNOWN = "task.unknown"
    TASK_INVALID = "task.invalid"
    # A run and its pyramids
    RUN_MISSING = "run.missing"
    RUN_OTHER = "run.other"
    RUN_DAMAGED = "run.damaged"
    RUN_ACTIVE = "run.active"
    RUN_IMAGE = "run.image"
    TABLES_MISSING = "tables.missing"
    LABELS_NONE = "labels.none"
    QUERY_INVALID = "query.invalid"
    PYRAMID_MISSING = "pyramid.missing"
    PYRAMID_DAMAGED = "pyramid.damaged"
    PYRAMID_FAILED = "pyramid.failed"
    OUTPUT_UNWRITABLE = "output.unwritable"
    # Storage
    STORAGE_MISSING = "storage.missing"
    STORAGE_FORBIDDEN = "storage.forbidden"
    STORAGE_CREDENTIALS = "storage.credentials"
    STORAGE_UNREACHABLE = "storage.unreachable"
    STORAGE_UNSUPPORTED = "storage.unsupported"
    STORAGE_FULL = "storage.full"
    STORAGE_ADDRESS = "storage.address"
    STORAGE_FAILED = "storage.failed"
    # Ray and submission
    RAY_UNREACHABLE = "ray.unreachable"
    RAY_FAILED = "ray.failed"
    RAY_TOKEN = "ray.token"  # noqa: S105 - a name, no secret
    SUBMIT_NOT_SHARED = "submit.not_shared"
    SUBMIT_SECRET = "submit.secret"  # noqa: S105 - a name, no secret
    SUBMIT_PREFLIGHT = "submit.preflight"
    SUBMIT_WHEEL = "submit.wheel"
    SUBMIT_JOB = "submit.job"
    # An attempt
    TRAINING_DIVERGED = "training.diverged"
    MEMORY_GPU = "memory.gpu"
    MEMORY_HOST = "memory.host"
    WORKER_LOST = "worker.lost"
    WORKER_TIMEOUT = "worker.timeout"
    WORKER_PREEMPTED = "worker.preempted"
    BUG = "bug"


STORAGE_CODES = frozenset(
    {
        Code.STORAGE_MISSING,
        Code.STORAGE_FORBIDDEN,
        Code.STORAGE_CREDENTIALS,
        Code.STORAGE_UNREACHABLE,
        Code.STORAGE_FULL,
        Code.STORAGE_FAILED,
    }
)
"""Codes of files that storage fails to read now, and may read later."""
