"""The warm interpreter behind `eval`: reads programs from descriptor 3, answers with JSON.

A question is a u32 length and that many bytes of code; length 0xffffffff asks for new seeds and is
answered with 32 hexadecimal digits. An answer is a u32 length and JSON. The namespace lives on from
question to question, as in a notebook.
"""
import ast, builtins, io, json, math, os, random, re, signal, socket, struct, sys, time, traceback
import collections, datetime, functools, itertools, subprocess, uuid

try:
    import numpy
except ImportError:
    numpy = None

MAX_ANSWER = 60 << 20
link = socket.socket(fileno=3)
link.set_inheritable(False)
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


key = numpy_key() if numpy is not None else None
KEY_USED_UP = struct.pack("I", 624)


def reseed(*_):
    random.seed(int.from_bytes(os.urandom(32), "little"))
    if numpy is not None:
        numpy.random.seed(0)  # also drops the normal variate it may have kept
        if key is not None:
            key[:] = os.urandom(624 * 4) + KEY_USED_UP
        else:
            numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(32), 32.0)


def interrupt(*_):
    if evaluating:
        raise KeyboardInterrupt("interrupted")


def receive(size):
    parts = []
    while size:
        part = link.recv(min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def answer(data):
    try:
        link.sendall(struct.pack("<I", len(data)) + data)
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
    told = {"result": None, "error": None, "traceback": None, "stdout": ""}
    printed = io.StringIO()
    real = sys.stdout, sys.stderr
    try:
        sys.stdout = sys.stderr = printed
        evaluating = True
        try:
            told["result"] = repr(run(text))
        finally:
            evaluating = False
    except BaseException as error:
        evaluating = False
        told["error"] = "".join(traceback.format_exception_only(type(error), error)).strip()
        told["traceback"] = traceback.format_exc()
    finally:
        sys.stdout, sys.stderr = real
    told["stdout"] = printed.getvalue()
    return told


def encode(told):
    data = json.dumps(told).encode()
    if len(data) <= MAX_ANSWER:
        return data
    return json.dumps({"result": None, "error": f"ResultTooLarge: {len(data)} bytes, the limit is {MAX_ANSWER}",
                       "traceback": None, "stdout": told["stdout"][:4096]}).encode()


def main():
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGUSR1, reseed)
    os.register_at_fork(after_in_child=link.close)
    hello = {"language": "python", "version": sys.version.split()[0]}
    if numpy is not None:
        hello["numpy"] = numpy.__version__
    answer(json.dumps(hello).encode())
    while True:
        size, = struct.unpack("<I", receive(4))
        if size == 0xFFFFFFFF:
            reseed()
            answer(b"%032x" % random.getrandbits(128))
            continue
        answer(encode(evaluate(receive(size).decode("utf-8", "replace"))))


main()
