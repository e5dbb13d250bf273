"""Every method of the published forkd Controller against a live daemon. Any wrong answer raises."""
import os
import sys
import time

from forkd import Controller, ControllerError

c = Controller()


def check(truth, what):
    if not truth:
        raise SystemExit(f"WRONG: {what}")


def fails(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ControllerError as e:
        check(e.status == status, f"{call.__name__}{args}: HTTP {e.status}, expected {status}: {e.body}")
        check(isinstance(e.body, dict) and e.body.get("error"), f"error body {e.body!r}")
        return
    raise SystemExit(f"WRONG: {call.__name__}{args} should fail with {status}")


used = set()


def use(name, *args, **kwargs):
    used.add(name)
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
print("methods used:", sorted(used))
print("methods not used:", sorted(every - used))
print("OK")
