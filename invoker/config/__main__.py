"""◆ Prints docs/settings.md."""

import sys

from invoker.config import page

sys.stdout.write(page())
