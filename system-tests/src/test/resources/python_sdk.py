"""Every method of the published forkd Controller against a live daemon. Any wrong answer raises.

With the argument `wire` it is the stand-in of wire_client.py that is driven.
"""
import sys
import urllib.request
from unittest import mock

import wire_client

if sys.argv[1:] == ["wire"]:
    from wire_client import Controller, ControllerError
else:
    from forkd import Controller, ControllerError

c = Controller()


def check(truth, what):
    if not truth:
        raise SystemExit(f"WRONG: {what}")


def fails(status, call, *args, **kwargs):
    try:
        calls.append((call.__name__, args, kwargs))
        call(*args, **kwargs)
    except ControllerError as e:
        check(e.status == status, f"{call.__name__}{args}: HTTP {e.status}, expected {status}: {e.body}")
        check(isinstance(e.body, dict) and e.body.get("error"), f"error body {e.body!r}")
        return
    raise SystemExit(f"WRONG: {call.__name__}{args} should fail with {status}")


calls = []


def use(name, *args, **kwargs):
    calls.append((name, args, kwargs))
    return getattr(c, name)(*args, **kwargs)


check("python" in [s["tag"] for s in use("list_snapshots")], "template is listed")
children = use("spawn_sandboxes", "python", n=3)
check(len({x["id"] for x in children}) == 3, "three children")
one = children[0]["id"]
check(use("get_sandbox", one)["id"] == one, "get")
check({x["id"] for x in use("list_sandboxes")} == {x["id"] for x in children}, "list")
check(isinstance(use("ping_sandbox", one), dict), "ping")
check(use("eval_code", one, "numpy.zeros(5).tolist()")["result"] == "[0.0, 0.0, 0.0, 0.0, 0.0]", "eval")
check(use("eval_code", one, "1/0")["error"] is not None, "eval error")
r = use("exec_command", one, ["sh", "-c", "echo out; echo err >&2; exit 3"])
check((r["stdout"], r["stderr"], r["exit_code"]) == ("out\n", "err\n", 3), f"exec {r}")
r = use("exec_command", one, ["sleep", "30"], timeout_secs=1)
check(r["exit_code"] != 0, f"a guest time-out is an answer: {r}")
info = use("branch_sandbox", one, tag="py-b", diff=True)
check(info["branched_from"] == one and 0 < info["diff_physical_bytes"] <= info["diff_logical_bytes"], f"branch {info}")
named = use("branch_sandbox", one)
check(named["tag"] and named["tag"] != "py-b", f"a tag is made up: {named}")
check("diff_ms" in use("branch_sandbox", one, tag="py-m", measure_diff=True), "measure_diff")
check(len(use("spawn_sandboxes", "py-b", n=2, prewarm=True, memory_limit_mib=256)) == 2, "fork of a branch")
fails(404, c.spawn_sandboxes, "no-such-tag")
fails(400, c.spawn_sandboxes, "python", n=0)
fails(400, c.spawn_sandboxes, "python", n=1001)
fails(400, c.spawn_sandboxes, "../../etc", n=1)
fails(404, c.get_sandbox, "sbnope")
fails(404, c.kill_sandbox, "sbnope")
fails(404, c.ping_sandbox, "sbnope")
fails(404, c.delete_snapshot, "no-such-tag")
fails(400, c.exec_command, one, [])
fails(409, c.branch_sandbox, one, tag="py-b", diff=True)
fails(400, c.branch_sandbox, one, tag="py-x", diff=True, measure_diff=True)
for x in use("list_sandboxes"):
    use("kill_sandbox", x["id"])
check(c.list_sandboxes() == [], "all killed")
for tag in ("py-b", "py-m", named["tag"]):
    use("delete_snapshot", tag)
every = {name for name in dir(Controller) if not name.startswith("_") and callable(getattr(Controller, name))}
used = {name for name, _, _ in calls}
check(every == used, f"methods that were not driven: {sorted(every - used)}")


def requests(controller):
    """What it sends for all calls made above."""
    sent = []

    def note(request, **_):
        headers = {name.lower(): value for name, value in request.header_items()}
        sent.append((request.get_method(), request.full_url, headers, request.data))
        return mock.MagicMock(__enter__=lambda _: mock.Mock(read=lambda: b"null"))

    with mock.patch.object(urllib.request, "urlopen", note):
        for name, args, kwargs in calls:
            getattr(controller, name)(*args, **kwargs)
    return sent


for published, ours in zip(requests(c), requests(wire_client.Controller()), strict=True):
    check(published == ours, f"the stand-in sends {ours}, not {published}")
print(f"{Controller.__module__}: {len(calls)} calls of {len(used)} methods")
print("OK")
