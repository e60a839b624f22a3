"""A Hydra application that takes its acquisition functions and posteriors from lightning_al's groups.

Run it with ``python examples/lightning_and_hydra.py acquisition=bald active.query_size=20``, or a sweep with
``python examples/lightning_and_hydra.py -m acquisition=random,bald,batchbald``.
"""

from pathlib import Path

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="lightning_and_hydra", config_name="config")
def main(config: DictConfig) -> float:
    pl.seed_everything(config.seed)
    active = instantiate(config.active)
    trainer = instantiate(config.trainer, callbacks=[active])
    trainer.fit(instantiate(config.model), datamodule=instantiate(config.pool))
    print(active.history)
    folder = Path(HydraConfig.get().runtime.output_dir)
    print(f"The run is kept in {folder / 'al'}.")
    accuracy: float = active.history[-1].metrics["test_acc"]
    return accuracy


if __name__ == "__main__":
    main()
