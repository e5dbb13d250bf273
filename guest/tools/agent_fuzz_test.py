"""The guest agent hears nonsense. See agent_test.py for how it runs."""

import json
import os
import random
import struct
import sys
import time

import agent_client as wire
from agent_case import SLOW, AgentTest
from agent_client import frame


class Fuzz(AgentTest):
    def requests(self, dice):
        path = f"{self.folder}/{dice.randrange(4)}"
        return dice.choice([
            {"op": "exec", "args": ["true"], "stdin": dice.random() < 0.5, "timeoutMillis": dice.choice([0, 1, 50, -7, 2 ** 62])},
            {"op": "exec", "args": ["cat"], "stdin": True, "timeoutMillis": 40},
            {"op": "exec", "args": ["sh", "-c", "head -c 400000 /dev/zero"], "timeoutMillis": 200},
            {"op": "exec", "args": dice.choice([[], [""], ["\u0001"], [None], "x", {}]), "env": dice.choice([{}, [], {"": ""}, {"=": "="}])},
            {"op": "eval", "timeoutMillis": 30}, {"op": "read", "path": path}, {"op": "write", "path": path, "mode": dice.choice([0o600, -1, "x"])},
            {"op": "stat", "path": dice.choice([path, "", "/", "x" * 5000, None])}, {"op": "list", "path": self.folder}, {"op": "mkdir", "path": path},
            {"op": "move", "from": path, "to": path + "m"}, {"op": "remove", "path": path}, {"op": "freeze"}, {"op": "thaw"}, {"op": "status"}, {"op": "clock"},
            {"op": "epoch", "epoch": 1, "hostname": "x" * dice.randrange(100), "token": "zz"}, [1], "text", {"op": dice.choice([None, "", 3])},
            {"op": "start", "args": ["cat"], "stdin": dice.random() < 0.7, "label": dice.choice(["a", "b"]), "lifetimeMillis": dice.choice([1, 60, 300]),
             "pty": dice.choice([None, None, {"columns": dice.choice([80, 0, -1]), "rows": 24}, "x"])},
            {"op": "start", "args": ["sh", "-c", "head -c 300000 /dev/zero; sleep 0.05"], "label": 7, "lifetimeMillis": 200, "cwd": dice.choice(["/", "/none", None])},
            {"op": "attach", **self.named(dice)}, {"op": "input", **self.named(dice)}, {"op": "input", **self.named(dice)}, {"op": "closeInput", **self.named(dice)},
            {"op": "signal", "signal": dice.choice([9, 15, 0, 99, "x"]), **self.named(dice)}, {"op": "resize", "columns": 10, "rows": dice.choice([5, 0]), **self.named(dice)},
            {"op": "processes"}, {"op": "connect", "port": dice.choice([1, 0, 65535, -1, "x"])}, {"op": "usage"}, {"op": "account", "user": dice.choice(["root", "0", "", None])},
            {"op": "watch", "path": dice.choice([self.folder, path, "/none"]), "recursive": dice.random() < 0.5, "entries": dice.random() < 0.5},
            {"op": "tree", "path": dice.choice([self.folder, path]), "depth": dice.choice([1, 3, -1, 10 ** 9, "x"])}, {"op": "stat", "path": path, "follow": True},
            {"op": "write", "path": path, "inPlace": True, "metadata": dice.choice([{}, {"a": "b"}, {"": 1}, {"x" * 300: "y"}, []])},
            {"op": "read", "path": path, "offset": dice.choice([0, 5, -5, 2 ** 62]), "length": dice.choice([0, 3, -3])},
        ])

    def named(self, dice):
        return dice.choice([{"label": "a"}, {"label": "b"}, {"label": ""}, {"pid": dice.choice([0, 1, -1, 99999])}, {}, {"label": "a", "pid": 1}])

    def piece(self, dice):
        ident = dice.choice([1, 2, 3, 4, 5, 6, 7, 8] * 3 + [0, dice.getrandbits(32)])
        if ident == 0 and dice.random() < 0.7:
            return frame(0, wire.CLOCK, 0, dice.randbytes(8))
        kind = dice.choice([wire.OPEN, wire.OPEN, wire.OPEN, wire.DATA, wire.DATA, wire.EOF, wire.WINDOW, wire.SIGNAL, wire.CANCEL] + [dice.randrange(256)] * (dice.random() < 0.05))
        payload = dice.randbytes(dice.choice([0, 1, 4, 8, 32, 1000, 16384]))
        flags = dice.choice([0, 0, 0, 1, 2, dice.randrange(256)])
        if kind == wire.OPEN:
            flags, payload = int(dice.random() < 0.02), json.dumps(self.requests(dice)).encode()
            if dice.random() < 0.2:
                flags, payload = 0, payload[:dice.randrange(len(payload))]
        elif kind == wire.WINDOW and dice.random() < 0.8:
            flags, payload = dice.choice([1, 2]), struct.pack("<I", dice.choice([1, 1000, 300000, 300000, 2 ** 31]))
        elif kind == wire.SIGNAL and dice.random() < 0.8:
            payload = bytes([dice.choice([1, 2, 9, 15, 64])])
        elif kind in (wire.DATA, wire.EOF):
            flags = 0
        data = bytearray(frame(ident, kind, flags, payload))
        if dice.random() < 0.02:
            for _ in range(dice.randrange(1, 4)):
                data[dice.randrange(len(data))] = dice.getrandbits(8)
        if dice.random() < 0.01:
            data = data[:dice.randrange(len(data))]
        return bytes(data)

    def test_no_input_breaks_it(self):
        """Valid, damaged and random frames in random order, cut anywhere; after each round a new host is served."""
        seed = int(os.environ.get("FORKD_FUZZ_SEED") or int.from_bytes(os.urandom(4), "little"))
        rounds = int(os.environ.get("FORKD_FUZZ_ROUNDS") or 150) // SLOW
        print(f"fuzz seed {seed}, {rounds} rounds", file=sys.stderr, flush=True)
        dice = random.Random(seed)
        for number in range(rounds):
            self.agent.streams = {}
            data = b"".join(self.piece(dice) for _ in range(dice.randrange(1, 40)))
            while data:
                cut = dice.choice([1, 7, 100, 5000, len(data)])
                self.agent.send(data[:cut])
                data = data[cut:]
                if dice.random() < 0.05:
                    time.sleep(dice.choice([0.002, 0.05]))
            self.agent.input.clear()
            with self.subTest(seed=seed, round=number):
                self.agent.sync(AgentTest.token)
                self.agent.call("thaw")
                self.assertEqual(self.agent.exec("echo", str(number))[1], f"{number}\n".encode())
