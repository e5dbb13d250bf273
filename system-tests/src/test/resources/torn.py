"""Rewrites blocks in memory and a log on disk as fast as it can, in an order that tells afterwards whether what it finds
belongs to one moment: on SIGUSR1 it says so in /root/verdict."""
import os, signal, struct

BLOCKS, SIZE, LOG = 64, 65536, "/root/log"
memory = [bytearray(SIZE) for _ in range(BLOCKS)]
at = [0, 0]  # the round, and the block that is being written
log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def verdict():
    round_number, current = at
    for i, block in enumerate(memory):
        word = block[:8]
        if block != word * (SIZE // 8):
            return f"block {i} is torn in round {round_number} at {current}"
        allowed = {round_number} if i < current else {round_number - 1} if i > current else {round_number, round_number - 1}
        if struct.unpack("<Q", word)[0] not in allowed:
            return f"block {i} is of round {struct.unpack('<Q', word)[0]}, the memory of {round_number} at {current}"
    with open("/proc/sys/vm/drop_caches", "w") as caches:
        caches.write("1")
    lines = open(LOG).read().split()
    if lines != [f"{n:08}" for n in range(1, len(lines) + 1)]:
        return "the log on disk has a hole"
    if len(lines) not in (round_number - 1, round_number):
        return f"the disk is of round {len(lines)}, the memory of {round_number}"
    return f"ok {round_number}"


def tell(*_):
    with open("/root/verdict.new", "w") as out:
        out.write(verdict())
    os.rename("/root/verdict.new", "/root/verdict")


signal.signal(signal.SIGUSR1, tell)
with open("/root/pid", "w") as out:
    out.write(str(os.getpid()))
while True:
    at[:] = [at[0] + 1, 0]
    for number in range(BLOCKS):
        at[1] = number
        memory[number][:] = struct.pack("<Q", at[0]) * (SIZE // 8)
    at[1] = BLOCKS
    os.write(log, f"{at[0]:08}\n".encode())
    os.fdatasync(log)
