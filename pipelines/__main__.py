"""`python -m pipelines` is `vargpt-corpus`."""

import sys

from pipelines.cli.main import main

sys.exit(main())
