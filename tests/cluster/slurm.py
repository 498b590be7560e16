"""A real SLURM with accounting on this machine: daemons as children of the test, all state in one directory."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = {
    "munge": ("munged", "munge"),
    "slurmctld": ("slurmctld",),
    "slurmd": ("slurmd",),
    "slurm-client": ("sbatch", "srun", "squeue", "scancel", "scontrol", "sacct", "sacctmgr", "sinfo"),
    "slurm-wlm-basic-plugins": (),
    "slurmdbd": ("slurmdbd",),
    "slurm-wlm-mysql-plugin": (),
    "mariadb-server-core": ("mariadbd", "mariadb-install-db"),
    "mariadb-client-core": ("mariadb",),
}
SWITCH = "PRUNELIB_INSTALL_SLURM"
LONGEST = 60  # of the directory: a unix socket's path ends at 107 bytes
# Wrapped, so that they find this cluster without SLURM_CONF: the jobstep plugin drops it before its inner srun.
CLIENTS = PROGRAMS["slurm-client"]


def paths() -> str:
    """PATH with the folders of daemons, which an ordinary user's lacks."""
    return os.environ["PATH"] + ":/usr/sbin:/sbin"


def missing() -> list[str]:
    """Debian packages with a program that is not here."""
    return [name for name, found in PROGRAMS.items() if not all(shutil.which(word, path=paths()) for word in found)]


def why_not() -> str | None:
    """Why no SLURM can be brought up here, or None; installs what is missing if root and told to."""
    if (packages := missing()) and os.environ.get(SWITCH) == "1" and os.geteuid() == 0 and shutil.which("apt-get"):
        install()
        packages = missing()
    if packages:
        return f"needs {' '.join(PROGRAMS)}; missing {' '.join(packages)} ({SWITCH}=1 as root installs them)"
    if not socket.gethostbyname(socket.gethostname()).startswith("127."):
        return f"SLURM would listen on the network: put '127.0.0.1 {socket.gethostname()}' into /etc/hosts first"
    return None


def install() -> None:
    """Install the packages and keep their init scripts from starting daemons on the system's own configuration."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PROGRAMS]
        subprocess.run(command, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    finally:
        if ours:
            policy.unlink()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(what: str, seconds: float, true: Callable[[], bool]) -> None:
    """Wait until something is true; AssertionError naming it after so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
# listen where the host's own name points to, which is the loopback address, and not everywhere
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# cred_expire is also how long a job waits that is started again after its node went away
AuthInfo=socket={here}/munge.sock,cred_expire=10
CredType=cred/munge
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
# neither cgroups nor systemd: memory is looked at once a second
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
# the node claims more than the machine has: jobs that sleep do not hold up the others
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MinJobAge=600
JobRequeue=0
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={database}
AccountingStoragePass={here}/munge.sock
AccountingStoreFlags=job_comment
AccountingStorageTRES=gres/gpu
GresTypes=gpu
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs=16 RealMemory=128000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=node Default=YES DefaultTime=00:10:00 MaxTime=3-00:00:00 State=UP
PartitionName=second Nodes=node DefaultTime=00:10:00 MaxTime=3-00:00:00 State=UP
"""
# Two GPUs that are none: SLURM only asks whether the device exists.
GPUS = "AutoDetect=off\nNodeName=node Name=gpu File=/dev/null\nNodeName=node Name=gpu File=/dev/zero\n"
DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={here}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database}
SlurmUser={user}
PidFile={here}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageLoc=accounting
StorageUser={user}
StoragePass=unused
"""


