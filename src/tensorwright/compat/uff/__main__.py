"""``python -m tensorwright.compat.uff`` is the command convert-to-uff."""

import sys

from tensorwright.compat.uff.command import main

sys.exit(main())
