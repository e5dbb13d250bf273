import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { CommandExitError, InvalidArgumentError, NotFoundError, TimeoutError } from 'e2b'
import { LIMIT, sandbox, until } from './lab.mjs'

let box
before(async () => {
  box = await sandbox()
})

test('a command has its output, its errors, its status', LIMIT, async () => {
  const heard = []
  const result = await box.commands.run('echo out; echo err >&2', { onStdout: (data) => heard.push(['out', data]), onStderr: (data) => heard.push(['err', data]) })
  assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['out\n', 'err\n', 0])
  assert.deepEqual(heard.sort(), [['err', 'err\n'], ['out', 'out\n']])
  await assert.rejects(box.commands.run('echo sorry >&2; exit 7'), (error) => {
    assert.ok(error instanceof CommandExitError)
    assert.deepEqual([error.exitCode, error.stderr], [7, 'sorry\n'])
    return true
  })
})

test('user, folder and environment are as asked', LIMIT, async () => {
  assert.equal((await box.commands.run('id -un; pwd; echo $HOME')).stdout, 'user\n/home/user\n/home/user\n')
  assert.equal((await box.commands.run('id -un; pwd', { user: 'root' })).stdout, 'root\n/root\n')
  assert.equal((await box.commands.run('pwd; echo $A', { cwd: '/tmp', envs: { A: 'b c' } })).stdout, '/tmp\nb c\n')
  assert.equal((await box.commands.run('sudo id -un')).stdout, 'root\n')
  await assert.rejects(box.commands.run('true', { cwd: '/nowhere' }), (error) => error instanceof InvalidArgumentError && /cwd '\/nowhere' does not exist/.test(error.message))
  await assert.rejects(box.commands.run('true', { user: 'nobody-here' }), /invalid username: 'nobody-here'/)
})

test('unicode, binary and long lines arrive as they were written', LIMIT, async () => {
  assert.equal((await box.commands.run('printf "žluťoučký 🐎"')).stdout, 'žluťoučký 🐎')
  const result = await box.commands.run('head -c 3000000 /dev/zero | tr "\\0" x')
  assert.equal(result.stdout.length, 3_000_000)
})

test('a line of 100 MiB arrives whole, at once or in pieces', LIMIT, async () => {
  const box = await sandbox()
  const long = "head -c 104857600 /dev/zero | tr '\\0' x"
  const whole = await box.commands.run(`${long}; echo; echo end`, { timeoutMs: 0 })
  assert.equal(whole.stdout.length, 104857600 + 5)
  assert.ok(whole.stdout.endsWith('x\nend\n'))
  let pieces = 0
  let largest = 0
  await box.commands.run(long, {
    timeoutMs: 0,
    onStdout: (text) => {
      pieces += text.length
      largest = Math.max(largest, text.length)
    },
  })
  assert.equal(pieces, 104857600)
  assert.ok(largest < 8 << 20, `a piece of ${largest} bytes: nobody holds the line in memory`)
})

test('a background command is listed, connected to, fed and killed', LIMIT, async () => {
  assert.equal(box.commands.supportsStdinClose, true)
  const handle = await box.commands.run('cat', { background: true, stdin: true })
  assert.ok((await box.commands.list()).some((process) => process.pid === handle.pid && process.args.includes('cat')))
  const heard = []
  const other = await box.commands.connect(handle.pid, { onStdout: (data) => heard.push(data) })
  await handle.sendStdin('one\n')
  await box.commands.sendStdin(handle.pid, 'two\n')
  await until('both hear it', () => handle.stdout === 'one\ntwo\n' && heard.join('') === 'one\ntwo\n')
  await other.disconnect()
  await box.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).exitCode, 0)
  const sleeper = await box.commands.run('sleep 100', { background: true })
  const ended = assert.rejects(sleeper.wait(), CommandExitError)
  assert.equal(await sleeper.kill(), true)
  await ended
  assert.equal(await box.commands.kill(sleeper.pid), false)
  await assert.rejects(box.commands.connect(999_999), NotFoundError)
})

test('a client that leaves does not end what it began', LIMIT, async () => {
  const handle = await box.commands.run('sleep 0.6; echo done >/tmp/left', { background: true, timeoutMs: 0 })
  await handle.disconnect()
  await until('it goes on', () => box.files.exists('/tmp/left'))
})

test('a command that takes too long is killed', LIMIT, async () => {
  const begin = Date.now()
  await assert.rejects(box.commands.run('sleep 100; echo late >/tmp/late', { timeoutMs: 1000 }), TimeoutError)
  assert.ok(Date.now() - begin < 60_000)
  await until('it is gone', async () => !(await box.commands.list()).some((process) => process.args.join(' ').includes('late')))
})

test('a child that keeps the pipes open does not keep the command', LIMIT, async () => {
  const begin = Date.now()
  await box.commands.run('setsid sleep 100 & true')
  assert.ok(Date.now() - begin < 60_000)
})

test('a hundred commands at once each have their own output', { timeout: 180_000 }, async () => {
  const results = await Promise.all(Array.from({ length: 100 }, (_, i) => box.commands.run(`echo ${i}`, { timeoutMs: 150_000 })))
  assert.deepEqual(results.map((result) => result.stdout), Array.from({ length: 100 }, (_, i) => `${i}\n`))
})

test('output comes while the command runs', LIMIT, async () => {
  const heard = []
  const command = 'echo first; until [ -e /tmp/go ]; do sleep 0.1; done; echo second'
  const handle = await box.commands.run(command, { background: true, onStdout: (data) => void heard.push(data) })
  await until('the first is heard', () => heard.length > 0)
  assert.deepEqual(heard, ['first\n'])
  await box.files.write('/tmp/go', '')
  await handle.wait()
  assert.deepEqual(heard, ['first\n', 'second\n'])
})

test('a terminal is one: size, resize, input, colours, its end', LIMIT, async () => {
  let seen = ''
  const terminal = await box.pty.create({ cols: 80, rows: 24, onData: (data) => void (seen += new TextDecoder().decode(data)) })
  const type = (text) => box.pty.sendInput(terminal.pid, new TextEncoder().encode(text))
  await type('stty size; tty; echo $TERM\n')
  await until('its size', () => /24 80\r\n\/dev\/pts\/\d+\r\nxterm-256color/.test(seen))
  await box.pty.resize(terminal.pid, { cols: 120, rows: 40 })
  await type('stty size\n')
  await until('its new size', () => /40 120/.test(seen))
  let other = ''
  const second = await box.pty.connect(terminal.pid, { onData: (data) => void (other += new TextDecoder().decode(data)) })
  await type('echo to-$((20+2))\n')
  await until('both see it', () => seen.includes('to-22') && other.includes('to-22'))
  await second.disconnect()
  await type('exit 3\n')
  await assert.rejects(terminal.wait(), (error) => error.exitCode === 3)
  const another = await box.pty.create({ cols: 20, rows: 5, onData: () => {} })
  const ended = another.wait().catch(() => {})
  assert.equal(await box.pty.kill(another.pid), true)
  await ended
  assert.equal(await box.pty.kill(another.pid), false)
})
