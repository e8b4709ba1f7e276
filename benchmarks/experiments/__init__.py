"""Studies that are no reinforcement learning: regression, settling, speed."""
