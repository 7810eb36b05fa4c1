#!/usr/bin/env python3
"""Runs the same 20 tasks with Cutover, ansible-core (pipelining), mitogen and pyinfra, against real sshds on loopback.

    python3 benches/peers.py [--hosts 1,10,50] [--rounds 3] [--latency MS]
    python3 benches/peers.py --against-ssh 50 --latency 100

Needs root, sshd and `cargo build --release`. The peers are installed into a scratch environment from the package index.
Every round runs all programs one after the other in turn, first on empty hosts and then again on what they made, so
that a busy machine is busy for all of them; ratios are of one round, and the table has their median. Memory is the
largest process's peak (ansible-core and mitogen use several processes, pyinfra and Cutover one).

With --against-ssh N, a converged play of N idempotent tasks is compared with `ssh host sh < script` alone.
"""

import argparse
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

TASKS = """
    - file: {path: "{{ base }}/a", state: directory, mode: "0755"}
    - file: {path: "{{ base }}/b", state: directory, mode: "0750"}
    - copy: {src: "one.txt", dest: "{{ base }}/a/one", mode: "0644"}
    - copy: {src: "two.txt", dest: "{{ base }}/a/two", mode: "0600"}
    - copy: {src: "three.txt", dest: "{{ base }}/b/three", mode: "0644"}
    - template: {src: "t1.j2", dest: "{{ base }}/b/t1", mode: "0644"}
    - template: {src: "t2.j2", dest: "{{ base }}/b/t2", mode: "0640"}
    - lineinfile: {path: "{{ base }}/lines", line: "first line", create: yes, mode: "0644"}
    - lineinfile: {path: "{{ base }}/lines", line: "second line", mode: "0644"}
    - blockinfile: {path: "{{ base }}/lines", block: "some\\ntext", mode: "0644"}
    - stat: {path: "{{ base }}/a/one"}
    - file: {src: "{{ base }}/a/one", dest: "{{ base }}/link", state: link}
    - command: "true"
      changed_when: false
    - command: "touch {{ base }}/made"
      args: {creates: "{{ base }}/made"}
    - shell: "echo x > {{ base }}/shell"
      args: {creates: "{{ base }}/shell"}
    - file: {path: "{{ base }}/gone", state: absent}
    - replace: {path: "{{ base }}/lines", regexp: "secnd", replace: "second"}
    - copy: {content: "inline\\n", dest: "{{ base }}/inline", mode: "0644"}
    - stat: {path: "{{ base }}/b/t1"}
    - command: "cat {{ base }}/b/t1"
      changed_when: false
"""

PLAYBOOK = "- hosts: all\n  gather_facts: no\n  tasks:" + TASKS

# The nearest that pyinfra has.
DEPLOY = """
from pyinfra import host
from pyinfra.operations import files, server
base = host.data.base
files.directory(path=base + "/a", mode="755")
files.directory(path=base + "/b", mode="750")
files.put(src="one.txt", dest=base + "/a/one", mode="644")
files.put(src="two.txt", dest=base + "/a/two", mode="600")
files.put(src="three.txt", dest=base + "/b/three", mode="644")
files.template(src="t1.j2", dest=base + "/b/t1", mode="644", name_of_host=host.name)
files.template(src="t2.j2", dest=base + "/b/t2", mode="640", name_of_host=host.name)
files.file(path=base + "/lines", mode="644")
files.line(path=base + "/lines", line="first line")
files.line(path=base + "/lines", line="second line")
files.block(path=base + "/lines", content="some\\ntext")
host.get_fact(__import__("pyinfra.facts.files", fromlist=["File"]).File, path=base + "/a/one")
files.link(path=base + "/link", target=base + "/a/one")
server.shell(commands=["true"])
files.file(path=base + "/made")
server.shell(commands=["test -e " + base + "/shell || echo x > " + base + "/shell"])
files.file(path=base + "/gone", present=False)
files.replace(path=base + "/lines", text="secnd", replace="second")
files.put(src="inline.txt", dest=base + "/inline", mode="644")
server.shell(commands=["cat " + base + "/b/t1"])
"""


class Latency:
    """Forwards a port with a delay in each direction."""

    def __init__(self, port, seconds):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.target, self.seconds = port, seconds
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for pair in ((client, server), (server, client)):
                pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, source, sink):
        import queue

        waiting = queue.Queue()

        def deliver():
            while True:
                due, data = waiting.get()
                time.sleep(max(0, due - time.monotonic()))
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            waiting.put((time.monotonic() + self.seconds, data))
            if not data:
                return


# Nobody's start-up files: they would be read anew for every session that a program opens.
USER = "cutover-bench"


