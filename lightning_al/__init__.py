"""Active learning for PyTorch Lightning.

    pool -> candidates -> acquisition -> indices -> oracle -> pool -> next fit
         (posterior samples)   (scores)          (labels)

`ActiveDataModule` splits a dataset into labelled points and a pool. `ActiveLearning`, a Lightning callback, runs the
rounds: after each fit a `Posterior` predicts the pool with several samples of the weights, an `Acquisition` selects
the `Candidates` worth most, an `Oracle` labels them, and the next fit begins from the initial weights. `History` says
what each round did.

`__init__.pyi` lists the public names. Each is imported when it is first used, so ``import lightning_al`` takes no time.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
