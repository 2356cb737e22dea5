"""What can go wrong for a user, and the exit code each kind ends with. Programming errors stay assertions."""

import re


class DogfastError(Exception):
    """One clear sentence that names the flag or file and says what to do about it."""

    exit_code = 1


class UsageError(DogfastError):
    """A flag, a value or a configuration file is wrong."""

    exit_code = 2


class EnvironmentFault(DogfastError):
    """This machine lacks something: a package, a device, a model, a writable folder."""

    exit_code = 3


class OutOfMemory(EnvironmentFault):
    """A device has no memory left for what it was asked."""


class DataError(DogfastError):
    """Images, shards, checkpoints or tables are missing or not what they should be."""

    exit_code = 4


class PartialFailure(DogfastError):
    """The command finished, but some of its work failed; the results say which."""

    exit_code = 5


class RunMismatch(DogfastError):
    """The run folder holds the work of another configuration, is no run, or is in use."""

    exit_code = 6


SIGNS_OF_NO_MEMORY = re.compile(
    r"out of memory|failed to allocate|bad_alloc|ALLOC_FAILED|OutOfMemory|can't allocate", re.IGNORECASE
)
"""How CUDA, cuBLAS, cuDNN, torch on a CPU, ONNX Runtime, TensorRT and OpenVINO say so; they share no exception."""


def is_out_of_memory(error: BaseException) -> bool:
    said_so = isinstance(error, RuntimeError) and SIGNS_OF_NO_MEMORY.search(str(error)) is not None
    return said_so or isinstance(error, MemoryError | OutOfMemory)


def fault_of_device(message: str, words: str) -> EnvironmentFault:
    """What a device's runtime could not do: :class:`OutOfMemory` where its own ``words`` say so."""
    kind = OutOfMemory if SIGNS_OF_NO_MEMORY.search(words) else EnvironmentFault
    return kind(f"{message} ({words})")
