"""What is trained: data and networks."""

from adatune_lite.tasks import models

__all__ = ["models"]
