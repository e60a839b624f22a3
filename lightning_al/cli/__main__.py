"""`python -m lightning_al.cli` is `lightning-al`."""

from lightning_al.cli import main

main()
