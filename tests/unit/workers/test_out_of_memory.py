"""Out of memory is told in many words, and other errors in similar ones."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from workers.memory import is_out_of_memory, tells_of_memory


class SafetensorError(Exception):
    """As safetensors raises it: of no kind but `Exception`."""


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB"),
    torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    RuntimeError("cudaErrorMemoryAllocation: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("Error out of memory at line 380 in file /src/csrc/ops.cu"),
    torch.distributed.DistBackendError(
        "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error, NCCL version 2.27.5\n"
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'"
    ),
    torch.distributed.DistBackendError("NCCL error: internal error. Last error:\nFailed to CUDA calloc 6291456 bytes"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:116] posix_memalign. DefaultCPUAllocator: not enough memory: you tried to allocate 8"),
    RuntimeError("unable to mmap 269060552 bytes from file <model.safetensors>: Cannot allocate memory (12)"),
    RuntimeError("std::bad_alloc"),
    SafetensorError("Error while deserializing header: Cannot allocate memory (os error 12)"),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
SOMETHING_ELSE = [
    RuntimeError("out of resource: shared memory, Required: 131072, Hardware limit: 101376. Reducing block sizes may help"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    torch.distributed.DistBackendError("NCCL error: unhandled system error. Last error:\nCuda failure 1 'invalid argument'"),
    torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"),
    RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:42"),
    RuntimeError("unable to open shared memory object </torch_1_2> in read-write mode: No space left on device (28)"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EMFILE, "Too many open files"),
    ValueError("the row says: my phone ran out of memory again"),
    KeyError("memory"),
    ImportError("libcudart.so.12: cannot open shared object file"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_memory_that_ran_out_is_recognised_in_any_wording(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", SOMETHING_ELSE, ids=str)
def test_other_failures_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_real_allocators_are_recognised() -> None:
    for allocate in (lambda: torch.empty(2**60), lambda: np.empty(2**50), lambda: bytearray(2**62)):
        with pytest.raises((RuntimeError, MemoryError)) as failed:
            allocate()
        assert is_out_of_memory(failed.value), failed.value


def raised_behind(first: Exception, *, hidden: bool) -> Exception:
    """A ValueError that was raised while `first` was handled."""
    try:
        try:
            raise first
        except type(first) as error:
            raise ValueError("the step failed") from (None if hidden else error)
    except ValueError as outer:
        return outer


def test_the_error_behind_an_error_counts_unless_it_is_hidden() -> None:
    assert is_out_of_memory(raised_behind(torch.OutOfMemoryError("CUDA out of memory"), hidden=False))
    assert not is_out_of_memory(raised_behind(MemoryError(), hidden=True))


def test_a_log_tells_what_its_process_could_not() -> None:
    assert tells_of_memory("node1:42:46 [3] include/alloc.h:178 NCCL WARN Cuda failure 2 'out of memory'\nSIGABRT (-6)")
    assert tells_of_memory("terminate called after throwing an instance of 'std::bad_alloc'")
    assert not tells_of_memory("node1:42:46 [0] NCCL WARN socketProgress: Connection closed by remote peer\nSIGABRT (-6)")
