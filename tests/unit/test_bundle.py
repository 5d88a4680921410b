"""The replay bundle: the same bytes each time, and refused whole when a byte of it is not as written."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oa_compile.artifact import bundle as subject
from oa_compile.artifact.bundle import INDEX, open_bundle, write_bundle
from oa_compile.artifact.folder import RunFolder
from oa_compile.digest import digest_bytes
from oa_compile.errors import DigestMismatch, ExitCode, UsageError
from tests.support.world import make_config, new_run, run

Entries = dict[str, bytes]
SEAL = 71


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run."""
    config = make_config(optimizer__name="copro", optimizer__copro={"breadth": 2, "depth": 1})
    folder = new_run(tmp_path_factory.mktemp("made"), config=config, sizes=(4, 4, 2))
    assert run(folder).status == "complete"
    return folder


@pytest.fixture
def nest(tmp_path: Path) -> Path:
    """A folder with one place to unpack into; what appears beside it leaked."""
    (tmp_path / "nest" / "inner").mkdir(parents=True)
    return tmp_path / "nest"


def sealed(body: bytes) -> bytes:
    return body + digest_bytes(body).encode()


def unpacked(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries: list[tuple[str, bytes]], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with a right seal, whatever is in it: what someone who knows the format would make."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compress_type=method)
        archive.comment = bytes(SEAL)
    return sealed(buffer.getvalue()[:-SEAL])


def listed(entries: Entries) -> Entries:
    """`entries` with an index that agrees with them."""
    index = json.loads(entries[INDEX])
    inside = {name: data for name, data in sorted(entries.items()) if name != INDEX}
    index["entries"] = [
        {"name": name, "digest": digest_bytes(data), "size": len(data)} for name, data in inside.items()
    ]
    text = json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False)
    return {INDEX: text.encode() + b"\n", **inside}


def refused(data: bytes, nest: Path) -> DigestMismatch:
    """Open `data` as a bundle; it must be refused, and nothing may be left of it anywhere."""
    path = nest / "bundle.zip"
    path.write_bytes(data)
    with pytest.raises(DigestMismatch) as caught:
        open_bundle(path, nest / "inner" / "opened")
    assert caught.value.exit_code == ExitCode.MISMATCH
    assert str(path) in caught.value.message or "opened" in caught.value.message
    assert sorted(p.name for p in nest.rglob("*")) == ["bundle.zip", "inner"]
    assert [p.name for p in nest.parent.iterdir()] == ["nest"]
    return caught.value


# -- as written ------------------------------------------------------------------------------------


def test_what_goes_in_comes_out(made: RunFolder, tmp_path: Path) -> None:
    opened = open_bundle(made.bundle, tmp_path / "opened")
    inside = {p.relative_to(opened.path): p.read_bytes() for p in opened.path.rglob("*") if p.is_file()}
    assert set(inside) == {Path(name) for name in unpacked(made.bundle)} - {Path(INDEX)}
    assert all((made.path / name).read_bytes() == data for name, data in inside.items())
    assert Path("journal.jsonl") in inside
    assert not any("test" in name.name or name.name == "origin.json" for name in inside)
    assert [p.name for p in tmp_path.iterdir()] == ["opened"], "no staging folder is left"


def test_the_same_run_gives_the_same_bytes(made: RunFolder, tmp_path: Path) -> None:
    before = made.bundle.read_bytes()
    moved = RunFolder(shutil.copytree(made.path, tmp_path / "elsewhere"))
    for path in moved.path.rglob("*"):
        path.touch()
    (moved.artifact / ".manifest.json.part").write_bytes(b"a write that a killed process did not end")
    digest = write_bundle(moved)
    assert moved.bundle.read_bytes() == before
    assert digest == digest_bytes(unpacked(moved.bundle)[INDEX])


def test_a_bundle_taken_apart_and_put_together_is_the_bundle(made: RunFolder, nest: Path) -> None:
    """The tests below change one thing; this one holds that they change nothing else."""
    (nest / "same.zip").write_bytes(packed(list(listed(unpacked(made.bundle)).items())))
    assert open_bundle(nest / "same.zip", nest / "inner" / "opened").journal.is_file()


def test_any_zip_reader_opens_it(made: RunFolder) -> None:
    with zipfile.ZipFile(made.bundle) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == INDEX


