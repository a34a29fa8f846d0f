"""Everything that needs torch: who imports this does so where it samples, never at start."""

import os

# Must be set before torch starts its threads. With the default, a thread that waits spins: where
# another program uses one of two cores, two threads were 25 times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
