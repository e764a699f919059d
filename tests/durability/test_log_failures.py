"""A log whose disk fails, and one whose process is killed: real processes, real files."""

import os
import signal
import subprocess
import sys
import textwrap

from dkv._native import Bell, Log

PRELUDE = """
    import os, resource, signal, sys
    from dkv._native import Bell, Log, Raft
    bell, folder = Bell(), sys.argv[1]
    log, raft = Log(bell, folder), Raft(seed=1)
    log.create_group(1, (1, 0, 1), 1, 1)
    raft.open_group(1, 11, ([11], [], [], [], False), 1, (1, 0, 1), 1, 1, [])
    raft.campaign(1)

    def turn():
        raft.persisted(log.durable())
        log.append(raft.ready()[0])

    turn()
"""


def run(folder, script):
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, timeout=60
    )


def test_log_write_failed_raises_and_writes_nothing_more(tmp_path):
    """After a write that failed, `durable` raises the reason for good, although the disk would take more again."""
    done = run(
        tmp_path / "log",
        """
        (path,) = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith("1.raftlog")]
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        failure = None
        for _ in range(1000):
            bell.wait(1000)
            try:
                turn()
                raft.propose(1, bytes(1000))
                turn()
            except OSError as error:
                failure = str(error)
                break
        assert "raftlog" in failure, failure
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        size = os.stat(path).st_size
        for call in (log.durable, lambda: log.append(raft.ready()[0])):
            try:
                call()
            except OSError as error:
                assert str(error) == failure
            else:
                raise AssertionError("no error")
        log.close()
        assert os.stat(path).st_size == size
        """,
    )
    assert done.returncode == 0, done.stderr
    log = Log(Bell(), str(tmp_path / "log"))
    assert log.state(1)[2] >= 2
    log.close()


def test_log_sync_failed_acknowledges_nothing(tmp_path):
    """When the sync fails, the write that went well before it is never reported durable."""
    done = run(
        tmp_path / "log",
        """
        while raft.status(1)["persisted"] < 2:
            bell.wait(1000)
            turn()
        for name in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{name}").endswith("1.raftlog"):
                os.dup2(os.open("/dev/null", os.O_RDWR), int(name))  # takes writes, refuses to sync
        raft.propose(1, b"lost")
        log.append(raft.ready()[0])
        failure = None
        for _ in range(100):
            bell.wait(100)
            try:
                assert log.durable() == []
            except OSError as error:
                failure = str(error)
                break
        assert failure.startswith("sync "), failure
        try:
            log.create_group(2, (1, 0, 1), 1, 1)
        except OSError:
            pass
        else:
            raise AssertionError("no error")
        os._exit(0)
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = Log(Bell(), str(tmp_path / "log"))
    assert log.state(1)[2] == 2
    log.close()


def test_log_process_killed_keeps_what_was_durable(tmp_path):
    """What `durable` reported before a kill is there afterwards."""
    done = run(
        tmp_path / "log",
        """
        for number in range(50):
            while True:
                bell.wait(1000)
                turn()
                if raft.propose(1, b"%d" % number):
                    break
            turn()
        last = raft.status(1)["last_index"]
        while raft.status(1)["persisted"] < last:
            bell.wait(1000)
            turn()
        print(last, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    log = Log(Bell(), str(tmp_path / "log"))
    assert log.state(1)[2] == int(done.stdout)
    assert log.read(1, 3, 4, 100)[0][3] == b"0"
    log.close()
