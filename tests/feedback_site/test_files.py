"""Files are whole or not there, and paths stay where they belong."""

import hashlib

import pytest

from feedback_site.lib.files import chunks_of, file_sha256, resolve_below, whole_file, write_chunks


def test_a_stream_is_written_with_its_size_and_sum(tmp_path):
    path = tmp_path / "deep" / "file"
    written = write_chunks(path, [b"one", b"", b"two"])
    assert path.read_bytes() == b"onetwo"
    assert (written.bytes, written.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert file_sha256(path) == written.sha256
    with path.open("rb") as stream:
        assert list(chunks_of(stream, 4)) == [b"onet", b"wo"]


def test_a_writing_that_fails_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"old")

    def breaks():
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_chunks(path, breaks())
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_nobody_sees_a_file_before_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with whole_file(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("name", ["..", "../x", "/etc/passwd", "a/../../x", "", ".", "link/x"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    with pytest.raises(ValueError, match="does not lie below"):
        resolve_below(root, name)


def test_paths_below_are_resolved(tmp_path):
    assert resolve_below(tmp_path, "a/../b") == (tmp_path / "b").resolve()
