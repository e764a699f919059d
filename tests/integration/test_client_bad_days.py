"""Both clients when something is wrong: nobody there, no answer, garbage, a restart under load, forks and threads."""

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

import dkv
import dkv.aio
import dkv.testing
from dkv.edge import Bell, EdgeServer
from dkv.wire import methods

UNARY = (
    methods.GET_PATH,
    methods.MULTI_GET_PATH,
    methods.GET_NODE_STATUS_PATH,
    methods.PUT_PATH,
    methods.COMPARE_AND_SET_PATH,
)
SERVED = [(path, 0) for path in UNARY] + [(methods.ITERATE_PATH, 1)]


class Fake:
    """A gRPC server whose one answer to everything is chosen by the test; None: never answers."""

    def __init__(self, answer: bytes | tuple[int, str] | None) -> None:
        self.answer = answer
        self.closed = threading.Event()
        self.calls: list[bytes] = []
        self._bell = Bell()
        self._edge = EdgeServer(self._bell, SERVED)
        self.url = f"dkv://{self._edge.listen('127.0.0.1:0')}"
        self._is_open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._is_open:
            calls, closed, _, _ = self._edge.poll(1_000, 1_000)
            if closed:
                self.closed.set()
            for method, call_ids, messages in calls:
                self.calls += messages
                self._answer(SERVED[method][1] == 1, call_ids)

    def _answer(self, is_stream: bool, call_ids: list[int]) -> None:
        answer = self.answer
        if isinstance(answer, tuple):
            self._edge.emit([], [], [], [(call_id, *answer, b"", -1) for call_id in call_ids], [])
        elif answer is not None and is_stream:
            items = [(call_id, [answer]) for call_id in call_ids]
            self._edge.emit([], [], items, [(call_id, 0, "", b"", -1) for call_id in call_ids], [])
        elif answer is not None:
            self._edge.emit(call_ids, [answer] * len(call_ids), [], [], [])

    def stop(self) -> None:
        self._is_open = False
        self._bell.ring()
        self._thread.join()
        self._edge.close()


@contextmanager
def fake(answer: bytes | tuple[int, str] | None) -> Iterator[Fake]:
    server = Fake(answer)
    try:
        yield server
    finally:
        server.stop()


class Run:
    """One call with a client of its own: `run(url, "get", "k")`."""

    def __init__(self, is_sync: bool) -> None:
        self.is_sync = is_sync

    def __call__(self, url: str, name: str, *words: Any) -> Any:
        if self.is_sync:
            with dkv.connect(url) as client:
                found = getattr(client, name)(*words)
                return list(found) if name == "scan" else found
        return asyncio.run(self._await(url, name, words))

    async def _await(self, url: str, name: str, words: tuple[Any, ...]) -> Any:
        async with dkv.aio.connect(url) as client:
            found = getattr(client, name)(*words)
            return [pair async for pair in found] if name == "scan" else await found


