"""Reports without figures, for tests of studies that do not look at them: drawing takes longer than tiny runs.

As a program it is the command of rltransfer with that, and with runs that are scored in few episodes.
"""

import sys
from collections.abc import Iterator

import pytest

from rltransfer import report
from rltransfer.cli import main
from rltransfer.study import fork_server


@pytest.fixture(scope="module", autouse=True)
def no_figures() -> Iterator[None]:
    """Leaves figures out of the reports that the tests of a module write; the module imports this."""
    with pytest.MonkeyPatch.context() as patch:
        _leave_out(patch)
        yield


def _leave_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(report, "save_figures", lambda *_: ())


if __name__ == "__main__":
    _leave_out(pytest.MonkeyPatch())
    fork_server.PRELOADED.append("few_episodes")
    raise SystemExit(main(sys.argv[1:]))
