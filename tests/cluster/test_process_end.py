"""The `pgcn` process: its output in a terminal's encoding, and its end."""

from tests.cluster.running import at_start, options, pgcn, write_photographs

ABORTS_AT_EXIT = """
import ctypes
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
"""


def test_characters_that_the_terminal_lacks_are_escaped(tmp_path):
    folder = write_photographs(tmp_path / "images", 1)
    next(folder.iterdir()).rename(folder / "ü.png")
    command = ["run", folder, "--out", tmp_path / "run", *options(), "--dry-run"]
    code, output = pgcn(*command, env={"PYTHONIOENCODING": "ascii"})
    assert code == 0, output
    assert r"\xfc.png" in output


def test_no_destructor_of_a_library_can_abort_a_process_that_is_done(tmp_path):
    """As a thread of Arrow does now and then: here an exit function of the C library always aborts."""
    code, output = pgcn("tasks", env=at_start(tmp_path / "plant", ABORTS_AT_EXIT, "pgcn"))
    assert code == 0, output
    assert "superres" in output
    assert pgcn("tasks", "unknown", env={})[0] == 2
