// What E2B's published SDK sees: a line of JSON for each measurement, {series, x, value} or {series, x, failed}.
// node measure.mjs ROUNDS MIB POOL_URL TOKEN DAEMON_PID; E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY say where the server is.
import { execFileSync } from 'node:child_process'
import { Sandbox } from '@e2b/code-interpreter'

const [rounds, mib, url, token, daemon] = [Number(process.argv[2]), Number(process.argv[3]), ...process.argv.slice(4)]
const say = (series, x, value) => console.log(JSON.stringify({ series, x, value }))
const sleep = (millis) => new Promise((done) => setTimeout(done, millis))

async function timed(series, x, work) {
  const begin = performance.now()
  try {
    const result = await work()
    say(series, x, performance.now() - begin)
    return result
  } catch (error) {
    console.log(JSON.stringify({ series, x, failed: String(error) }))
    throw error
  }
}

async function pool(template, size) {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }
  const path = `${url}/v1/snapshots/${template}/pool`
  await fetch(path, { method: 'PUT', headers, body: JSON.stringify({ size, prewarm: true }) })
  for (let i = 0; size && i < 1200; i++) {
    if ((await (await fetch(path, { headers })).json()).ready >= size) return
    await sleep(50)
  }
}

async function lives(way, template, first, prepare) {
  for (let i = 0; i < rounds; i++) {
    await prepare()
    const box = await timed('e2b-create', `${template}, ${way}`, () => Sandbox.create(template, { timeoutMs: 600_000 }))
    await timed('e2b-first', `${first.name}, ${way}`, () => first.run(box))
    await box.kill()
  }
}

const command = { name: "commands.run('true')", run: (box) => box.commands.run('true') }
const code = { name: "runCode('1+1')", run: (box) => box.runCode('1+1') }
for (const template of ['base', 'code-interpreter-v1']) {
  const box = await Sandbox.create(template) // the zygote is made; not measured
  await box.commands.run('true')
  await box.kill()
}
await sleep(3000)
await lives('no pool', 'base', command, () => {})
await lives('no pool', 'code-interpreter-v1', code, () => {})
for (const [template, first] of [['base', command], ['code-interpreter-v1', code]]) {
  await lives('prewarmed pool', template, first, async () => {
    await pool(template, 2)
    await sleep(200)
  })
  await pool(template, 0)
}

const box = await Sandbox.create('code-interpreter-v1', { timeoutMs: 600_000 })
for (let i = 0; i < 5; i++) await box.commands.run('true')
for (let i = 0; i < rounds * 4; i++) await timed('e2b-request', command.name, () => command.run(box))
for (let i = 0; i < rounds * 4; i++) await timed('e2b-request', code.name, () => code.run(box))
await box.files.write('small', 'x')
for (let i = 0; i < rounds * 4; i++) await timed('e2b-request', "files.read('small')", () => box.files.read('small'))
for (let i = 0; i < rounds; i++) {
  // The guest tells when it wrote: its clock is the host's, to a millisecond.
  let late
  await box.commands.run("python3 -c 'import time, sys; time.sleep(0.3); sys.stdout.write(repr(time.time()))'", {
    onStdout: (text) => void (late ??= Date.now() - Number(text) * 1000),
  })
  say('e2b-first-byte', 'after the guest wrote it', late)
}
await box.kill()

const many = await Sandbox.create('base', { timeoutMs: 600_000 })
for (let i = 0; i < Math.min(3, rounds); i++) {
  await timed('e2b-streams', '100 commands at once', async () => {
    const all = await Promise.all(Array.from({ length: 100 }, (_, n) => many.commands.run(`echo ${n}`, { timeoutMs: 300_000 })))
    if (all.some((one, n) => one.stdout !== `${n}\n`)) throw new Error('an output is not its own')
  })
}
await many.kill()

// What the daemon's heap holds on to, after a collection: what transfers leave behind and what they need.
const heap = () => {
  try {
    execFileSync(`${process.env.JAVA_HOME}/bin/jcmd`, [daemon, 'GC.run'])
    const text = execFileSync(`${process.env.JAVA_HOME}/bin/jcmd`, [daemon, 'GC.heap_info']).toString()
    return Number(/used (\d+)K/.exec(text)[1]) / 1024
  } catch {
    return undefined
  }
}
const disk = await Sandbox.create('base', { timeoutMs: 900_000 })
const piece = new Uint8Array(1 << 20).map((_, i) => i % 251)
const source = () => {
  let left = mib
  return new ReadableStream({ pull: (to) => (left-- > 0 ? to.enqueue(piece) : to.close()) })
}
const before = heap()
let most = before
const watch = setInterval(() => {
  const now = heap()
  if (now !== undefined) most = Math.max(most, now)
}, 1000)
let begin = performance.now()
await disk.files.write('big', source(), { useOctetStream: true, requestTimeoutMs: 600_000 })
say('e2b-files', `${mib} MiB up`, mib / ((performance.now() - begin) / 1000))
begin = performance.now()
let got = 0
for await (const chunk of await disk.files.read('big', { format: 'stream', requestTimeoutMs: 600_000 })) got += chunk.length
if (got !== mib << 20) throw new Error(`${got} bytes came back`)
say('e2b-files', `${mib} MiB down`, mib / ((performance.now() - begin) / 1000))
clearInterval(watch)
if (before !== undefined) say('e2b-heap', `${mib} MiB up and down`, most - before)
await disk.kill()
