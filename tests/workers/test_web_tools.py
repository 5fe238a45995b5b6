"""Fetching, from a real server on loopback that answers well, badly, too much, too slowly, or with another address."""

import asyncio
import socket

import pytest
from loopback_server import serving, unused_port

from orchestai_jax.workers import WorkerContext, WorkerError, load_bundled_catalog, local_workers, web_tools
from orchestai_jax.workers.web_addresses import check_address, is_public
from orchestai_jax.workflow import WebConnection

CATALOG = load_bundled_catalog("extended_tools")


def fetch(url, root, **connection):
    spec = CATALOG.worker("fetch_url_http").model_copy(update={"connection": WebConnection(**connection)})
    worker = local_workers(CATALOG.model_copy(update={"workers": (spec,)}))["fetch_url_http"]
    context = WorkerContext(root, root / "out", "t1")
    output = asyncio.run(worker.run(CATALOG.task_type("fetch_url"), {"url": url}, context))
    return root / output.values["file"]


def refused(url, root, **connection):
    with pytest.raises(WorkerError) as caught:
        fetch(url, root, **connection)
    assert "\n" not in str(caught.value)
    assert not [path for path in root.rglob("*") if path.is_file()], "nothing half-fetched stays behind"
    return caught.value


HERE = ("127.0.0.1",)


@pytest.mark.parametrize(
    "path, content_type, suffix",
    [
        ("/a/report.csv?token=1", "text/csv", ".csv"),
        ("/a/report.csv", "text/plain; charset=utf-8", ".csv"),
        ("/page", "text/html; charset=utf-8", ".html"),
        ("/photo.jpeg", "image/jpeg", ".jpeg"),
        ("/evil.exe", "text/html", ".html"),
        ("/x", "application/x-nobody-knows", ".bin"),
    ],
)
def test_a_file_is_fetched_whole_under_its_kind(tmp_path, path, content_type, suffix):
    content = bytes(range(256)) * 2000
    with serving(lambda request: request.answer(content, content_type=content_type)) as server:
        fetched = fetch(server.url + path, tmp_path, allow=HERE)
        assert fetched.read_bytes() == content
        assert fetched.suffix == suffix
        assert server.requests[0].path == path
        assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_a_chunked_answer_is_put_together(tmp_path):
    def answer(request):
        request.start(content_type="text/plain", transfer_encoding="chunked")
        for part in (b"one ", b"two", b""):
            request.send_chunk(part)

    with serving(answer) as server:
        assert fetch(server.url + "/a.txt", tmp_path, allow=HERE).read_text() == "one two"


def test_nothing_is_allowed_that_is_not_listed(tmp_path):
    with serving(lambda request: request.answer(b"secret")) as server:
        assert "127.0.0.1 is not among the hosts that may be fetched (none)" in str(refused(server.url, tmp_path))
        assert "(example.org)" in str(refused(server.url, tmp_path, allow=("example.org",)))
        refused(server.url, tmp_path, allow=("127.0.0.1:1",))
        fetch(server.url, tmp_path, allow=(f"127.0.0.1:{server.port}",))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url, said",
    [
        ("file:///etc/passwd", "is not an http or https address"),
        ("notes.txt", "is not an http or https address"),
        ("http://", "is not an http or https address"),
        ("http://127.0.0.1:99999/", "is not a web address"),
        ("http://[::1", "is not a web address"),
        ("http://me:secret@127.0.0.1/", "holds a user or password"),
        ("http://127.0.0.1/a b", "is not an http or https address"),
        ("http://127.0.0.1/\r\nHost: evil", "is not an http or https address"),
    ],
)
def test_what_is_no_address_is_refused(tmp_path, url, said):
    error = refused(url, tmp_path, allow=HERE)
    assert said in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "host, pattern, fits",
    [
        ("example.org", "example.org", True),
        ("EXAMPLE.org.", "example.org", True),
        ("www.example.org", "example.org", False),
        ("www.example.org", "*.example.org", True),
        ("example.org", "*.example.org", False),
        ("evil-example.org", "*.example.org", False),
        ("example.org.evil.net", "example.org", False),
    ],
)
def test_patterns_of_hosts(host, pattern, fits):
    allowed = WebConnection(allow=(pattern,))
    if fits:
        assert check_address(f"https://{host}/x", allowed).hostname == host.lower()
    else:
        with pytest.raises(WorkerError, match="not among the hosts"):
            check_address(f"https://{host}/x", allowed)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "::1", "::",
        "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1", "::127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "4000::1",
    ],
)  # fmt: skip
def test_addresses_of_networks_like_this_one_are_told(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"]
)
def test_public_addresses_are_told(address):
    assert is_public(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "64:ff9b::7f00:1"])
