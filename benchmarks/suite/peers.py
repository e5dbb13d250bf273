"""All peers, and what their series mean."""
from . import containers, processes, vms
from .results import Series

SERIES = [
    Series("peer", "Peers", "ms", "peer",
           "from nothing to the answer of the same line. Containers and plain processes run on the native CPU and the host's kernel; all but restore and fork import anew"),
    Series("peer-many", "Peers, a hundred", "ms", "peer", "a hundred of them, as many at once as there are cores (os.fork(): all at once)"),
    Series("peer-many-cpu", "Peers, a hundred", "ms", "peer", "busy CPU time of the whole machine meanwhile, for each of them"),
]


def measure(bench):
    bench.step("peer: plain processes", processes.plain)
    bench.step("peer: CRIU", processes.criu)
    containers.measure(bench)
    bench.step("peer: QEMU itself", vms.measure)
    bench.show("peer")
    bench.show("peer-many")
