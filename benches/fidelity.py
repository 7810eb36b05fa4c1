#!/usr/bin/env python3
"""What `ansible-playbook --check --diff` says of the playbooks of tests/corpus, against what a run then does.

    python3 benches/fidelity.py [--only NAME] [--jobs 2] [--show]

Needs root and Python; ansible-core is installed into a scratch environment from the package index. Each playbook is checked on a
fresh host and then run on one just like it, as tests/all/fidelity does with Cutover. A check is compared by what it says of each
task, host and item (ok, changed, skipped, failed) and by the texts before and after in its diffs, where it gives any. What its
check skips and its run does not it says nothing of; that is counted apart. Playbooks that need modules which ansible-core
has not (`# needs:` in their first lines) are left out. Cutover's figures for the same playbooks are those of docs/fidelity.md.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests/corpus"

# Writes each verdict as a line of JSON.
CALLBACK = '''
import json, os
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: verdicts as lines of JSON
description: verdicts as lines of JSON
"""

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"

    def note(self, result, verdict, item=False):
        if not item and result._task.loop:
            return
        said = result._result
        if verdict == "ok" and said.get("changed"):
            verdict = "changed"
        label = said.get("_ansible_item_label", said.get("item")) if item else None
        # `get_name()` has the role in front, as Cutover prints it.
        line = {"task": result._task.get_name(), "host": result._host.get_name(), "item": label, "verdict": verdict,
                "diff": said.get("diff"), "msg": str(said.get("msg", ""))[:200]}
        with open(os.environ["RECORD"], "a") as file:
            file.write(json.dumps(line, default=str) + "\\n")

    def v2_runner_on_ok(self, result):
        self.note(result, "ok")

    def v2_runner_on_skipped(self, result):
        self.note(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.note(result, "failed")

    def v2_runner_on_unreachable(self, result):
        self.note(result, "failed")

    def v2_runner_item_on_ok(self, result):
        self.note(result, "ok", True)

    def v2_runner_item_on_skipped(self, result):
        self.note(result, "skipped", True)

    def v2_runner_item_on_failed(self, result):
        self.note(result, "failed", True)
'''


def install(venv):
    """Returns the version of ansible-core."""
    if not (venv / "bin/ansible-playbook").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "ansible-core"], check=True)
    said = subprocess.run([venv / "bin/ansible-playbook", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"core ([\d.]+)", said).group(1)


def said_of(playbook, key):
    found = re.search(rf"^# {key}: (.*)$", playbook.read_text(), re.MULTILINE)
    return found.group(1) if found else ""


def play(venv, playbook, directory, flags):
    """Plays on fresh hosts; returns the exit code and the verdicts by task, host and item."""
    for name in ("one", "two"):
        subprocess.run(["sh", CORPUS / "host.sh", directory / name], check=True)
    record = directory / "record"
    record.unlink(missing_ok=True)
    environment = {
        "PATH": f"{venv}/bin:{os.environ['PATH']}",
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "RECORD": str(record),
        "ANSIBLE_CALLBACK_PLUGINS": str(directory / "callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "record",
        "ANSIBLE_ROLES_PATH": str(CORPUS / "roles"),
        "ANSIBLE_REMOTE_TEMP": str(directory / "remote"),
    }
    words = ["ansible-playbook", "-i", directory / "hosts", playbook, "--diff", *said_of(playbook, "flags").split(), *flags]
    done = subprocess.run(words, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    verdicts = collections.defaultdict(list)
    for line in record.read_text().splitlines() if record.exists() else []:
        said = json.loads(line)
        key = (said["task"], said["host"], json.dumps(said["item"]))
        verdicts[key].append((said["verdict"], texts(said["diff"]), said["msg"]))
    return done.returncode, verdicts


def texts(diff):
    """What a diff says that is not the name of a temporary file."""
    diffs = diff if isinstance(diff, list) else [diff]
    kept = [{key: each[key] for key in ("before", "after", "prepared") if key in each} for each in diffs if each]
    return [each for each in kept if any(each.values())]


def measure(venv, playbook):
    """Returns the counts of one playbook, and what is wrong."""
    with tempfile.TemporaryDirectory(prefix="cutover-fidelity-") as scratch:
        directory = pathlib.Path(scratch)
        # An unprivileged user goes through it.
        directory.chmod(0o755)
        (directory / "callbacks").mkdir()
        (directory / "callbacks/record.py").write_text(CALLBACK)
        lines = [f"{name} ansible_connection=local root={directory}/{name}\n" for name in ("one", "two")]
        python = "[all:vars]\nansible_python_interpreter=/usr/bin/python3\n"
        (directory / "hosts").write_text("".join(lines) + python)
        check_code, check = play(venv, playbook, directory, ["--check"])
        code, run = play(venv, playbook, directory, [])
    counts, wrong = collections.Counter(), []
    for key, made in run.items():
        for index, (verdict, diff, _) in enumerate(made):
            counts["verdicts"] += 1
            predicted = check[key][index] if index < len(check.get(key, [])) else ("nothing", None, "")
            if predicted[0] == verdict and predicted[1] == diff:
                counts["right"] += 1
            elif predicted[0] == "skipped":
                counts["skipped"] += 1
            else:
                counts["wrong"] += 1
                what = "another diff" if predicted[0] == verdict else f"{predicted[0]} in the check, {verdict} in the run"
                wrong.append(f"`{key[0]}` on {key[1]} {key[2]}: {what} {predicted[2]}")
    for key, predicted in check.items():
        more = len(predicted) - len(run.get(key, []))
        if more > 0:
            counts["verdicts"] += more
            counts["wrong"] += more
            wrong.append(f"`{key[0]}` on {key[1]} {key[2]}: {predicted[-1][0]} in the check, nothing in the run {predicted[-1][2]}")
    return {"check": check_code, "run": code, "counts": counts, "wrong": wrong}


def cutover(names):
    """Returns the sums of docs/fidelity.md over the named playbooks: verdicts, and of those the unknown ones."""
    rows = re.findall(r"^\| (\S+) \| (\d+) \| (\d+) \| (\d+) \|$", (ROOT / "docs/fidelity.md").read_text(), re.MULTILINE)
    rows = [row for row in rows if row[0] in names]
    if len(rows) != len(names):
        raise SystemExit("docs/fidelity.md has not all of the playbooks: run its test first")
    return sum(int(row[1]) for row in rows), sum(int(row[3]) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="playbooks whose name has this text")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--show", action="store_true", help="what is wrong, by playbook")
    parser.add_argument("--venv", default="/var/tmp/cutover-peers", help="where ansible-core is installed")
    options = parser.parse_args()
    venv = pathlib.Path(options.venv)
    version = install(venv)
    playbooks = sorted([*CORPUS.glob("*.yml"), *CORPUS.glob("chains/*.yml")])
    playbooks = [playbook for playbook in playbooks if options.only in playbook.name]
    able = [playbook for playbook in playbooks if not said_of(playbook, "needs")]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        done = dict(zip(able, pool.map(lambda playbook: measure(venv, playbook), able)))
    total, kinds = collections.Counter(), collections.Counter()
    for playbook, each in done.items():
        total.update(each["counts"])
        if each["run"] != 0:
            kind = "run failed"
        elif each["check"] != 0:
            kind = "check failed"
        elif each["wrong"]:
            kind = "wrong"
        else:
            kind = "with skipped tasks" if each["counts"]["skipped"] else "right"
        kinds[kind] += 1
        if options.show:
            print(f"{playbook.name}: {kind} {dict(each['counts'])}")
            for why in each["wrong"]:
                print(f"    {why}")
    verdicts, unknown = cutover([playbook.name for playbook in able])
    print(f"ansible-core {version}; {len(able)} of {len(playbooks)} playbooks, the others need modules that it has not\n")
    print("| | verdicts | right | not said | wrong | playbooks | with a wrong verdict | whose check fails |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    print(f"| Cutover | {verdicts} | {verdicts - unknown} | {unknown} | 0 | {len(able)} | 0 | 0 |")
    counts = f"{total['verdicts']} | {total['right']} | {total['skipped']} | {total['wrong']}"
    print(f"| `ansible-playbook --check` | {counts} | {len(able)} | {kinds['wrong']} | {kinds['check failed']} |")
    if kinds["run failed"]:
        print(f"\n{kinds['run failed']} playbooks fail in a run: see --show")


main()
