import assert from 'node:assert/strict'
import { request } from 'node:https'
import { test } from 'node:test'
import { Sandbox } from 'e2b'
import { LIMIT, sandbox, until } from './lab.mjs'
import { SERVER, webSocketEcho } from './server.mjs'

test('everything by host names: the API, commands, files, signed links, ports', LIMIT, async () => {
  const box = await sandbox()
  assert.equal((await box.commands.run('echo hi')).stdout, 'hi\n')
  await box.files.write('index.html', 'served')
  assert.equal(await (await fetch(await box.downloadUrl('index.html'))).text(), 'served')
  await box.commands.run('python3 -m http.server 8000', { background: true, timeoutMs: 0 })
  const host = box.getHost(8000)
  assert.equal(host, `8000-${box.sandboxId}.${process.env.E2B_DOMAIN}`)
  await until('it serves', async () => (await fetch(`https://${host}/index.html`)).status === 200)
  assert.equal(await (await fetch(`https://${host}/index.html`)).text(), 'served')
  await box.files.write('server.js', SERVER)
  await box.commands.run('node server.js', { background: true, timeoutMs: 0 })
  const [socketHost, port] = box.getHost(8080).split(':')
  await until('it serves', async () => (await fetch(`https://${socketHost}:${port}/`)).status === 207)
  assert.equal(await webSocketEcho(request, { host: socketHost, port }, 'hello'), 'echo hello')
  assert.equal(await box.kill(), true)
  assert.equal((await fetch(`https://${host}/`)).status, 502)
  assert.equal(await Sandbox.kill(box.sandboxId), false)
})
