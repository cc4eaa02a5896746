"""`python -m pipelines` is `vargpt-corpus`."""

import sys

from pipelines.cli import main

sys.exit(main())
