import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AuthenticationError, E2B, Sandbox, SandboxNotFoundError, Secret, Template, Volume } from 'e2b'
import { LIMIT, TEMPLATE, mine, portRequest, sandbox, until } from './lab.mjs'

test('create gives a sandbox that knows what it was made with', LIMIT, async () => {
  const box = await sandbox({ metadata: { owner: 'ann' }, envs: { GREETING: 'hello' }, timeoutMs: 60_000 })
  assert.match(box.sandboxId, /^i[a-z0-9]{19}$/)
  assert.equal(await box.isRunning(), true)
  const info = await box.getInfo()
  assert.equal(info.sandboxId, box.sandboxId)
  assert.equal(info.templateId, TEMPLATE)
  assert.deepEqual(info.metadata, { owner: 'ann' })
  assert.equal(info.state, 'running')
  const left = info.endAt.getTime() - info.startedAt.getTime()
  assert.ok(Math.abs(left - 60_000) < 1000, `lives for ${left} ms`)
  assert.equal((await Sandbox.getInfo(box.sandboxId)).sandboxId, box.sandboxId)
  assert.equal((await Sandbox.getFullInfo(box.sandboxId)).sandboxId, box.sandboxId)
  assert.match(box.getHost(3000), new RegExp(`^3000-${box.sandboxId}\\.`))
  const result = await box.commands.run('echo $GREETING $E2B_SANDBOX_ID $E2B_SANDBOX')
  assert.equal(result.stdout, `hello ${box.sandboxId} true\n`)
})

test('an unknown template, a wrong key and an unknown sandbox are the errors the SDK knows', LIMIT, async () => {
  await assert.rejects(Sandbox.create('no-such-template'), /404.*not found/)
  await assert.rejects(Sandbox.create(TEMPLATE, { apiKey: 'e2b_0123456789' }), AuthenticationError)
  await assert.rejects(Sandbox.connect('i0000000000000000000'), SandboxNotFoundError)
  await assert.rejects(Sandbox.getInfo('i0000000000000000000'), SandboxNotFoundError)
  await assert.rejects(Sandbox.setTimeout('i0000000000000000000', 1000), SandboxNotFoundError)
  assert.equal(await Sandbox.kill('i0000000000000000000'), false)
})

test('kill ends it at once: it is gone from the list, and 502 from then on', LIMIT, async () => {
  const box = await sandbox()
  const stream = box.commands.run('sleep 60')
  const cut = assert.rejects(stream, /killed|end of life|terminated|timeout/i)
  await until('it runs', async () => (await box.commands.list()).some((process) => process.args.join(' ').includes('sleep 60')))
  assert.equal(await box.kill(), true)
  await cut
  assert.equal(await box.kill(), false)
  assert.equal(await box.isRunning(), false)
  const answer = await portRequest(box, 49983, '/health')
  assert.equal(answer.status, 502)
  assert.deepEqual(await answer.json(), { sandboxId: box.sandboxId, message: 'The sandbox was not found', code: 502 })
})

test('list filters by metadata and state, pages, and names the youngest first', LIMIT, async () => {
  const mark = `m ${Math.random()}&=%`
  const boxes = []
  for (let i = 0; i < 3; i++) boxes.push(await sandbox({ metadata: { mark, number: String(i) } }))
  const ids = boxes.map((box) => box.sandboxId).reverse()
  const first = Sandbox.list({ query: { metadata: { mark } }, limit: 2 })
  const page1 = await first.nextItems()
  assert.deepEqual(page1.map((info) => info.sandboxId), ids.slice(0, 2))
  assert.equal(first.hasNext, true)
  const page2 = await first.nextItems()
  assert.deepEqual(page2.map((info) => info.sandboxId), ids.slice(2))
  assert.equal(first.hasNext, false)
  assert.equal((await Sandbox.list({ query: { metadata: { mark, number: '1' } } }).nextItems()).length, 1)
  assert.equal((await Sandbox.list({ query: { metadata: { mark: 'other' } } }).nextItems()).length, 0)
  await boxes[0].pause()
  const states = async (state) => (await Sandbox.list({ query: { metadata: { mark }, state } }).nextItems()).map((info) => info.sandboxId)
  assert.deepEqual(await states(['paused']), [boxes[0].sandboxId])
  assert.deepEqual(await states(['running']), ids.slice(0, 2))
  assert.equal((await states(['running', 'paused'])).length, 3)
})