@pytest.fixture(params=["sync", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    return Run(request.param == "sync")


@pytest.fixture
def nobody() -> str:
    """A URL where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"dkv://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(("name", "words"), [("get", ("k",)), ("put", ("k", "v")), ("scan", ())])
def test_connection_refused_is_unavailable_and_certain(run: Run, nobody: str, name: str, words: tuple[str]) -> None:
    """It names the address and the reason, and nothing can have happened."""
    with pytest.raises(ConnectionError, match="refused") as caught:
        run(f"{nobody}?timeout=200ms", name, *words)
    assert isinstance(caught.value, dkv.Unavailable)
    assert caught.value.may_have_happened is False


def test_host_that_does_not_exist_is_unavailable(run: Run) -> None:
    """As any other that cannot be reached."""
    with pytest.raises(dkv.Unavailable, match="cannot connect"):
        run("dkv://no.such.host.invalid:1?timeout=300ms", "get", "k")


@pytest.mark.parametrize(
    "address", ["dkv://h:1?authority=a%20b", "dkv://h:1?authority=%00", "dkv://h:1,i:1?authority=%00"]
)
def test_address_that_is_none_is_refused_at_once(run: Run, address: str) -> None:
    """Before anything is connected."""
    with pytest.raises(dkv.InvalidRequest):
        run(address, "get", "k")


def test_server_that_never_answers_ends_in_time_outs(run: Run) -> None:
    """A read is a plain one; a write may have happened."""
    with fake(None) as server:
        url = f"{server.url}?timeout=100ms"
        for name in ("get", "scan"):
            with pytest.raises(TimeoutError) as read:
                run(url, name, "k")
            assert isinstance(read.value, dkv.DeadlineExceeded)
            assert not isinstance(read.value, dkv.OutcomeUnknown)
        with pytest.raises(TimeoutError) as write:
            run(url, "put", "k", "v")
        assert isinstance(write.value, dkv.OutcomeUnknown)
        assert write.value.may_have_happened is True
        assert server.closed.wait(20)


def test_port_that_accepts_and_says_nothing_ends_in_time_outs(run: Run) -> None:
    """Not even HTTP/2's first words."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(dkv.Error) as caught:
        run(f"dkv://127.0.0.1:{silent.getsockname()[1]}?timeout=200ms", "get", "k")
    assert isinstance(caught.value, TimeoutError | ConnectionError)


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"SSH-2.0-x\r\n", b""])
def test_port_that_speaks_something_else_is_a_typed_error(run: Run, words: bytes) -> None:
    """Or hangs up at once."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(20)

        def answer() -> None:
            try:
                while True:
                    connection, _ = other.accept()
                    with connection:
                        connection.recv(1_000)
                        connection.sendall(words)
            except OSError:
                return

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(dkv.Error):
            run(f"dkv://127.0.0.1:{other.getsockname()[1]}?timeout=200ms", "get", "k")
        other.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("name", "words"),
    [("get", ("k",)), ("get_item", ("k",)), ("get_many", (["k"],)), ("put", ("k", "v")), ("scan", ()),
     ("compare_and_set", ("k", "a", "b")), ("stats", ())],
)  # fmt: skip
def test_reply_that_is_garbage_is_a_bad_reply(run: Run, name: str, words: tuple[Any, ...]) -> None:
    """Wherever it comes. A write may have happened."""
    with fake(b"\x0a\xff\xff\xff") as server, pytest.raises(dkv.BadReply, match="not one") as caught:
        run(f"{server.url}?timeout=5s", name, *words)
    assert caught.value.may_have_happened is (name in ("put", "compare_and_set"))


def test_refusal_of_the_server_is_not_retried(run: Run) -> None:
    """One call, one typed error."""
    with fake((3, "no")) as server:
        with pytest.raises(dkv.InvalidRequest, match="no"):
            run(f"{server.url}?timeout=5s", "put", "k", "v")
        assert len(server.calls) == 1


def test_server_without_a_leader_is_asked_again_until_time_is_over(run: Run) -> None:
    """Then its own reason is raised."""
    with fake((14, "no leader is known")) as server:
        for name, words in (("get", ("k",)), ("put", ("k", "v")), ("scan", ())):
            before = len(server.calls)
            with pytest.raises(dkv.Unavailable, match="no leader") as caught:
                run(f"{server.url}?timeout=1s", name, *words)
            assert caught.value.may_have_happened is False
            assert len(server.calls) - before > 1


def test_counter_with_endless_rivals_ends_in_time(run: Run) -> None:
    """However many attempts fail."""
    with fake(b"\x0a\x00") as server, pytest.raises(dkv.DeadlineExceeded):
        run(f"{server.url}?timeout=200ms", "incr", "n")


def test_counting_through_restarts_applies_each_step_once(make_server: Callable[..., Any]) -> None:
    """Threads and tasks count while the server is killed; what was acknowledged is there, once.

    Both sessions are open before: of a write that is lost while it opens one, nobody can know what became of it.
    """
    server, is_open = make_server(), threading.Event()
    with dkv.connect(f"dkv://{server.address}?timeout=30s") as client, ThreadPoolExecutor(4) as pool:

        def count(name: str) -> int:
            return max(client.incr(name) for _ in range(60))

        async def count_in_tasks() -> list[int]:
            async with dkv.aio.connect(f"dkv://{server.address}?timeout=30s") as tasks:
                await tasks.put("open", "v")
                is_open.set()
                return await asyncio.gather(*[_count(tasks, f"task {number}", 60) for number in range(4)])

        client.put("open", "v")
        counts = [pool.submit(count, f"thread {number}") for number in range(3)]
        counts.append(pool.submit(lambda: max(asyncio.run(count_in_tasks()))))
        assert is_open.wait(20)
        for _ in range(3):
            client.put("seen", "v")
            server.kill()
            server.start()
        assert [each.result(60) for each in counts] == [60] * 4
        assert {client.incr(f"task {number}", 0) for number in range(4)} == {60}


async def _count(client: dkv.aio.AsyncClient, name: str, times: int) -> int:
    return max([await client.incr(name) for _ in range(times)])


def test_scan_goes_on_after_a_restart(make_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """From where it was, every pair once."""
    monkeypatch.setattr("dkv.client.scan.PAGE_PAIRS", 100)
    server = make_server()
    with dkv.connect(f"dkv://{server.address}?timeout=30s") as client:
        pairs = [(b"%04d" % number, b"v") for number in range(1_000)]
        client.put_many(pairs)
        scan = client.scan()
        seen = [next(scan) for _ in range(150)]
        server.kill()
        server.start()
        assert seen + list(scan) == pairs


def test_connection_gone_silent_is_not_used_for_the_next_call() -> None:
    """Half open: the other end has vanished without a word."""
    with (
        dkv.testing.server() as url,
        _relay(url) as (address, hold),
        dkv.connect(f"dkv://{address}?timeout=600ms") as client,
    ):
        client.put("k", "v")
        hold.set()
        with pytest.raises(dkv.DeadlineExceeded):
            client.get("k")
        hold.clear()
        assert client.get("k") == b"v"


@contextmanager
def _relay(url: str) -> Iterator[tuple[str, threading.Event]]:
    """Passes bytes on; connections made before `hold` was set say nothing from then on."""
    hold, target = threading.Event(), url.removeprefix("dkv://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        is_deaf = False
        try:
            while data := source.recv(1 << 16):
                is_deaf = is_deaf or hold.is_set()
                if not is_deaf:
                    sink.sendall(data)
        except OSError:
            return

    def accept() -> None:
        try:
            while True:
                near = listener.accept()[0]
                far = socket.create_connection((target[0], int(target[1])))
                opened.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    host, port = listener.getsockname()
    try:
        yield f"{host}:{port}", hold
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for each in (listener, *opened):
            each.close()
        thread.join()


def test_forked_child_writes_in_a_session_of_its_own() -> None:
    """Parent and child go on with the same object, and no write of one passes for a retry of the other's."""
    script = """
        import os, dkv, dkv.testing
        with dkv.testing.server() as url, dkv.connect(url + "?timeout=20s") as client:
            assert [client.incr("n") for _ in range(5)] == [1, 2, 3, 4, 5]
            child = os.fork()
            if child == 0:
                numbers = [client.incr("child") for _ in range(20)]
                os._exit(0 if numbers == list(range(1, 21)) and client.get("n") is not None else 1)
            assert [client.incr("parent") for _ in range(20)] == list(range(1, 21))
            assert os.waitpid(child, 0)[1] == 0
            assert client.incr("child", 0) == 20
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run(command, timeout=60, check=True, env=environment)


def test_asyncio_client_made_before_a_fork_works_in_the_child() -> None:
    """As where a parent loads the program and its children serve."""
    script = """
        import asyncio, os, dkv.aio, dkv.testing
        with dkv.testing.server() as url:
            client = dkv.aio.connect(url + "?timeout=20s")
            other = dkv.aio.connect(url)
            child = os.fork()
            if child == 0:
                asyncio.run(client.put("child", "v"))
                del other
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert asyncio.run(client.get("child")) == b"v"
            asyncio.run(client.close())
            asyncio.run(other.close())
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run(command, timeout=60, check=True, env=environment)