def test_no_file_and_a_taken_place_are_usage(made: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such bundle"):
        open_bundle(tmp_path / "none.zip", tmp_path / "opened")
    (tmp_path / "opened").mkdir()
    (tmp_path / "opened" / "mine").write_text("kept")
    with pytest.raises(UsageError, match="exists already"):
        open_bundle(made.bundle, tmp_path / "opened")
    assert (tmp_path / "opened" / "mine").read_text() == "kept"


def test_a_place_that_cannot_be_written_is_usage_not_a_bad_bundle(made: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match="cannot unpack"):
        open_bundle(made.bundle, tmp_path / "file" / "opened")


# -- damaged ---------------------------------------------------------------------------------------


def test_a_changed_byte_anywhere_is_noticed(made: RunFolder, nest: Path) -> None:
    """Not sampled: headers, dates, padding bits and the seal itself are in there somewhere."""
    whole = made.bundle.read_bytes()
    data = bytearray(whole)
    path = nest / "bundle.zip"
    for place in range(len(data)):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(DigestMismatch):
            open_bundle(path, nest / "inner" / "opened")
        data[place] = whole[place]
    assert list((nest / "inner").iterdir()) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_short_anywhere_it_is_refused(made: RunFolder, nest: Path, share: float) -> None:
    data = made.bundle.read_bytes()
    refused(data[: int(share * len(data))], nest)


def test_bytes_added_at_either_end_are_noticed(made: RunFolder, nest: Path) -> None:
    data = made.bundle.read_bytes()
    refused(data + b"\n", nest)
    refused(b"\n" + data, nest)


def test_what_is_no_zip_at_all(nest: Path) -> None:
    for data in (b"", b"PK", b"not a zip", sealed(b""), sealed(b"not a zip" * 50)):
        refused(data, nest)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_under_a_right_seal_is_refused_or_changes_nothing(
    made: RunFolder, nest: Path, data: st.DataObject
) -> None:
    """Whoever can seal anew can write any bytes: no error of a zip reader may get through, and what
    opens is what was recorded.
    """
    body = bytearray(made.bundle.read_bytes()[:-SEAL])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    (nest / "bundle.zip").write_bytes(sealed(bytes(body)))
    target = nest / "inner" / "opened"
    try:
        opened = open_bundle(nest / "bundle.zip", target)
    except DigestMismatch:
        assert not target.exists()
        return
    entries = unpacked(made.bundle)
    assert all((opened.path / name).read_bytes() == entries[name] for name in entries if name != INDEX)
    shutil.rmtree(target)


# -- forged ----------------------------------------------------------------------------------------


def renamed(entries: Entries, old: str, new: str) -> Entries:
    return {(new if name == old else name): data for name, data in entries.items()}


FORGERIES: dict[str, tuple[Callable[[Entries], Entries], str]] = {
    "a changed entry": (lambda e: {**e, "journal.jsonl": e["journal.jsonl"] + b"\n"}, "was changed"),
    "an added entry": (
        lambda e: {INDEX: e[INDEX], **dict(sorted({**e, "inputs/more.txt": b"more"}.items()))},
        "not those its index lists",
    ),
    "a removed entry": (
        lambda e: {name: data for name, data in e.items() if name != "inputs/dataset/val.jsonl"},
        "not those its index lists",
    ),
    "a renamed entry": (
        lambda e: renamed(e, "inputs/dataset/val.jsonl", "inputs/dataset/val2.jsonl"),
        "not those its index lists",
    ),
    "no journal": (
        lambda e: listed({n: d for n, d in e.items() if n != "journal.jsonl"}),
        "lacks journal.jsonl",
    ),
    "no artifact": (
        lambda e: listed({n: d for n, d in e.items() if not n.startswith("artifact/")}),
        "lacks artifact/manifest.json, artifact/program.json",
    ),
    "an artifact of another digest": (
        lambda e: listed({**e, "artifact/program.json": e["artifact/program.json"] + b" "}),
        "not the program that manifest.json names",
    ),
    "a journal that is none": (lambda e: listed({**e, "journal.jsonl": b"{}\n"}), "not a journal line"),
    "an empty journal": (lambda e: listed({**e, "journal.jsonl": b""}), "does not begin with run_started"),
    "an index that is no JSON": (lambda e: {**e, INDEX: b"{"}, "index does not hold"),
    "an index that is a list": (lambda e: {**e, INDEX: b"[]"}, "index does not hold"),
    "an index without digests": (
        lambda e: {**e, INDEX: e[INDEX].replace(b'"digest"', b'"hash"')},
        "index does not hold",
    ),
    "an index too deep to read": (lambda e: {**e, INDEX: b"[" * 200_000}, "index does not hold"),
    "another run's name": (
        lambda e: {**e, INDEX: e[INDEX].replace(b'"run": "run"', b'"run": "other"')},
        "index was changed",
    ),
    "another way to write the index": (lambda e: {**e, INDEX: e[INDEX] + b" "}, "index was changed"),
    "another format": (lambda e: {**e, INDEX: e[INDEX].replace(b"bundle.v1", b"bundle.v9")}, "not known"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_refused_and_said(made: RunFolder, nest: Path, forgery: str) -> None:
    forge, said = FORGERIES[forgery]
    assert said in refused(packed(list(forge(unpacked(made.bundle)).items())), nest).message


@pytest.mark.parametrize("digest", ["artifact", "entry"])
def test_an_edited_digest_in_the_index_is_refused(made: RunFolder, nest: Path, digest: str) -> None:
    entries = unpacked(made.bundle)
    index: dict[str, Any] = json.loads(entries[INDEX])
    holder = index if digest == "artifact" else index["entries"][0]
    holder["artifact" if digest == "artifact" else "digest"] = "sha256:" + "0" * 64
    entries[INDEX] = json.dumps(index, indent=2, sort_keys=True).encode() + b"\n"
    refused(packed(list(entries.items())), nest)


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "inputs/../../escaped",
        "inputs/../journal.jsonl",
        "/tmp/oacompile-escaped",
        "//inputs/x",
        "inputs//x",
        "inputs/./x",
        "inputs/",
        "inputs",
        "inputs/a\\..\\x",
        "inputs/a\nb",
        "inputs/" + "x" * 256,
        "inputs/config.json/x",
        "artifact",
        "origin.json",
        "bundle.zip",
        ".bashrc",
        "",
    ],
)
def test_an_entry_that_leads_elsewhere_is_refused(made: RunFolder, nest: Path, name: str) -> None:
    entries = listed({**unpacked(made.bundle), name: b"evil"})
    assert "has no place in a bundle" in refused(packed(list(entries.items())), nest).message
    assert not Path("/tmp/oacompile-escaped").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_twice_or_out_of_order_are_refused(made: RunFolder, nest: Path) -> None:
    entries = list(unpacked(made.bundle).items())
    for forged in ([*entries, entries[-1]], [*entries, entries[0]], entries[1:], entries[::-1], []):
        refused(packed(forged), nest)


def test_a_link_is_unpacked_as_no_link(made: RunFolder, nest: Path) -> None:
    """Entries are files, whatever their mode says."""
    entries = listed({**unpacked(made.bundle), "inputs/link": b"/etc/passwd"})
    data = bytearray(packed(list(entries.items()))[:-SEAL])
    place = data.rindex(b"inputs/link") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 38 : place + 42] = struct.pack("<L", 0o120777 << 16)
    (nest / "bundle.zip").write_bytes(sealed(bytes(data)))
    opened = open_bundle(nest / "bundle.zip", nest / "inner" / "opened")
    assert not (opened.inputs / "link").is_symlink()
    assert (opened.inputs / "link").read_bytes() == b"/etc/passwd"


