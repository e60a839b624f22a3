"""The Hydra groups of lightning_al, for `hydra.searchpath: [pkg://lightning_al.conf]`."""
