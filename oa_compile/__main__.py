"""``python -m oa_compile`` is ``oacompile``."""

import sys

from oa_compile.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
