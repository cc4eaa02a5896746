"""Train a VARGPT, stage by stage: recipes, one loop, and what it leaves behind."""