/** How long a sandbox lives that is given two seconds. */
async function lifeOf(box) {
  const begin = Date.now()
  await box.setTimeout(2000)
  await until('it ends', async () => !(await box.isRunning()))
  const lived = Date.now() - begin
  assert.ok(lived > 1000, `ended after ${lived} ms instead of 2000`)
  return lived
}

test('a timeout can be shortened, lengthened, and is kept to the second', LIMIT, async () => {
  const box = await sandbox({ timeoutMs: 60_000 })
  const before = Date.now()
  await box.setTimeout(120_000)
  const after = Date.now()
  const end = (await box.getInfo()).endAt.getTime()
  assert.ok(end > before + 118_000 && end < after + 122_000, `${end - before} ms left`)
  const again = await Sandbox.connect(box.sandboxId, { timeoutMs: 10_000 })
  const kept = (await again.getInfo()).endAt.getTime()
  assert.ok(kept >= end, `connect has shortened it by ${end - kept} ms`)
  let lived = await lifeOf(box)
  // A machine that stalls makes one end late, and not each of several.
  for (let i = 0; i < 3 && lived >= 3200; i++) lived = Math.min(lived, await lifeOf(await sandbox()))
  assert.ok(lived < 3200, `ended after ${lived} ms instead of 2000`)
  await assert.rejects(box.getInfo(), SandboxNotFoundError)
})

test('connect gives the same sandbox', LIMIT, async () => {
  const box = await sandbox()
  await box.files.write('note', 'mine')
  const other = await Sandbox.connect(box.sandboxId)
  assert.equal(await other.files.read('note'), 'mine')
  assert.equal(await (await box.connect()).files.read('note'), 'mine')
})

test('what a network-free sandbox holds to is accepted, what it cannot do is refused', LIMIT, async () => {
  const box = await sandbox({ allowInternetAccess: false })
  await box.updateNetwork({ denyOut: ['0.0.0.0/0'] })
  await assert.rejects(box.updateNetwork({ allowOut: ['1.1.1.1'] }), /no way out/)
  await assert.rejects(Sandbox.create(TEMPLATE, { network: { allowOut: ['1.1.1.1'] } }), /no way out/)
})

test('metrics tell what the guest uses', LIMIT, async () => {
  const box = await sandbox()
  const metrics = await box.getMetrics()
  assert.ok(metrics.length >= 1)
  assert.ok(metrics[0].memTotal > 100 * 2 ** 20 && metrics[0].memUsed < metrics[0].memTotal)
  assert.ok(metrics[0].diskTotal > 2 ** 30 && metrics[0].diskUsed < metrics[0].diskTotal)
  assert.ok(metrics[0].cpuUsedPct >= 0 && metrics[0].cpuUsedPct <= 100)
  assert.ok((await Sandbox.getMetrics(box.sandboxId)).length >= metrics.length, 'none is forgotten')
})

test('a client with settings of its own uses them, not the environment', LIMIT, async () => {
  await assert.rejects(new E2B({ apiKey: 'e2b_0123456789' }).Sandbox.create(TEMPLATE), AuthenticationError)
  const client = new E2B({ apiKey: process.env.E2B_API_KEY })
  const box = mine(await client.Sandbox.create(TEMPLATE, { timeoutMs: 60_000 }))
  assert.equal(await box.isRunning(), true)
  assert.equal(await client.Template.exists(TEMPLATE), true)
})

test('what is not offered says so', LIMIT, async () => {
  assert.equal(await Template.exists('no-such-template'), false)
  for (const call of [
    () => Template.build(Template().fromTemplate(TEMPLATE).runCmd('true'), 'mine'),
    () => Template.assignTags(`${TEMPLATE}:default`, ['v1']),
    () => Template.getTags(TEMPLATE),
    () => Volume.create('mine'),
    () => Volume.list(),
    () => Volume.destroy('mine'),
    () => Secret.create('mine', { value: 'x' }),
    () => Secret.list().nextItems(),
    () => Secret.destroy('mine'),
  ]) await assert.rejects(call, /not offered by this server/, String(call))
  await assert.rejects(Sandbox.create({ mcp: { time: {} } }), /MCP|not found/)
  await assert.rejects(Sandbox.create(TEMPLATE, { volumeMounts: { '/mnt': 'mine' } }), /no volumes/)
  await assert.rejects(Sandbox.create(TEMPLATE, { network: { httpsPorts: [8443] } }), /httpsPorts/)
  await assert.rejects(Sandbox.create(TEMPLATE, { network: { denyOut: ['example.com'] } }), /no IP address/)
  const box = await sandbox()
  assert.match(box.getMcpUrl(), /^https:/)
  assert.equal(await box.getMcpToken().catch(() => undefined), undefined)
})
