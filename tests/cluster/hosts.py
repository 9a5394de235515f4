"""Several hosts on one machine: namespaces with their own addresses, process tables, homes and sshd, on one switch.

Nothing leaves them: there is no way out of the switch. Needs root, namespaces, overlays, iproute2, OpenSSH and rsync.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
TOOLS = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync", "mount", "hostname")
HOME = Path("/mnt/home")  # of the one account on every host
SHARED = Path("/mnt/shared")  # the same folder on every host, as a network file system would be
STORE = SHARED / "store"
USER = "backstop"
SSHD = f"""\
HostKey {SHARED}/host_key
AuthorizedKeysFile {SHARED}/key.pub
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
MaxStartups 50
"""
ENVIRONMENT = {"HOME": str(HOME), "USER": USER, "LOGNAME": USER, "RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"}


def what_is_missing() -> str | None:
    """Why hosts cannot be made on this machine; None where they can."""
    if sys.platform != "linux":
        return f"namespaces are of Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "it takes root to make hosts of namespaces"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [tool for tool in TOOLS if not shutil.which(tool, path=path)]
    if absent:
        return f"not installed: {', '.join(absent)} (iproute2, util-linux, openssh-server, openssh-client, rsync)"
    folders = "mkdir /mnt/lower /mnt/upper /mnt/work /mnt/all"
    overlay = "mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/all"
    script = f"mount --make-rprivate / && mount -t tmpfs none /mnt && {folders} && {overlay}"
    tried = subprocess.run(
        ["unshare", "-n", "-m", "-u", "-p", "-f", "--mount-proc", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces or overlays are refused here: {tried.stderr.strip()}" if tried.returncode else None


class Hosts:
    """Hosts 10.0.0.1, 10.0.0.2, … and one that types the commands, `desk`, at 10.0.0.100; a context manager."""

    def __init__(self, folder: Path, num_hosts: int) -> None:
        """`folder` holds what they share and may be looked at from outside."""
        self.folder, self.names = folder, {f"host{number}": f"10.0.0.{number}" for number in range(1, num_hosts + 1)}
        self.names["desk"] = "10.0.0.100"
        self._tag = uuid.uuid4().hex[:6]
        self._hosts: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Hosts:
        try:
            self._write_files()
            self._wire()
            for name in self.names:
                self._boot(name)
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_files(self) -> None:
        (self.folder / "store").mkdir(parents=True)
        listed = [f"{address} {name}" for name, address in self.names.items()]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *listed, ""]))
        accounts = [f"{USER}:x:0:0::{HOME}:/bin/bash", *Path("/etc/passwd").read_text().splitlines(), ""]
        (self.folder / "passwd").write_text("\n".join(accounts))
        (self.folder / "sshd_config").write_text(SSHD)
        for name in ("key", "host_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name))

    def _wire(self) -> None:
        switch = self._namespace("switch")
        run("ip", "netns", "add", switch)
        run("ip", "-n", switch, "link", "add", "name", "sw0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "sw0", "up")
        for name, address in self.names.items():
            host = self._namespace(name)
            run("ip", "netns", "add", host)
            cable = ("type", "veth", "peer", "name", "eth0", "netns", host)
            run("ip", "-n", switch, "link", "add", "name", f"to-{name}", *cable)
            run("ip", "-n", switch, "link", "set", f"to-{name}", "master", "sw0", "up")
            run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "-n", host, "link", "set", "eth0", "up")

    def _boot(self, name: str) -> None:
        alone = ("unshare", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child")
        script = ("bash", str(HERE / "host.sh"), name, str(CHECKOUT), sys.prefix, str(self.folder))
        with (self.folder / f"{name}.log").open("wb") as log:
            self._hosts[name] = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace(name), *alone, *script], stdout=log, stderr=log
            )

    def _wait(self, limit_s: float = 20.0) -> None:
        """Until every host answers over ssh."""
        end = time.monotonic() + limit_s
        for name in self.names:
            while self.run("desk", *ssh(name), "true", check=False).returncode:
                if time.monotonic() > end:
                    raise RuntimeError(f"{name} does not come up: {(self.folder / f'{name}.log').read_text()}")
                time.sleep(0.2)

    def _namespace(self, name: str) -> str:
        return f"bs{self._tag}-{name}"

    def _inside(self, name: str) -> list[str]:
        """What goes before a command that is to run on a host; its first process is the child of `unshare`."""
        parent = self._hosts[name].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return ["nsenter", "-a", "-t", *children[:1]]

    def command(self, name: str, *words: str) -> list[str]:
        """The words that run a command on a host, with its account's environment, in the checkout."""
        settings = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
        path = f"PATH={sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return [*self._inside(name), "env", "-i", "-C", str(CHECKOUT), path, *settings, *words]

    def run(self, name: str, *words: str, check: bool = True, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host to its end."""
        try:
            words = tuple(self.command(name, *words))
        except OSError:  # it is not up yet
            return subprocess.CompletedProcess(words, 1, "", "not up")
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s, check=False)
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def processes(self, name: str) -> list[str]:
        """The command lines of a host's processes, without those of this call and of sshd."""
        lines = self.run(name, "ps", "-ww", "-e", "-o", "args=").stdout.splitlines()
        return [line for line in lines if not line.startswith(("ps ", "sshd", "/usr/sbin/sshd"))]

    def close(self) -> None:
        """Ends every host with all that runs on it, and takes the wires down."""
        for host in self._hosts.values():
            host.kill()
        for host in self._hosts.values():
            host.wait()
        for name in ("switch", *self.names):
            subprocess.run(["ip", "netns", "del", self._namespace(name)], capture_output=True, check=False)


def ssh(name: str) -> Sequence[str]:
    """The words of an ssh to a host."""
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=2")
    return ("ssh", "-q", *options, f"{USER}@{name}")


def run(*words: str) -> None:
    """Runs a command of the machine."""
    subprocess.run(words, check=True, capture_output=True)
