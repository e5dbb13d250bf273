"""What the server does inside a Python kernel: results as clients know them, environments, new seeds."""

import os
import random
import sys

from IPython.core.formatters import BaseFormatter
from traitlets import ObjectName, Unicode

from identity import machine

_base, _undo = {}, []
_machine = None


class DataFormatter(BaseFormatter):
    """A table's columns."""

    format_type = Unicode("e2b/data")
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict

    def __call__(self, value):
        pandas = sys.modules.get("pandas")
        if pandas is None or not isinstance(value, pandas.DataFrame):
            return super().__call__(value)
        return {str(name): [plain(item) for item in value[name].tolist()] for name in value.columns}


class ChartFormatter(BaseFormatter):
    """What a figure shows, in numbers."""

    format_type = Unicode("e2b/chart")
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict

    def __call__(self, value):
        figures = sys.modules.get("matplotlib.figure")
        if figures is None or not isinstance(value, figures.Figure):
            return super().__call__(value)
        import charts

        return charts.chart_of(value)


def plain(item):
    """As JSON can have it."""
    if item is None or isinstance(item, (bool, int, str)):
        return item
    if isinstance(item, float):
        return item if item == item and item not in (float("inf"), float("-inf")) else None
    isoformat = getattr(item, "isoformat", None)
    return isoformat() if isoformat else str(item)


def begin(shell):
    global _machine
    _machine = machine()
    shell.events.register("pre_run_cell", lambda info: before(shell))
    shell.events.register("post_run_cell", lambda result: leave())
    formatters = shell.display_formatter.formatters
    for formatter in (DataFormatter(parent=shell.display_formatter), ChartFormatter(parent=shell.display_formatter)):
        formatters[formatter.format_type] = formatter
        shell.display_formatter.active_types = [*shell.display_formatter.active_types, formatter.format_type]
    backend = sys.modules.get("matplotlib_inline.backend_inline")
    if backend is not None:
        # It does so when it is imported, but then there was no shell yet.
        backend._enable_matplotlib_integration()


def before(shell):
    """Done with the request itself: one of its own would take as long again as what most of them ask for."""
    global _machine
    try:
        here = machine()
        if here != _machine:
            # A fork: what was drawn from the same seeds would be drawn in all of its siblings.
            reseed()
            _machine = here
        wish = shell.kernel.get_parent("shell")["metadata"].get("forkd") or {}
        environment = wish.get("environment")
        if environment is not None and environment != _base:
            set_environment(environment)
        if wish.get("env"):
            enter(wish["env"])
    except Exception:
        # Nothing may run that has its siblings' seeds; and here nobody would hear of it.
        os._exit(1)


def set_environment(env):
    """What every run has from now on."""
    for name in _base:
        os.environ.pop(name, None)
    _base.clear()
    _base.update(env)
    os.environ.update(env)


def enter(env):
    """What one run has."""
    _undo.append({name: os.environ.get(name) for name in env})
    os.environ.update(env)


def leave():
    while _undo:
        for name, value in _undo.pop().items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def reseed():
    """Generators that a fork has copied begin anew."""
    random.seed(int.from_bytes(os.urandom(32), "little"))
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
    ssl = sys.modules.get("ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)


def forget(shell):
    """The warm-up is over: nothing of it is to be seen."""
    shell.reset(new_session=True)
    shell.execution_count = 1
