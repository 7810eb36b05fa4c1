#!/usr/bin/env python3
"""Kills `cutover apply` on the lab's four domains at random moments, each time followed by `cutover resume`.

Every time both hosts have to end as after one clean run: all files with their bytes, modes and owners, every message once.

    cargo build --release && python3 benches/kills.py [COUNT] [PROGRAM]
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
program = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "target/release/cutover").absolute()
base = pathlib.Path(tempfile.mkdtemp())
lab = base / "state/lab"
locks = base / "locks"
locks.mkdir()
(base / "password").write_text("pass word\n")
environment = {"PATH": os.environ["PATH"], "HOME": str(base), "CUTOVER_STATE_DIR": str(base / "state"), "CUTOVER_LOCK_DIR": str(locks)}
password = ["--vault-password-file", "password"]


def start(*words):
    output = open(base / "output", "wb")
    return subprocess.Popen([program, *words], cwd=base, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def run(*words, expect=(0,)):
    status = start(*words).wait()
    said = (base / "output").read_text(errors="replace")
    if status not in expect:
        sys.exit(f"{' '.join(map(str, words))}: status {status}\n{said}")
    return status, said


def tree():
    """Every path of both hosts with kind, mode, owner and content; messages by their folder and base name."""
    found = {}
    for host in ["old", "new"]:
        for path in sorted((lab / host).rglob("*")):
            about = path.lstat()
            name = str(path.relative_to(lab))
            # The daemon's own, and what a mailbox remembers of its move: sizes in the order of arrival.
            if "/active/" in name or path.name in ("maildirsize", "ledger") or name.endswith((".log", ".pid")):
                continue
            if "Maildir" in name and path.is_file():
                name = name.split(":")[0].replace("/new/", "/cur/")
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
            assert name not in found, f"{name} is there twice"
            found[name] = (oct(about.st_mode), about.st_uid, about.st_gid, content)
    return found


def back_to_the_start():
    for host in ["old", "new"]:
        # The directories themselves stay: the lab's servers are in them.
        for path in (lab / host).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        subprocess.run(["cp", "-a", f"{base}/{host}.start/.", f"{lab}/{host}"], check=True)
    shutil.rmtree(base / "state/runs", ignore_errors=True)


def nothing_is_left():
    end = time.time() + 30
    while any(locks.iterdir()):
        assert time.time() < end, f"left: {list(locks.iterdir())}"
        time.sleep(0.02)


run("lab", "up")
try:
    for host in ["old", "new"]:
        subprocess.run(["cp", "-a", lab / host, base / f"{host}.start"], check=True)
    run("plan", "-i", f"{lab}/inventory.yml", f"{lab}/playbooks/move-domain.yml", "-e", "domains=all", "-o", "move.plan", *password)
    began = time.time()
    run("apply", "move.plan", *password)
    usual = time.time() - began
    clean = tree()
    kills = met = doubts = 0
    while kills < count:
        back_to_the_start()
        apply = start("apply", "move.plan", *password)
        time.sleep(random.uniform(0, usual))
        apply.kill()
        apply.wait()
        kills += 1
        # A run that was killed before it had a journal has nothing to go on with.
        words = ["resume", "last"] if any((base / "state/runs").glob("*.jsonl")) else ["apply", "move.plan"]
        status, said = run(*words, *password, expect=(0, 1))
        if status == 1:
            assert "it is not known what became of these:" in said, said
            doubts += 1
            run(*words, "--doubtful", "run", *password)
        met += words[0] == "resume" and "nothing to go on with" not in said
        nothing_is_left()
        now = tree()
        differing = [name for name in clean.keys() | now.keys() if clean.get(name) != now.get(name)]
        assert not differing, f"kill {kills}: {sorted(differing)[:10]}"
        print(f"\r{kills} of {count}, {met} in the middle, {doubts} asked about a command", end="", flush=True)
    print(f"\n{kills} kills, each ended as the clean run did")
finally:
    run("lab", "down")
    shutil.rmtree(base, ignore_errors=True)
