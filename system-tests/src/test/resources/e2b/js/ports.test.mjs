import assert from 'node:assert/strict'
import { request } from 'node:http'
import { before, test } from 'node:test'
import { LIMIT, portRequest, sandbox, until } from './lab.mjs'
import { SERVER, webSocketEcho } from './server.mjs'

let box
before(async () => {
  box = await sandbox()
})

async function serve(where) {
  await where.files.write('server.js', SERVER)
  await where.commands.run('node server.js', { background: true, timeoutMs: 0 })
  await until('it serves', async () => (await portRequest(where, 8080)).status === 207)
}

test('a closed port is 502 and says so', LIMIT, async () => {
  const answer = await portRequest(box, 9999)
  assert.equal(answer.status, 502)
  assert.deepEqual(await answer.json(), {
    sandboxId: box.sandboxId,
    message: 'The sandbox is running but port is not open',
    port: 9999,
    code: 502,
  })
})

test('what is no address is 400', LIMIT, async () => {
  assert.equal((await portRequest('Not-An-Id', 80)).status, 400)
  assert.equal((await portRequest(box, 0)).status, 400)
  assert.equal((await portRequest(box, 70000)).status, 400)
})

test('requests and answers pass through as they are', LIMIT, async () => {
  await serve(box)
  const answer = await portRequest(box, 8080, '/a/b?c=d%20e', { method: 'POST', body: 'x'.repeat(100_000) })
  assert.deepEqual([answer.status, answer.headers.get('x-seen')], [207, 'yes'])
  const seen = await answer.json()
  assert.deepEqual([seen.method, seen.url, seen.size], ['POST', '/a/b?c=d%20e', 100_000])
  assert.equal((await (await portRequest(box, 8080, '/big')).arrayBuffer()).byteLength, 5e6)
  const slow = (await portRequest(box, 8080, '/slow')).body.getReader()
  const text = async () => new TextDecoder().decode((await slow.read()).value)
  assert.equal(await text(), 'one', 'the first part comes before the last is there')
  assert.equal((await portRequest(box, 8080, '/go')).status, 200)
  assert.equal(await text(), 'two')
})

test('a WebSocket passes through', LIMIT, async () => {
  const url = new URL(process.env.E2B_SANDBOX_URL)
  const where = { host: url.hostname, port: url.port, headers: { Host: `8080-${box.sandboxId}.forkd.test` } }
  assert.equal(await webSocketEcho(request, where, 'hello'), 'echo hello')
})

test('a sandbox that is not public wants its token, and its servers see the host they were told', LIMIT, async () => {
  const closed = await sandbox({ network: { allowPublicTraffic: false, maskRequestHost: 'inner-${PORT}.test' } })
  assert.ok(closed.trafficAccessToken)
  assert.equal((await portRequest(closed, 8080)).status, 403)
  const headers = { 'e2b-traffic-access-token': closed.trafficAccessToken }
  await closed.files.write('server.js', SERVER)
  await closed.commands.run('node server.js', { background: true, timeoutMs: 0 })
  await until('it serves', async () => (await portRequest(closed, 8080, '/', { headers })).status === 207)
  const seen = await (await portRequest(closed, 8080, '/', { headers })).json()
  assert.equal(seen.host, 'inner-8080.test')
  assert.ok(!seen.headers.includes('e2b-traffic-access-token'), 'the token is for us alone')
})
