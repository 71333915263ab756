"""Finding settings by short trials: a hyper-rate, a learning rate."""
