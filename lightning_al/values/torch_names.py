"""Every private or undocumented name of torch that the library uses, each with what needs it.

What is imported here has no public name either. An import fails by itself when a name is gone.
"""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._pytree import tree_leaves as tree_leaves
from torch.utils._pytree import tree_map as tree_map
from torch.utils._pytree import tree_map_only as tree_map_only

from lightning_al.values.private_name import PrivateName


def _name(owner: str, path: str, purpose: str) -> PrivateName:
    return PrivateName("torch 2.6 to 2.14", owner, path, purpose)


# Modules
PARAMETERS = _name("Module", "_parameters", "put a module's parameters back")
BUFFERS = _name("Module", "_buffers", "put a module's buffers back")
MODULES = _name("Module", "_modules", "put a module's layers back")
NON_PERSISTENT_BUFFERS = _name("Module", "_non_persistent_buffers_set", "copy the buffers outside the `state_dict`")
BATCH_NORM = _name("torch.nn", "modules.batchnorm._BatchNorm", "keep batches of one point from batch norm")
NORMS = _name("torch.nn", "modules.batchnorm._NormBase", "leave batch norm out of the posterior samples")
COMPILED_CLASS = _name("torch", "_dynamo.OptimizedModule", "sample the network that `torch.compile` was given")
COMPILED_FROM = _name("OptimizedModule", "_orig_mod", "sample the network that `torch.compile` was given")

# Data loaders and processes
LOADER_ITERATOR = _name("DataLoader", "_iterator", "give a copied loader workers of its own")
ITERATOR_CLASS = _name("torch.utils.data", "dataloader._BaseDataLoaderIter", "find iterators that a loader holds")
DEFAULT_STORE = _name("torch.distributed", "distributed_c10d._get_default_store", "let ranks wait for hours")

# Tensors and operations
TENSOR_VERSION = _name("Tensor", "_version", "see whether a tensor was changed in place")
OPERATION_SCHEMA = _name("OpOverload", "_schema", "read the arguments of an operation")
WRAPPER_TENSOR = _name("Tensor", "_make_wrapper_subclass", "keep dropped channels out of memory")
NO_TORCH_FUNCTION = _name("torch", "_C._disabled_torch_function_impl", "keep dropped channels out of memory")
