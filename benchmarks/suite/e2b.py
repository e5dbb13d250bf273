"""What E2B's published JavaScript SDK sees of this daemon, unmodified."""
import hashlib
import json
import os
import shutil
import subprocess

from .results import Series

SERIES = [
    Series("e2b-create", "E2B's SDK", "ms", "template and way", "Sandbox.create with the unmodified npm package, kept-alive connection"),
    Series("e2b-first", "E2B's SDK", "ms", "request", "the first command or code in a sandbox that was just made"),
    Series("e2b-request", "E2B's SDK", "ms", "request", "one request to a sandbox that has worked before"),
    Series("e2b-first-byte", "E2B's SDK", "ms", "what", "from the moment at which the guest's program writes until the SDK's callback has it"),
    Series("e2b-streams", "E2B's SDK", "ms", "what", "a hundred command streams open at once to one sandbox, all outputs right"),
    Series("e2b-files", "E2B's SDK", "MiB/s", "what", "one file through files.write and files.read, streamed"),
    Series("e2b-heap", "E2B's SDK", "MiB", "what", "how much more the daemon's heap holds after a collection during that than before"),
]


def api_key(token):
    return "e2b_" + hashlib.sha256(f"e2b api key of {token}".encode()).hexdigest()[:40]


def measure(bench, forkd):
    if not shutil.which("npm"):
        bench.results.note("E2B's SDK: left out, there is no npm on this machine")
        return
    for template in ("base", "code-interpreter-v1"):
        if bench.client.template_known(template):
            bench.templates.add(template)
    folder = bench.work / "e2b"
    shutil.copytree(os.path.join(os.path.dirname(__file__), "..", "e2b"), folder, dirs_exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    url = f"http://127.0.0.1:{bench.client.port}"
    home = subprocess.run([forkd, "--jdk"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {**os.environ, "E2B_API_URL": url, "E2B_SANDBOX_URL": url, "E2B_API_KEY": api_key(bench.client.token), "JAVA_HOME": home}
    command = ["node", "measure.mjs", "3" if bench.quick else "15", "256" if bench.quick else "1024", url, bench.client.token, str(bench.daemon.pid)]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            told = json.loads(line)
            if "failed" in told:
                bench.results.fail(told["series"], told["x"], told["failed"])
            else:
                bench.results.add(told["series"], told["x"], told["value"])
    if process.returncode:
        bench.results.note(f"E2B's SDK: its program ended with {process.returncode}")
    for series in SERIES:
        bench.show(series.name)
