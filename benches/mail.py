#!/usr/bin/env python3
"""Stored mail, against `tar | ssh | tar` and rsync: a first copy, and another with nothing to do.

    cargo build --release && python3 benches/mail.py [--messages 100000] [--rounds 3] [--program PROGRAM]

Old and new are two sshds on loopback; tar and rsync run on the old host and have one ssh between, Cutover runs on a third and
has two. In each round every program copies into an empty directory, in turn. As root, with rsync and openssh-server.

With `--link 100mbit` each of the three hosts has a network of its own and a link of that rate in each direction, as hosts have; the
processors are still shared.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--messages", type=int, default=100_000)
options.add_argument("--mailboxes", type=int, default=40)
options.add_argument("--rounds", type=int, default=3)
options.add_argument("--program", default="target/release/cutover")
options.add_argument("--base", default="/var/tmp", help="a directory on the file system to measure on")
options.add_argument("--link", metavar="RATE", help="the rate of each host's link, as tc writes it")
options = options.parse_args()
program = pathlib.Path(options.program).absolute()
base = pathlib.Path(tempfile.mkdtemp(dir=options.base))


def fill(root):
    """Messages of 1 to 30 KB, most of them short, in `new`, `cur` and a folder."""
    rng = random.Random(1)
    text = "".join(f"Line {line}: {rng.getrandbits(200):050x}\n" for line in range(600)).encode()
    now = int(time.time()) - 86400
    for number in range(options.messages):
        box = root / "example.com" / f"user{number % options.mailboxes}" / "Maildir"
        part, flags = [("new", ""), ("cur", ":2,S"), (".Sent/cur", ":2,S"), ("cur", ":2,RS")][number // options.mailboxes % 4]
        if number < options.mailboxes:
            for name in ("", "new", "cur", "tmp", ".Sent", ".Sent/new", ".Sent/cur", ".Sent/tmp"):
                (box / name).mkdir(parents=True, exist_ok=True)
        size = min(30_000, int(rng.expovariate(1 / 3500)) + 900)
        body = f"Message-ID: <{number}@example.com>\n\n".encode() + text[:size]
        path = box / part / f"{now - number}.M{number}P1V0I1.old,S={len(body)}{flags}"
        path.write_bytes(body)
        os.utime(path, (now - number, now - number))


addresses = dict.fromkeys(("controller", "old", "new"), "127.0.0.1")


def inside(name):
    """What runs a command in the network of a host."""
    return ["ip", "netns", "exec", f"{base.name}-{name}"] if options.link else []


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def connect():
    """Gives each host a network, which a bridge connects with the others'."""
    hub = f"{base.name}-hub"
    ip("netns", "add", hub)
    ip("-n", hub, "link", "add", "bridge", "up", "type", "bridge")
    for number, name in enumerate(addresses, 1):
        own = f"{base.name}-{name}"
        addresses[name] = f"10.99.0.{number}"
        ip("netns", "add", own)
        ip("-n", own, "link", "set", "lo", "up")
        ip("-n", own, "link", "add", "name", "wire", "type", "veth", "peer", "name", name, "netns", hub)
        ip("-n", own, "address", "add", f"{addresses[name]}/24", "dev", "wire")
        ip("-n", own, "link", "set", "wire", "up")
        ip("-n", hub, "link", "set", name, "up", "master", "bridge")
        for space, device in ((own, "wire"), (hub, name)):
            shape = f"tc -n {space} qdisc add dev {device} root tbf rate {options.link} burst 256kb latency 300ms"
            subprocess.run(shape.split(), check=True)