def test_a_listed_name_that_leads_into_this_network_is_refused(tmp_path, monkeypatch, address):
    def lookup(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(web_tools.socket, "getaddrinfo", lookup)
    with serving(lambda request: request.answer(b"secret")) as server:
        error = refused(f"http://innocent.example:{server.port}/", tmp_path, allow=("innocent.example",))
        assert f"leads to the address {address} of this network" in str(error)
        assert server.requests == []


@pytest.mark.parametrize(
    "url, pattern, fits",
    [
        ("https://example.org/", "example.org:443", True),
        ("http://example.org/", "example.org:80", True),
        ("http://example.org/", "example.org:443", False),
        ("http://[::1]:8080/", "[::1]:8080", True),
        ("http://[0:0:0:0:0:0:0:1]:8080/", "[::1]:8080", True),
        ("http://[::1]:8081/", "[::1]:8080", False),
        ("http://[::1]:8081/", "[::1]", True),
        ("http://[::1]:8081/", "::1", True),
        ("http://127.0.0.1/", "*.0.0.1", False),
    ],
)
def test_patterns_of_ports_and_addresses(url, pattern, fits):
    allowed = WebConnection(allow=(pattern,))
    if fits:
        check_address(url, allowed)
    else:
        with pytest.raises(WorkerError, match="not among the hosts"):
            check_address(url, allowed)


def test_redirects_stay_within_the_list(tmp_path):
    def answer(request):
        if request.path == "/start":
            request.answer(status=302, location="/next")
        elif request.path == "/next":
            request.answer(status=308, location=f"http://127.0.0.1:{server.port}/end")
        elif request.path == "/out":
            request.answer(status=302, location=f"http://localhost:{server.port}/end")
        elif request.path == "/round":
            request.answer(status=307, location="/round")
        else:
            request.answer(b"here", content_type="text/plain")

    with serving(answer) as server:
        assert fetch(server.url + "/start", tmp_path / "a", allow=HERE).read_text() == "here"
        (tmp_path / "b").mkdir()
        asked = len(server.requests)
        assert "localhost is not among the hosts" in str(refused(server.url + "/out", tmp_path / "b", allow=HERE))
        assert len(server.requests) == asked + 1
        assert "redirects more than 2 times" in str(
            refused(server.url + "/round", tmp_path / "b", allow=HERE, max_redirects=2)
        )


@pytest.mark.parametrize(
    "status, headers, retryable, wait",
    [(404, {}, False, None), (500, {}, True, None), (503, {"retry_after": "7"}, True, 7.0), (204, {}, False, None)],
)
def test_answers_that_are_no_content(tmp_path, status, headers, retryable, wait):
    with serving(lambda request: request.answer(status=status, **headers)) as server:
        error = refused(server.url + "/x?key=abc", tmp_path, allow=HERE)
    assert f"answered {status}" in str(error)
    assert "abc" not in str(error)
    assert (error.retryable, error.retry_after_s) == (retryable, wait)


def test_sizes_are_bounded_whatever_the_server_says(tmp_path):
    def endless(request):
        request.start(content_type="text/plain", transfer_encoding="chunked")
        while True:
            request.send_chunk(b"x" * 10_000)

    with serving(lambda request: request.answer(b"x" * 2000)) as server:
        assert "has 2000 bytes; at most 1000" in str(refused(server.url, tmp_path, allow=HERE, max_bytes=1000))
    with serving(endless) as server:
        assert "is larger than 50000 bytes" in str(refused(server.url, tmp_path, allow=HERE, max_bytes=50_000))


def test_a_file_that_breaks_off_is_no_file(tmp_path):
    def answer(request):
        request.start(content_type="text/plain", content_length="1000")
        request.send(b"half")
        request.hang_up()

    with serving(answer) as server:
        error = refused(server.url, tmp_path, allow=HERE)
    assert "broke off" in str(error) or "cannot be fetched" in str(error)
    assert error.retryable


def test_a_server_that_stalls_is_left(tmp_path):
    def answer(request):
        request.start(content_type="text/plain", content_length="1000")
        server.closing.wait(20)

    with serving(answer) as server:
        error = refused(server.url, tmp_path, allow=HERE, timeout_s=0.2)
        assert "took longer than 0.2 s" in str(error)
        assert error.retryable


@pytest.mark.parametrize("what", ["headers", "content", "content of no told length"])
def test_a_server_that_trickles_does_not_hold_the_task_for_ever(tmp_path, what):
    trickled = []

    def trickle(request, data, times):
        for _ in range(times):  # never silent for long, and never done within the time
            request.send(data)
            trickled.append(data)
            if server.closing.wait(0.05):
                break

    def answer(request):
        if what == "headers":
            request.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
            trickle(request, b"X-More: yes\r\n", 80)
        elif what == "content":
            request.start(content_type="text/plain", content_length="80")
            trickle(request, b"x", 80)
        else:
            request.start(content_type="text/plain", connection="close")
            trickle(request, b"x", 80)

    with serving(answer) as server:
        error = refused(server.url, tmp_path, allow=HERE, timeout_s=0.3)
        assert "took longer than 0.3 s" in str(error)
        assert error.retryable
    assert len(trickled) < 80, "it was left before the server had ended"


def test_a_server_that_is_not_there(tmp_path):
    error = refused(f"http://127.0.0.1:{unused_port()}/", tmp_path, allow=HERE)
    assert "cannot be fetched: Connection refused" in str(error)
    assert error.retryable


def test_what_comes_compressed_unasked_is_refused(tmp_path):
    with serving(lambda request: request.answer(b"\x1f\x8b", content_encoding="gzip")) as server:
        assert "came compressed" in str(refused(server.url, tmp_path, allow=HERE))
