"""The warm interpreter behind `eval`: reads programs from descriptor 3, answers with JSON.

A question is a u32 length and that many bytes of code; length 0xffffffff asks for new seeds and is
answered with 32 hexadecimal digits. An answer is a u32 length and JSON. The namespace lives on from
question to question, as in a notebook.

A fresh child has to run all of this for the first time, on a processor that may be emulated. So there are plain reads
and writes, and a JSON put together from four texts, where other means would read better but run more code.
"""
import ast, builtins, io, json, math, os, random, re, signal, struct, sys, time, traceback
import collections, datetime, functools, itertools, subprocess, uuid

try:
    import numpy
except ImportError:
    numpy = None

MAX_ANSWER = 60 << 20
LINK = 3
os.set_inheritable(LINK, False)
quote = json.encoder.encode_basestring_ascii
evaluating = False
namespace = {"__name__": "__main__", "__builtins__": builtins}
for module in (math, json, os, random, re, sys, time, collections, datetime, functools, itertools, subprocess, uuid):
    namespace[module.__name__] = module
if numpy is not None:
    namespace["numpy"] = namespace["np"] = numpy


def numpy_key():
    """The state of numpy's global generator, 624 words and a position, as memory to write into: giving it a new
    seed by its own functions runs so much code for the first time that it is most of a fork's handshake."""
    import ctypes
    generator = numpy.random.mtrand._rand._bit_generator
    if type(generator).__name__ != "MT19937":
        return None
    return memoryview((ctypes.c_ubyte * (625 * 4)).from_address(generator.ctypes.state_address)).cast("B")


def numpy_spare():
    """Where that generator says that it has kept the second one of a pair of normal variates: four bytes, or None if
    they are not found. Looked for by means of a variate that is told from everything else in the object."""
    import ctypes
    generator, mark = numpy.random.mtrand._rand, 1.2345678901234567e-300
    before = generator.get_state(legacy=False)
    memory = memoryview((ctypes.c_ubyte * type(generator).__basicsize__).from_address(id(generator))).cast("B")
    generator.set_state({**before, "has_gauss": 1, "gauss": mark})
    at = bytes(memory).find(struct.pack("d", mark)) - 8
    spare = None
    if at >= 0 and memory[at:at + 4] == struct.pack("i", 1):
        spare = memory[at:at + 4]
        spare[:] = bytes(4)
        if generator.get_state(legacy=False)["has_gauss"] != 0:
            spare = None
    generator.set_state(before)
    return spare


key = numpy_key() if numpy is not None else None
spare = numpy_spare() if key is not None else None
KEY_USED_UP = struct.pack("I", 624)


def reseed(*_):
    random.seed(int.from_bytes(os.urandom(32), "little"))
    if numpy is not None:
        if spare is not None:
            key[:] = os.urandom(624 * 4) + KEY_USED_UP
            spare[:] = bytes(4)
        else:
            numpy.random.seed(list(os.urandom(32)))
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(32), 32.0)


def interrupt(*_):
    if evaluating:
        raise KeyboardInterrupt("interrupted")


def receive(size):
    parts = []
    while size:
        part = os.read(LINK, min(size, 1 << 20))
        if not part:
            os._exit(0)
        size -= len(part)
        if not size and not parts:
            return part
        parts.append(part)
    return b"".join(parts)


def answer(data):
    try:
        data = len(data).to_bytes(4, "little") + data
        while data:
            data = data[os.write(LINK, data):]
    except OSError:
        os._exit(0)  # a copy of the interpreter that code has forked, or nobody is there to ask again


def run(text):
    """The value of an expression, or of the last one of several statements."""
    try:
        return eval(compile(text, "<eval>", "eval"), namespace)
    except SyntaxError:
        pass
    tree = ast.parse(text, "<eval>", "exec")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<eval>", "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<eval>", "eval"), namespace)


def evaluate(text):
    global evaluating
    result = problem = trace = None
    printed = io.StringIO()
    real = sys.stdout, sys.stderr
    try:
        sys.stdout = sys.stderr = printed
        evaluating = True
        try:
            result = repr(run(text))
        finally:
            evaluating = False
    except BaseException as error:
        evaluating = False
        problem = "".join(traceback.format_exception_only(type(error), error)).strip()
        trace = traceback.format_exc()
    finally:
        sys.stdout, sys.stderr = real
    return result, problem, trace, printed.getvalue()


def encode(told):
    result, error, trace, printed = told
    data = '{"result":%s,"error":%s,"traceback":%s,"stdout":%s}' % (
        "null" if result is None else quote(result), "null" if error is None else quote(error),
        "null" if trace is None else quote(trace), quote(printed))
    data = data.encode()
    if len(data) <= MAX_ANSWER:
        return data
    return json.dumps({"result": None, "error": f"ResultTooLarge: {len(data)} bytes, the limit is {MAX_ANSWER}",
                       "traceback": None, "stdout": printed[:4096]}).encode()


def main():
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGUSR1, reseed)
    os.register_at_fork(after_in_child=lambda: os.close(LINK))
    hello = {"language": "python", "version": sys.version.split()[0]}
    if numpy is not None:
        hello["numpy"] = numpy.__version__
    answer(json.dumps(hello).encode())
    while True:
        size = int.from_bytes(receive(4), "little")
        if size == 0xFFFFFFFF:
            reseed()
            answer(b"%032x" % random.getrandbits(128))
            continue
        answer(encode(evaluate(receive(size).decode("utf-8", "replace"))))


main()
