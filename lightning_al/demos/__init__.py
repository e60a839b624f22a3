"""Small datasets and reference networks, for the command line, the documentation and the tests."""

from lightning_al.demos.classifier import Classifier
from lightning_al.demos.digits import Digits
from lightning_al.demos.image_network import image_network
from lightning_al.demos.linear_head import LinearHead
from lightning_al.demos.mlp import mlp
from lightning_al.demos.mlp_head import mlp_head
from lightning_al.demos.mnist import MNIST
from lightning_al.demos.networks import digits_cnn, paper_cnn
from lightning_al.demos.pixels import Pixels
from lightning_al.demos.table_network import table_network
from lightning_al.demos.text_network import text_network

__all__ = [
    "MNIST",
    "Classifier",
    "Digits",
    "LinearHead",
    "Pixels",
    "digits_cnn",
    "image_network",
    "mlp",
    "mlp_head",
    "paper_cnn",
    "table_network",
    "text_network",
]