def test_many_threads_share_a_client() -> None:
    """Every write is there, though they share a session and a connection."""
    with dkv.testing.server() as url, dkv.connect(f"{url}?timeout=20s") as client, ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda number: client.put(f"{number:04}", "v"), range(1_000)))
        assert [value for _, value in client.scan()] == [b"v"] * 1_000


def test_more_writes_than_a_session_holds_wait_their_turn() -> None:
    """Five thousand at once, from tasks."""

    async def write(url: str) -> int:
        async with dkv.aio.connect(f"{url}?timeout=30s") as client:
            await asyncio.gather(*[client.put(f"{number:05}", "v") for number in range(5_000)])
            return len([pair async for pair in client.scan()])

    with dkv.testing.server() as url:
        assert asyncio.run(write(url)) == 5_000


def test_writes_behind_one_that_is_never_answered_end_in_time(run: Run) -> None:
    """The first one opens the session, and the others wait for it no longer than for an answer."""

    async def in_tasks(url: str) -> list[Any]:
        async with dkv.aio.connect(url) as client:
            return await asyncio.gather(*[client.put(key, "v") for key in "abc"], return_exceptions=True)

    with fake(None) as server:
        url = f"{server.url}?timeout=200ms"
        if run.is_sync:
            with dkv.connect(url) as client, ThreadPoolExecutor(3) as pool:
                futures = [pool.submit(client.put, key, "v") for key in "abc"]
                errors: list[Any] = [future.exception() for future in futures]
        else:
            errors = asyncio.run(in_tasks(url))
    assert all(isinstance(error, dkv.Error) and isinstance(error, TimeoutError) for error in errors)


