"""The command line, with answers of models that are written a few at a time."""

import sys

from pipelines.captions import answers

FLUSH_ANSWERS = 2

# In the children of a build, which import its main module under the second name, too.
if __name__ in ("__main__", "__mp_main__"):
    answers.FLUSH_ANSWERS = FLUSH_ANSWERS  # type: ignore[misc]

if __name__ == "__main__":
    from pipelines.cli.main import main

    sys.exit(main())
