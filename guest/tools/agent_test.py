"""Tests of the guest agent through its protocol. guest/agent/check runs them against the real program on this machine;
with FORKD_AGENT_SOCKET they run against one that is PID 1 of a virtual machine.

  FORKD_AGENT         the program to test, in host mode
  FORKD_AGENT_SOCKET  or the socket of a guest's port
  FORKD_FUZZ_SEED     repeat the fuzz test with this seed
  FORKD_FUZZ_ROUNDS   how long it goes on (default 150)
"""

import sys
import unittest

# All in one program, since a guest keeps the token of the last epoch. No two of these have a class of the same name.
from agent_conversation_test import *
from agent_exec_test import *
from agent_files_test import *
from agent_fuzz_test import *

if __name__ == "__main__":
    unittest.main(verbosity=2 if "-v" in sys.argv else 1)
