"""Stands in for the Controller of forkd 0.3.2 where PyPI does not answer: it sends the same requests.

Written after the REST reference, with the standard library. python_sdk.py compares the two whenever the published one is there.
"""
import json
import os
import urllib.error
import urllib.request


class ControllerError(RuntimeError):
    def __init__(self, status, body, url):
        super().__init__(f"{url}: HTTP {status}: {body}")
        self.status, self.body = status, body


class Controller:
    def __init__(self):
        self._url = os.environ["FORKD_URL"].rstrip("/")
        self._token = os.environ["FORKD_TOKEN"]

    def list_snapshots(self):
        return self._send("GET", "snapshots")

    def delete_snapshot(self, tag):
        self._send("DELETE", f"snapshots/{tag}")

    def spawn_sandboxes(self, snapshot_tag, n=1, per_child_netns=False, memory_limit_mib=None, prewarm=False):
        wish = {"snapshot_tag": snapshot_tag, "n": n, "per_child_netns": per_child_netns}
        if memory_limit_mib is not None:
            wish["memory_limit_mib"] = memory_limit_mib
        if prewarm:
            wish["prewarm"] = True
        return self._send("POST", "sandboxes", wish)

    def list_sandboxes(self):
        return self._send("GET", "sandboxes")

    def get_sandbox(self, sandbox_id):
        return self._send("GET", f"sandboxes/{sandbox_id}")

    def kill_sandbox(self, sandbox_id):
        self._send("DELETE", f"sandboxes/{sandbox_id}")

    def ping_sandbox(self, sandbox_id):
        return self._send("POST", f"sandboxes/{sandbox_id}/ping")

    def eval_code(self, sandbox_id, code):
        return self._send("POST", f"sandboxes/{sandbox_id}/eval", {"code": code})

    def exec_command(self, sandbox_id, args, timeout_secs=30):
        return self._send("POST", f"sandboxes/{sandbox_id}/exec", {"args": args, "timeout_secs": timeout_secs})

    def branch_sandbox(self, sandbox_id, tag=None, diff=False, measure_diff=False):
        wish = {"tag": tag, "diff": diff, "measure_diff": measure_diff}
        return self._send("POST", f"sandboxes/{sandbox_id}/branch", {k: v for k, v in wish.items() if v not in (None, False)})

    def _send(self, method, path, body=None):
        request = urllib.request.Request(f"{self._url}/v1/{path}", method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            raise ControllerError(e.code, parsed(e.read()), request.full_url) from None
        return json.loads(text) if text else None


def parsed(text):
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return text.decode(errors="replace")