def serve(name):
    directory = base / name
    directory.mkdir()
    for key in ("host_key", "id"):
        if not (base / key).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / key], check=True)
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    (base / f"{name}.conf").write_text(
        f"ListenAddress {addresses[name]}\nPort {port}\nHostKey {base}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin yes\nMaxSessions 100\nAuthorizedKeysFile {base}/id.pub\n"
        # A start-up file of a shell would be read for every session.
        f"SetEnv HOME={base}\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    log = open(base / f"{name}.log", "wb")
    return port, subprocess.Popen([*inside(name), "/usr/sbin/sshd", "-D", "-e", "-f", base / f"{name}.conf"], stdout=log, stderr=log)


def measured(command):
    """Seconds of wall clock, MiB of the largest process."""
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=base, env=environment, stdin=subprocess.DEVNULL, stdout=open(base / "output", "wb"), stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: {(base / 'output').read_text(errors='replace')[-3000:]}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def tree(root):
    return sum(len(files) for _, _, files in os.walk(root))


servers = []
try:
    if options.link:
        connect()
    (old_port, _), (new_port, _) = servers = [serve("old"), serve("new")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(base), "CUTOVER_STATE_DIR": str(base / "state"), "CUTOVER_LOCK_DIR": str(base)}
    fill(base / "old")
    ssh = f"ssh -q -p {new_port} -i {base}/id -o StrictHostKeyChecking=no -o UserKnownHostsFile={base}/known"
    time.sleep(1)
    scan = f"ssh-keyscan -p {old_port} {addresses['old']} >known; ssh-keyscan -p {new_port} {addresses['new']} >>known"
    subprocess.run([*inside("controller"), "sh", "-c", scan], stderr=subprocess.DEVNULL, cwd=base, check=True)
    (base / "hosts").write_text(
        "".join(
            f"{name} ansible_host={addresses[name]} ansible_port={port} ansible_user=root ansible_ssh_private_key_file={base}/id "
            f"ansible_ssh_known_hosts_file={base}/known\n"
            for name, port in (("old", old_port), ("new", new_port))
        )
    )
    boxes = [f"example.com/user{number}/Maildir" for number in range(options.mailboxes)]
    mailboxes = [{"source": f"{base}/old/{box}", "dest": f"{base}/new/{box}"} for box in boxes]
    task = {"maildir_move": {"from": "old", "mailboxes": mailboxes, "owner": "root", "group": "root"}}
    (base / "play.yml").write_text(json.dumps([{"hosts": "new", "gather_facts": False, "tasks": [task]}]))
    programs = {
        "Cutover": [*inside("controller"), str(program), "play", "-i", "hosts", "play.yml"],
        "tar": [*inside("old"), "sh", "-c", f"tar -C {base}/old -cf - . | {ssh} root@{addresses['new']} tar -C {base}/new -xpf -"],
        "rsync": [*inside("old"), "rsync", "-a", "-e", ssh, f"{base}/old/", f"root@{addresses['new']}:{base}/new/"],
    }
    rows = {}
    for round_number in range(options.rounds):
        order = list(programs)
        order = order[round_number % 3 :] + order[: round_number % 3]
        for name in order:
            shutil.rmtree(base / "new")
            (base / "new").mkdir()
            for box in boxes:
                (base / "new" / box).mkdir(parents=True)
            # What another program has written does not wait for its disk in this one's time.
            os.sync()
            first = measured(programs[name])
            copied = sum(1 for _ in (base / "new").rglob("*,S=*"))
            assert copied == options.messages, (name, copied)
            again = measured(programs[name]) if name != "tar" else (float("nan"), 0)
            rows.setdefault(name, []).append((*first, *again))
            print(f"round {round_number + 1}: {name}: first {first[0]:.1f} s, again {again[0]:.2f} s, {first[1]:.0f} MiB", flush=True)
            if name == "Cutover":
                # What was handed over is put back.
                for box in boxes:
                    for part in (base / "old" / box / "x-out").glob("**/*,S=*"):
                        part.rename(base / "old" / box / part.relative_to(base / "old" / box / "x-out"))
                    shutil.rmtree(base / "old" / box / "x-out")
    ours = rows["Cutover"]
    for name, theirs in rows.items():
        first = statistics.median(our[0] / their[0] for our, their in zip(ours, theirs))
        again = statistics.median(their[2] / our[2] for our, their in zip(ours, theirs))
        print(f"{options.messages} messages: Cutover's first copy takes {first:.2f} times that of {name}; with nothing to do {name} takes {again:.2f} times Cutover's")
    print(f"peak memory of Cutover: {max(our[1] for our in ours):.0f} MiB first, {max(our[3] for our in ours):.0f} MiB again")
finally:
    for _, server in servers:
        server.terminate()
        server.wait()
    if options.link:
        for name in ("hub", *addresses):
            subprocess.run(["ip", "netns", "del", f"{base.name}-{name}"])
    shutil.rmtree(base, ignore_errors=True)