def test_task_cancelled_cancels_its_call_on_the_wire() -> None:
    """The server hears of it."""

    async def cancel(url: str, closed: threading.Event) -> None:
        async with dkv.aio.connect(f"{url}?timeout=60s") as client:
            task = asyncio.create_task(client.get("k"))
            while not server.calls:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(closed.wait, 20)

    with fake(None) as server:
        asyncio.run(cancel(server.url, server.closed))


def test_client_used_on_a_second_loop_says_so() -> None:
    """One client, one loop; it may be made before there is one."""
    with dkv.testing.server() as url:
        client = dkv.aio.connect(url)
        asyncio.run(client.put("k", "v"))
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(client.get("k"))
        asyncio.run(client.close())


def test_loop_that_cannot_watch_sockets_is_served_by_a_task() -> None:
    """As the default loop of Windows."""

    class Proactor(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
            if "dkv" in getattr(callback, "__module__", ""):
                raise NotImplementedError
            return super().add_reader(fd, callback, *args)

    async def use(url: str) -> list[Any]:
        async with dkv.aio.connect(url) as client:
            await asyncio.gather(*[client.put(f"{number}", "v") for number in range(100)])
            return [pair async for pair in client.scan()]

    with dkv.testing.server() as url, asyncio.Runner(loop_factory=Proactor) as runner:
        assert len(runner.run(use(url))) == 100


def test_client_closed_under_its_calls_ends_them() -> None:
    """Reads and streams, of tasks that wait."""

    async def close(url: str) -> list[Any]:
        client = dkv.aio.connect(f"{url}?timeout=60s")
        calls = [asyncio.create_task(client.get("k")), asyncio.create_task(anext(aiter(client.scan())))]  # type: ignore[arg-type]
        while len(server.calls) < 2:
            await asyncio.sleep(0.001)
        await client.close()
        await client.close()
        return await asyncio.gather(*calls, client.get("k"), return_exceptions=True)

    with fake(None) as server:
        errors = asyncio.run(close(server.url))
    assert [type(error) for error in errors] == [dkv.Cancelled] * 3


def test_import_of_dkv_loads_no_server_code() -> None:
    """Neither does connecting, blocking or not."""
    code = """
        import sys, dkv, dkv.aio
        dkv.connect("dkv://127.0.0.1:1").close()
        rooms = ("node", "services", "vbucket", "storage", "server", "settings", "jobs", "testing", "edge.consensus")
        print([name for name in sys.modules if name.startswith(tuple(f"dkv.{room}" for room in rooms))])
    """
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout == "[]\n"
    light = "import sys, dkv; print('asyncio' in sys.modules, 'google' in sys.modules, 'dkv._native' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False False False\n"
