"""Entry point of a worker process."""

import sys

from harness.launch.local import work

if __name__ == "__main__":
    sys.exit(work())
