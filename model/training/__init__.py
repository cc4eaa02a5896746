"""Training of a VARGPT, stage by stage: recipes, the loop, checkpoints and logs."""
