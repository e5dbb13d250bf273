import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Sandbox } from '@e2b/code-interpreter'
import { LIMIT } from './lab.mjs'

let box
before(async () => {
  box = await Sandbox.create({ timeoutMs: 600_000, envs: { FROM: 'the sandbox' } })
}, { timeout: 180_000 })
after(async () => {
  await box?.kill()
})

test('python: values, state, output, errors', LIMIT, async () => {
  const first = await box.runCode('x = 41\nx + 1')
  assert.deepEqual([first.text, first.executionCount, first.error], ['42', 1, undefined])
  assert.equal((await box.runCode('"it is " + str(x)')).text, 'it is 41')
  const heard = { out: '', err: '' }
  const printed = await box.runCode('import sys\nprint("out")\nprint("err", file=sys.stderr)', {
    onStdout: (message) => (heard.out += message.line),
    onStderr: (message) => (heard.err += message.line),
  })
  assert.deepEqual([printed.logs.stdout.join(''), printed.logs.stderr.join('')], ['out\n', 'err\n'])
  assert.deepEqual(heard, { out: 'out\n', err: 'err\n' })
  const failed = await box.runCode('1 / 0')
  assert.deepEqual([failed.error.name, failed.error.value], ['ZeroDivisionError', 'division by zero'])
  assert.match(failed.error.traceback.replace(/\x1b\[[0-9;]*m/g, ""), /1 \/ 0/)
})

test('the sandbox environment is there, that of a run only in it', LIMIT, async () => {
  const code = 'import os\n(os.environ.get("FROM"), os.environ.get("MINE"), os.environ.get("E2B_SANDBOX_ID"))'
  assert.equal((await box.runCode(code, { envs: { MINE: 'the run' } })).text, `('the sandbox', 'the run', '${box.sandboxId}')`)
  assert.equal((await box.runCode(code)).text, `('the sandbox', None, '${box.sandboxId}')`)
})

test('a figure is a picture and its numbers, a table is its columns', LIMIT, async () => {
  const plot = await box.runCode('import matplotlib.pyplot as plt\nplt.plot([1, 2, 3], [4, 5, 6], label="line")\nplt.title("T")\nplt.xlabel("t (s)")\nplt.show()')
  const figure = plot.results[0]
  assert.ok(figure.png.startsWith('iVBOR'))
  assert.deepEqual([figure.chart.type, figure.chart.title, figure.chart.x_unit], ['line', 'T', 's'])
  assert.deepEqual(figure.chart.elements, [{ label: 'line', points: [[1, 4], [2, 5], [3, 6]] }])
  const bars = (await box.runCode('plt.bar(["a", "b"], [3, 4])\nplt.show()')).results[0].chart
  assert.deepEqual(bars.elements.map(({ label, value }) => [label, value]), [['a', 3], ['b', 4]])
  const table = await box.runCode('import pandas as pd\npd.DataFrame({"a": [1, 2], "b": ["x", "y"]})')
  assert.deepEqual(table.results[0].data, { a: [1, 2], b: ['x', 'y'] })
  assert.match(table.results[0].html, /<table/)
  const shown = await box.runCode('from IPython.display import HTML, JSON, Latex, Markdown, SVG, display\ndisplay(HTML("<b>x</b>"), JSON({"a": 1}), Latex("$x$"), Markdown("# x"), SVG("<svg xmlns=\'http://www.w3.org/2000/svg\'/>"))')
  assert.deepEqual(shown.results.map((result) => result.formats()[0]), ['html', 'json', 'latex', 'markdown', 'svg'])
})

test('contexts are apart from each other', LIMIT, async () => {
  const context = await box.createCodeContext({ cwd: '/tmp' })
  assert.equal((await box.runCode('import os\ny = 1\nos.getcwd()', { context })).text, '/tmp')
  assert.equal((await box.runCode('y')).error.name, 'NameError')
  assert.ok((await box.listCodeContexts()).some((one) => one.id === context.id))
  await box.restartCodeContext(context)
  assert.equal((await box.runCode('y', { context })).error.name, 'NameError')
  const both = await Promise.all([box.runCode('import time\ntime.sleep(1)\n1', { context }), box.runCode('2')])
  assert.deepEqual(both.map((run) => run.text), ['1', '2'])
  await box.removeCodeContext(context)
  await assert.rejects(box.runCode('1', { context }), /not found/)
})

test('what takes too long is interrupted and does not hold up the next', LIMIT, async () => {
  await assert.rejects(box.runCode('import time\ntime.sleep(60)', { timeoutMs: 1500 }), /timed out/i)
  assert.equal((await box.runCode('"free"')).text, 'free')
  await assert.rejects(box.runCode('while (true) {}', { language: 'javascript', timeoutMs: 1500 }), /timed out/i)
  assert.equal((await box.runCode('"free"', { language: 'javascript' })).text, 'free')
})

test('what does not heed an interrupt is replaced, and the next run is told', { timeout: 180_000 }, async () => {
  for (const [language, code, next] of [
    ['bash', "trap '' INT; while :; do :; done", 'echo free'],
    ['javascript', 'await null; while (true) {}', 'console.log("free")'],
    ['java', 'sun.misc.Signal.handle(new sun.misc.Signal("INT"), signal -> {});\nwhile (true) { }', 'System.out.println("free");'],
  ]) {
    await assert.rejects(box.runCode(code, { language, timeoutMs: 2000 }), /timed out/i)
    const run = await box.runCode(next, { language })
    assert.equal(run.logs.stdout.join(''), 'free\n', language)
    assert.match(run.logs.stderr.join(''), /what it held is lost/, language)
  }
})

test('what child processes print is the output of the run', LIMIT, async () => {
  const run = (code, language) => box.runCode(code, { language })
  const child = await run("require('child_process').spawnSync('echo', ['hi'], { stdio: 'inherit' }); 1", 'javascript')
  assert.deepEqual([child.logs.stdout.join(''), child.text], ['hi\n', '1'])
  assert.equal((await run('2 + 2', 'javascript')).text, '4')
  assert.equal((await run('new ProcessBuilder("echo", "hi").inheritIO().start().waitFor();', 'java')).logs.stdout.join(''), 'hi\n')
  assert.equal((await run('2 + 2', 'java')).text, '4')
  assert.equal((await run('!echo hi', 'python')).logs.stdout.join('').trim(), 'hi')
  assert.equal((await run('import os\n_ = os.system("echo hi")', 'python')).logs.stdout.join(''), 'hi\n')
})

test('much output is whole', LIMIT, async () => {
  let size = 0
  const run = await box.runCode('for _ in range(20): print("0123456789abcdef" * 65536)', { onStdout: (message) => (size += message.line.length) })
  assert.deepEqual([size, run.logs.stdout.join('').length], [20 * ((1 << 20) + 1), 20 * ((1 << 20) + 1)])
})

test('an environment as large as it may be', LIMIT, async () => {
  const large = await Sandbox.create({ timeoutMs: 120_000, envs: { LARGE: 'x'.repeat(100_000) } })
  try {
    assert.equal((await large.runCode('import os\nlen(os.environ["LARGE"])')).text, '100000')
  } finally {
    await large.kill()
  }
})

test('a server that is killed is started again', { timeout: 180_000 }, async () => {
  const other = await Sandbox.create({ timeoutMs: 120_000 })
  try {
    await other.commands.run('pkill python3', { timeoutMs: 60_000 })
    for (let text; text !== '42'; ) text = (await other.runCode('6 * 7').catch(() => new Promise((later) => setTimeout(later, 500, {})))).text
  } finally {
    await other.kill()
  }
})

test('a kernel that dies is told and replaced', LIMIT, async () => {
  const context = await box.createCodeContext()
  assert.equal((await box.runCode('import os\nos._exit(3)', { context })).error.name, 'KernelDied')
  assert.equal((await box.runCode('1 + 1', { context })).text, '2')
})

test('javascript: values, state, await, output, errors', LIMIT, async () => {
  const run = (code) => box.runCode(code, { language: 'javascript' })
  assert.equal((await run('const list = [1, 2, 3].map((n) => n * 2)\nlist')).results[0].json.join(), '2,4,6')
  assert.equal((await run('await Promise.resolve(list.length)')).text, '3')
  const { stdout, stderr } = (await run('console.log("out"); console.error("err")')).logs
  assert.deepEqual([stdout.join(''), stderr.join('')], ['out\n', 'err\n'])
  assert.equal((await run('throw new TypeError("bad")')).error.name, 'TypeError')
})

test('bash: state, output, status', LIMIT, async () => {
  const run = (code) => box.runCode(code, { language: 'bash' })
  await run('cd /tmp; V=kept')
  assert.equal((await run('pwd; echo $V')).logs.stdout.join(''), '/tmp\nkept\n')
  assert.deepEqual([(await run('false')).error.name, (await run('exit 3')).error.name], ['ExitStatus', 'ShellExit'])
})

test('java: values, state, output, errors', LIMIT, async () => {
  const run = (code) => box.runCode(code, { language: 'java' })
  assert.equal((await run('int x = 5;\nx * 2')).text, '10')
  assert.equal((await run('record Point(int x, int y) {}\nSystem.out.println("hi");\nnew Point(x, 1)')).text, 'Point[x=5, y=1]')
  assert.equal((await run('int y = "text";')).error.name, 'CompilationError')
  assert.equal((await run('throw new IllegalStateException("bad")')).error.name, 'IllegalStateException')
})

test('forks go on with the state of the kernel, and do not draw the same numbers', { timeout: 180_000 }, async () => {
  await box.runCode('z = "from before"\nimport random\nimport numpy')
  const forks = await box.fork({ count: 2 })
  const drawn = await Promise.all(
    forks.map(async (fork) => {
      const run = await fork.runCode('z, random.random(), numpy.random.rand()')
      const script = await fork.runCode('Math.random()', { language: 'javascript' })
      await fork.kill()
      assert.ok(run.text.startsWith("('from before'"))
      return `${run.text} ${script.text}`
    }),
  )
  const numbers = drawn.flatMap((text) => text.match(/0\.\d+/g))
  assert.equal(new Set(numbers).size, 6, drawn.join('\n'))
})
