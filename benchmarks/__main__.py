"""`python -m benchmarks`."""

from benchmarks.engine import main

raise SystemExit(main())
