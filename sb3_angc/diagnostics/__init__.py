"""What an agent's circuits are doing: logged during training, and drawn."""
