"""`python -m rpo_lightning.cli`, as torchrun starts it."""

from rpo_lightning.cli import main

main()
