"""BatchBALD: the batch of points whose labels together would tell most about the weights."""

from lightning_al.acquisition.batchbald.selection import BatchBALD, batchbald

__all__ = ["BatchBALD", "batchbald"]