class Slurm:
    """One controller, one node with two GPUs that are none, munge, accounting; all on the loopback address."""

    def __init__(self) -> None:
        """Write the configuration into a new directory."""
        self.here = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        assert len(str(self.here)) <= LONGEST
        self.here.chmod(0o755)  # munge asks for it; its key is for the owner only
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {"SLURM_CONF": f"{self.here}/slurm.conf", "PATH": f"{self.here}/bin:{paths()}"}
        self.environment["MYSQL_UNIX_PORT"] = f"{self.here}/mysql.sock"
        for name in ("bin", "state", "spool", "log"):
            (self.here / name).mkdir()
        control, node, database = free_ports(3)
        values = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "here": self.here}
        values |= {"control": control, "node": node, "database": database}
        (self.here / "slurm.conf").write_text(CONFIGURATION.format(**values))
        (self.here / "gres.conf").write_text(GPUS)
        (self.here / "slurmdbd.conf").write_text(DATABASE.format(**values))
        (self.here / "slurmdbd.conf").chmod(0o600)  # or slurmdbd refuses it
        (self.here / "munge.key").write_bytes(secrets.token_bytes(128))
        (self.here / "munge.key").chmod(0o600)
        for name in CLIENTS:
            wrapper = self.here / "bin" / name
            program = shutil.which(name, path=paths())
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.here}/slurm.conf exec {program} "$@"\n')
            wrapper.chmod(0o755)

    def start(self, name: str, *arguments: str) -> None:
        """Start one daemon in the foreground, as a child."""
        with open(self.here / "log" / f"{name}.log", "ab") as log:
            command = [str(shutil.which(name, path=paths())), *arguments]
            environment = os.environ | self.environment
            self.daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def stop(self, name: str, seconds: float = 20) -> None:
        """End one daemon, by its process id."""
        if (daemon := self.daemons.pop(name, None)) is None:
            return
        daemon.terminate()
        try:
            daemon.wait(seconds)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def ask(self, *command: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """Run one of SLURM's commands on this cluster."""
        environment = os.environ | self.environment
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=seconds)

    def says(self, *command: str) -> str:
        """What one of SLURM's commands prints; nothing when it fails."""
        done = self.ask(*command)
        return done.stdout.strip() if done.returncode == 0 else ""

    def up(self) -> None:
        """Bring everything up and run one job to its end."""
        here = self.here
        key, seed = f"--key-file={here}/munge.key", f"--seed-file={here}/munge.seed"
        places = (f"--socket={here}/munge.sock", f"--pid-file={here}/munged.pid", f"--log-file={here}/log/munge.txt")
        self.start("munged", "--foreground", key, seed, *places)
        until("munge", 10, lambda: bool(self.says("munge", f"--socket={here}/munge.sock", "-n")))
        self.start_accounting()
        self.start("slurmctld", "-D")
        until("slurmctld", 30, lambda: self.ask("scontrol", "ping").returncode == 0)
        self.start("slurmd", "-D")
        self.wait_for_node()
        assert self.ask("srun", "-n1", "-t1", "--mem=50", "true").returncode == 0

    def start_accounting(self) -> None:
        """Start a database that listens on a unix socket only, slurmdbd on it, and make a cluster and two accounts."""
        sql, user = f"{self.here}/mysql.sock", getpass.getuser()
        make = ["mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={self.here}/mysql"]
        make += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={user}", "--skip-test-db"]
        made = self.ask(*make, seconds=120)
        assert made.returncode == 0, made.stdout + made.stderr
        self.start(
            *("mariadbd", "--no-defaults", f"--user={user}", f"--datadir={self.here}/mysql", f"--socket={sql}"),
            *("--skip-networking", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--skip-log-bin"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900", "--performance-schema=OFF"),
        )
        client = ("mariadb", "--no-defaults", f"--socket={sql}", "-u", user, "-e", "create database accounting")
        until("the database", 60, lambda: self.ask(*client).returncode == 0)
        self.start("slurmdbd", "-D")
        until("slurmdbd", 60, lambda: self.ask("sacctmgr", "-n", "show", "cluster").returncode == 0)
        self.says("sacctmgr", "-i", "add", "cluster", "test")
        for account in ("first", "second"):
            self.says("sacctmgr", "-i", "add", "account", account, "Cluster=test")
            self.says("sacctmgr", "-i", "add", "user", user, f"Account={account}", "Cluster=test")
        self.says("sacctmgr", "-i", "add", "qos", "soon")
        self.says("sacctmgr", "-i", "modify", "user", user, "set", "qos=normal,soon", "DefaultAccount=first")

    def wait_for_node(self) -> None:
        """Wait until the node takes jobs."""
        until("the node", 60, lambda: self.says("sinfo", "-h", "-o", "%t").split("\n")[0] in ("idle", "mix", "alloc"))

    def sacct(self, *arguments: str) -> list[dict[str, str]]:
        """SLURM's own record of all jobs (one row each, no steps)."""
        columns = "JobID,JobName,Comment,State,ExitCode,Elapsed,Timelimit,ReqMem,Partition,Account,QOS,ReqTRES,Submit"
        text = self.says("sacct", "-X", "-P", "-a", "-S", "2000-01-01", "-o", columns, *arguments)
        head, *rows = [line.split("|") for line in text.split("\n")]
        return [dict(zip(head, row, strict=True)) for row in rows]

    def down(self) -> None:
        """Cancel what runs, end every daemon by its process id, then what they left behind; remove the directory."""
        if "slurmctld" in self.daemons and "slurmd" in self.daemons:
            self.ask("scancel", "--user", getpass.getuser())
            end = time.monotonic() + 15
            while self.says("squeue", "-h") and time.monotonic() < end:
                time.sleep(0.3)
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop(name)
        for process in self.left():
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.here, ignore_errors=True)

    def left(self) -> list[int]:
        """Processes that this cluster's daemons started and that have outlived them, by their environment."""
        mark, found = f"SLURM_CONF={self.here}/".encode(), []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # gone meanwhile, or another user's
                continue
        return found