class Account:
    """A second name of root, with `sh` as its shell and an empty home."""

    def __init__(self, home):
        os.makedirs(home)
        words = ["useradd", "-o", "-u", "0", "-g", "0", "-M", "-d", home, "-s", "/bin/sh", "-p", "*", USER]
        subprocess.run(words, check=True)

    def end(self):
        subprocess.run(["userdel", "-f", USER], check=False, capture_output=True)


def sshd(directory):
    """Starts an sshd of its own; returns its process and port."""
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    shutil.copy(directory / "id.pub", directory / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin yes\nAuthorizedKeysFile {directory}/authorized_keys\nMaxStartups 500\nMaxSessions 20\n"
        "Subsystem sftp internal-sftp\n"
    )
    os.makedirs("/run/sshd", exist_ok=True)
    process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", directory / "sshd_config", "-E", directory / "log"])
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"sshd does not start: {(directory / 'log').read_text()}")


def measure(words, directory, environment):
    """Returns seconds of wall clock and of CPU, and the peak memory in MiB."""
    start = time.monotonic()
    with open(directory / "output", "wb") as output:
        child = subprocess.Popen(words, cwd=directory, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        raise SystemExit(f"{words[0]} ended with {status}:\n{(directory / 'output').read_text()[-3000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def prepare(directory, hosts, port):
    """Writes what all programs read."""
    for name in ("one", "two", "three", "inline"):
        (directory / f"{name}.txt").write_text(f"{name}\n" * 20)
    for name in ("t1", "t2"):
        (directory / f"{name}.j2").write_text("host {{ inventory_hostname | default(name_of_host) }}\n" * 5)
    (directory / "play.yml").write_text(PLAYBOOK)
    (directory / "deploy.py").write_text(DEPLOY)
    key = directory / "id"
    host_key = (directory / "host.pub").read_text()
    known = directory / "known_hosts"
    # 127.0.0.0/8 is all this machine, so each host can have an address of its own behind one listener.
    known.write_text(f"[127.0.0.1]:{port} {host_key}")
    lines = [f"h{number} base={directory}/hosts/h{number}" for number in range(1, hosts + 1)]
    (directory / "hosts.ini").write_text(
        "\n".join(lines)
        + f"\n[all:vars]\nansible_host=127.0.0.1\nansible_port={port}\nansible_user={USER}\n"
        f"ansible_ssh_private_key_file={key}\nansible_ssh_known_hosts_file={known}\n"
        f"ansible_python_interpreter=/usr/bin/python3\n"
    )
    entries = ", ".join(
        f'("h{n}", {{"ssh_hostname": "127.0.0.1", "ssh_port": {port}, "ssh_user": "{USER}", "ssh_key": "{key}", '
        f'"ssh_known_hosts_file": "{known}", "ssh_strict_host_key_checking": "yes", "base": "{directory}/hosts/h{n}"}})'
        for n in range(1, hosts + 1)
    )
    (directory / "inventory.py").write_text(f"hosts = [{entries}]\n")
    return known


def programs(directory, venv, known, hosts):
    environment = {"PATH": f"{venv}/bin:{os.environ['PATH']}", "HOME": str(directory), "LC_ALL": "C.UTF-8"}
    ansible = {
        **environment,
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_FORKS": str(hosts),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_SSH_ARGS": f"-C -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={known}",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
    }
    play = [f"{venv}/bin/ansible-playbook", "-i", "hosts.ini", "play.yml"]
    found = subprocess.run(
        [f"{venv}/bin/python", "-c", "import ansible_mitogen, os; print(os.path.dirname(ansible_mitogen.__file__))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    mitogen = {
        **ansible,
        "ANSIBLE_STRATEGY_PLUGINS": f"{found}/plugins/strategy",
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_SSH_ARGS": f"-o UserKnownHostsFile={known}",
    }
    cutover = {**environment, "CUTOVER_STATE_DIR": str(directory / "state")}
    binary = ROOT / "target/release/cutover"
    return {
        "Cutover": ([binary, "play", "-i", "hosts.ini", "play.yml", "--no-diff"], cutover),
        "ansible-core": (play, ansible),
        "mitogen": (play, mitogen),
        "pyinfra": ([f"{venv}/bin/pyinfra", "-y", "inventory.py", "deploy.py"], environment),
    }


def against_ssh(count, rounds, latency):
    """Prints how long a converged play of `count` idempotent tasks takes, in times of one `ssh host sh < script`."""
    with tempfile.TemporaryDirectory(prefix="cutover-bench-") as scratch:
        directory = pathlib.Path(scratch)
        account = Account(directory / "home")
        process, port = sshd(directory)
        try:
            shown = Latency(port, latency / 2000).port
            known = prepare(directory, 1, shown)
            kinds = [
                'file: {{path: "{{{{ base }}}}/dir{0}", state: directory, mode: "0750"}}',
                'copy: {{content: "text {0}\\n", dest: "{{{{ base }}}}/file{0}", mode: "0644"}}',
                'lineinfile: {{path: "{{{{ base }}}}/lines{0}", line: more, create: yes, mode: "0644"}}',
                'template: {{src: t1.j2, dest: "{{{{ base }}}}/t{0}", mode: "0600"}}',
                'stat: {{path: "{{{{ base }}}}/dir0"}}',
            ]
            tasks = "".join(f"    - {kinds[number % 5].format(number)}\n" for number in range(count))
            (directory / "play.yml").write_text(f"- hosts: all\n  gather_facts: no\n  tasks:\n{tasks}")
            os.makedirs(directory / "hosts/h1")
            environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "CUTOVER_STATE_DIR": str(directory / "state")}
            play = [ROOT / "target/release/cutover", "play", "-i", "hosts.ini", "play.yml"]
            login = f"ssh -F none -i id -o IdentitiesOnly=yes -o UserKnownHostsFile={known} -p {shown} {USER}@127.0.0.1 sh"
            plain = ["sh", "-c", f"echo true | {login}"]
            measure(play, directory, environment)
            ratios = [
                measure(play, directory, environment)[0] / measure(plain, directory, environment)[0] for _ in range(rounds)
            ]
            ratio = statistics.median(ratios)
            print(f"{count} converged tasks at {latency:g} ms: {ratio:.2f} times `ssh host sh < script` ({rounds} rounds)")
        finally:
            account.end()
            process.terminate()
            process.wait()


def install(venv):
    if not (venv / "bin/pyinfra").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "ansible-core", "mitogen", "pyinfra"], check=True)
    listed = subprocess.run([venv / "bin/pip", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: line.split()[1] for line in listed.splitlines() if line.count(" ")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="1,10,50", help="how many, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds that are added to a round trip")
    parser.add_argument("--venv", default="/var/tmp/cutover-peers", help="where the peers are installed")
    parser.add_argument("--against-ssh", type=int, metavar="N", help="a converged play of N tasks, against ssh alone")
    options = parser.parse_args()
    if not (ROOT / "target/release/cutover").exists():
        raise SystemExit("build it first: cargo build --release")
    if options.against_ssh:
        return against_ssh(options.against_ssh, options.rounds, options.latency)
    venv = pathlib.Path(options.venv)
    versions = install(venv)
    print(f"ansible-core {versions['ansible-core']}, mitogen {versions['mitogen']}, pyinfra {versions['pyinfra']};", end=" ")
    print(f"{options.rounds} rounds, {options.latency:g} ms added to a round trip, {os.cpu_count()} cores")
    print("\n| hosts | run | program | wall, ratio to Cutover | CPU, ratio | peak memory, MiB |\n|---|---|---|---|---|---|")
    for hosts in map(int, options.hosts.split(",")):
        with tempfile.TemporaryDirectory(prefix="cutover-bench-") as scratch:
            directory = pathlib.Path(scratch)
            account = Account(directory / "home")
            process, port = sshd(directory)
            try:
                shown = Latency(port, options.latency / 2000).port if options.latency else port
                known = prepare(directory, hosts, shown)
                rows = {}
                for _ in range(options.rounds):
                    for name, (words, environment) in programs(directory, venv, known, hosts).items():
                        shutil.rmtree(directory / "hosts", ignore_errors=True)
                        for number in range(1, hosts + 1):
                            os.makedirs(directory / f"hosts/h{number}")
                        for run in ("first", "converged"):
                            rows.setdefault((run, name), []).append(measure(words, directory, environment))
                        # Connections that a program keeps must not serve its next round.
                        subprocess.run("rm -rf .ansible/cp", shell=True, cwd=directory, check=True)
                for run in ("first", "converged"):
                    own = rows[run, "Cutover"]
                    for name in ("Cutover", "ansible-core", "mitogen", "pyinfra"):
                        pairs = list(zip(rows[run, name], own))
                        wall = statistics.median(theirs[0] / ours[0] for theirs, ours in pairs)
                        cpu = statistics.median(theirs[1] / ours[1] for theirs, ours in pairs)
                        peak = max(theirs[2] for theirs, _ in pairs)
                        print(f"| {hosts} | {run} | {name} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |", flush=True)
            finally:
                account.end()
                process.terminate()
                process.wait()


main()
