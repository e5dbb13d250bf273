// E2B's command line, unmodified: what it has for sandboxes.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { LIMIT, TEMPLATE, sandbox } from './lab.mjs'

/** What a command prints, and its status. */
function e2b(...args) {
  return new Promise((done) => {
    const child = execFile('node_modules/.bin/e2b', args, { timeout: 30_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) =>
      done({ status: error ? error.code : 0, stdout, stderr }),
    )
    child.stdin.end() // It passes on what comes there, to its end.
  })
}

async function ok(...args) {
  const { status, stdout, stderr } = await e2b(...args)
  assert.equal(status, 0, `e2b ${args.join(' ')}: ${stdout}${stderr}`)
  return stdout
}

test('sandboxes are listed, looked at, entered, paused, resumed and killed', LIMIT, async () => {
  const box = await sandbox({ metadata: { of: 'cli' } })
  const id = box.sandboxId
  const listed = JSON.parse(await ok('sandbox', 'list', '--format', 'json'))
  assert.ok(listed.some((one) => one.sandboxId === id))
  assert.match(await ok('sandbox', 'info', id), new RegExp(TEMPLATE))
  const ran = await e2b('sandbox', 'exec', id, 'echo out; echo err >&2; exit 4')
  assert.deepEqual([ran.status, ran.stdout, ran.stderr.split('\n')[0]], [4, 'out\n', 'err'])
  assert.match(await ok('sandbox', 'pause', id), /has been paused/)
  assert.match(await ok('sandbox', 'pause', id), /already paused/)
  assert.match(await ok('sandbox', 'resume', id), /has been resumed/)
  assert.match(await ok('sandbox', 'metrics', id), /Memory.*MiB/)
  assert.match(await ok('sandbox', 'kill', id), /has been killed/)
  assert.match((await e2b('sandbox', 'kill', id)).stderr, /wasn't found/)
})

test('logs tell of the life of a sandbox and of its processes, also when it is gone', LIMIT, async () => {
  const box = await sandbox()
  await box.commands.run('true')
  await box.commands.run('exit 3').catch(() => {})
  await box.pause()
  await box.kill()
  const lines = (await ok('sandbox', 'logs', box.sandboxId, '--format', 'json')).trim().split('\n').map((line) => JSON.parse(line))
  assert.deepEqual(
    lines.map((line) => line.message),
    ['created', 'process started', 'process ended', 'process started', 'process ended', 'paused', 'ended'],
  )
  assert.equal(lines[4].exit, 'exit status 3')
  const loud = await ok('sandbox', 'logs', box.sandboxId, '--level', 'ERROR')
  assert.doesNotMatch(loud, /created/)
})

test('snapshots and templates are listed, made and deleted', LIMIT, async () => {
  const box = await sandbox()
  const list = async () => (await ok('sandbox', 'snapshot', 'list')).match(/snap-\S+/g) ?? []
  const snapshot = (await ok('sandbox', 'snapshot', 'create', box.sandboxId)).match(/snap-\S+/)[0]
  assert.ok((await list()).includes(snapshot))
  await ok('sandbox', 'snapshot', 'delete', snapshot)
  assert.ok(!(await list()).includes(snapshot))
  const templates = JSON.parse(await ok('template', 'list', '--format', 'json'))
  assert.ok(templates.some((template) => template.templateID === TEMPLATE && template.diskSizeMB > 0))
})
