"""Small datasets and reference networks, for the command line, the documentation and the tests."""

from lightning_al.demos.classifier import Classifier
from lightning_al.demos.digits import Digits
from lightning_al.demos.mnist import MNIST
from lightning_al.demos.networks import digits_cnn, paper_cnn

__all__ = ["MNIST", "Classifier", "Digits", "digits_cnn", "paper_cnn"]
