import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { before, test } from 'node:test'
import { LIMIT, portRequest, sandbox, until } from './lab.mjs'

let box
before(async () => {
  box = await sandbox()
})

const SERVER = `
const http = require('http'), crypto = require('crypto')
const server = http.createServer((req, res) => {
  let size = 0
  req.on('data', (d) => (size += d.length))
  req.on('end', () => {
    if (req.url === '/big') { res.write(Buffer.alloc(5e6, 'x')); return res.end() }
    if (req.url === '/slow') { res.write('one'); return setTimeout(() => res.end('two'), 600) }
    res.setHeader('X-Seen', 'yes')
    res.statusCode = 207
    res.end(JSON.stringify({ method: req.method, url: req.url, host: req.headers.host, size, headers: Object.keys(req.headers) }))
  })
})
server.on('upgrade', (req, socket) => {
  const accept = crypto.createHash('sha1').update(req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n')
  socket.on('data', (frame) => {
    const mask = frame.subarray(2, 6), text = Buffer.from(frame.subarray(6, 6 + (frame[1] & 127)).map((b, i) => b ^ mask[i % 4]))
    const answer = Buffer.from('echo ' + text)
    socket.write(Buffer.concat([Buffer.from([0x81, answer.length]), answer]))
  })
  socket.on('error', () => {})
})
server.listen(8080)
`

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
  const times = []
  const begin = Date.now()
  for await (const _ of (await portRequest(box, 8080, '/slow')).body) times.push(Date.now() - begin)
  assert.ok(times.at(-1) - times[0] > 400, 'the first part comes before the last is there')
})

test('a WebSocket passes through', LIMIT, async () => {
  const url = new URL(process.env.E2B_SANDBOX_URL)
  const answer = await new Promise((done, failed) => {
    const upgrade = request({
      host: url.hostname,
      port: url.port,
      headers: {
        Host: `8080-${box.sandboxId}.forkd.test`,
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
      },
    })
    upgrade.on('error', failed)
    upgrade.on('response', (response) => failed(new Error(`answered ${response.statusCode}`)))
    upgrade.on('upgrade', (response, socket) => {
      assert.equal(response.statusCode, 101)
      socket.on('data', (frame) => {
        done(frame.subarray(2, 2 + frame[1]).toString())
        socket.destroy()
      })
      const mask = Buffer.from([1, 2, 3, 4])
      const text = Buffer.from('hello').map((byte, i) => byte ^ mask[i % 4])
      socket.write(Buffer.concat([Buffer.from([0x81, 0x85]), mask, text]))
    })
    upgrade.end()
  })
  assert.equal(answer, 'echo hello')
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