# -- sizes -----------------------------------------------------------------------------------------


def test_more_than_may_be_unpacked_is_refused_unread(
    made: RunFolder, nest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = listed({**unpacked(made.bundle), "inputs/zeros": bytes(3_000_000)})
    data = packed(list(entries.items()))
    assert len(data) < 100_000, "it is small until it is opened"
    monkeypatch.setattr(subject, "MAX_TOTAL", 2_000_000)
    assert "would unpack to more than 2,000,000 bytes" in refused(data, nest).message


def test_a_huge_index_is_refused_unread(made: RunFolder, nest: Path) -> None:
    entries = unpacked(made.bundle)
    entries[INDEX] += b" " * subject.MAX_INDEX
    assert "of index" in refused(packed(list(entries.items())), nest).message


def test_more_entries_than_may_be_are_refused(made: RunFolder, nest: Path) -> None:
    many = {f"inputs/{number:04}": b"" for number in range(subject.MAX_ENTRIES)}
    entries = listed({**unpacked(made.bundle), **many})
    assert "at most 1000 entries" in refused(packed(list(entries.items())), nest).message


@pytest.mark.parametrize("lie", [0, 1, 0xFFFFFFFE])
def test_a_size_that_is_not_the_content_s_is_refused(made: RunFolder, nest: Path, lie: int) -> None:
    """The directory at the zip's end says how much an entry unpacks to; the stream may say otherwise."""
    data = bytearray(made.bundle.read_bytes()[:-SEAL])
    place = data.rindex(b"journal.jsonl") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 24 : place + 28] = struct.pack("<L", lie)
    refused(sealed(bytes(data)), nest)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_packing_is_refused(made: RunFolder, nest: Path, method: int) -> None:
    data = packed(list(unpacked(made.bundle).items()), method=method)
    assert "is not packed as a bundle's are" in refused(data, nest).message


def test_a_stream_that_does_not_unpack_is_refused(made: RunFolder, nest: Path) -> None:
    data = bytearray(made.bundle.read_bytes()[:-SEAL])
    place = data.index(b"journal.jsonl") + len(b"journal.jsonl")
    data[place] |= 0b110  # the first block's kind: one there is not
    assert "not a whole bundle" in refused(sealed(bytes(data)), nest).message


def test_an_encrypted_entry_is_refused(made: RunFolder, nest: Path) -> None:
    data = bytearray(made.bundle.read_bytes()[:-SEAL])
    for place in (data.index(b"journal.jsonl") - 30 + 6, data.rindex(b"journal.jsonl") - 46 + 8):
        data[place] |= 1
    refused(sealed(bytes(data)), nest)
