"""The one training loop, what makes a run of a description, and the functions that runs are made by."""
