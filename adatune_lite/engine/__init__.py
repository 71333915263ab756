"""The derivatives: gradient and product, the forward and the reverse sweep, whole schedules, eigenvalues."""
