import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { before, test } from 'node:test'
import { FileNotFoundError, FileType, FilesystemEventType, InvalidArgumentError } from 'e2b'
import { LIMIT, sandbox, sleep, until } from './lab.mjs'

let box
before(async () => {
  box = await sandbox()
})

test('what is written in any form is read in any form', LIMIT, async () => {
  const info = await box.files.write('sub/folder/a.txt', 'žluť\n')
  assert.deepEqual([info.name, info.path, info.type], ['a.txt', '/home/user/sub/folder/a.txt', 'file'])
  assert.equal(await box.files.read('sub/folder/a.txt'), 'žluť\n')
  const bytes = new Uint8Array(200_000).map((_, i) => (i * 7) % 256)
  await box.files.write('bytes', bytes.buffer)
  assert.deepEqual(await box.files.read('bytes', { format: 'bytes' }), bytes)
  await box.files.write('blob', new Blob([bytes]))
  assert.equal((await box.files.read('blob', { format: 'blob' })).size, bytes.length)
  await box.files.write('stream', new Blob([bytes]).stream())
  const hash = createHash('sha256')
  for await (const chunk of await box.files.read('stream', { format: 'stream' })) hash.update(chunk)
  assert.equal(hash.digest('hex'), createHash('sha256').update(bytes).digest('hex'))
  await box.files.write('empty', '')
  assert.equal(await box.files.read('empty'), '')
  await box.files.write('packed', 'x'.repeat(100_000), { gzip: true, useOctetStream: true })
  assert.equal((await box.files.read('packed', { gzip: true })).length, 100_000)
  const owner = await box.files.getInfo('bytes')
  assert.deepEqual([owner.owner, owner.group, owner.permissions, owner.size], ['user', 'user', '-rw-r--r--', 200_000])
})

test('several files at once', LIMIT, async () => {
  const infos = await box.files.write([{ path: 'm/one', data: '1' }, { path: '/tmp/m two', data: '2' }])
  assert.deepEqual(infos.map((info) => info.path), ['/home/user/m/one', '/tmp/m two'])
  assert.equal(await box.files.read('/tmp/m two'), '2')
  assert.equal((await box.files.writeFiles([{ path: 'm/three', data: '3' }])).length, 1)
  assert.deepEqual(await box.files.write([]), [])
})

test('metadata is kept with a file, and cleared by a write without', LIMIT, async () => {
  await box.files.write('meta', 'x', { metadata: { Kind: 'note', 'from-whom': 'me' } })
  assert.deepEqual((await box.files.getInfo('meta')).metadata, { kind: 'note', 'from-whom': 'me' })
  await box.files.write('meta', 'y')
  assert.equal((await box.files.getInfo('meta')).metadata, undefined)
})

test('a folder is made, listed as deep as wished, moved, removed', LIMIT, async () => {
  assert.equal(await box.files.makeDir('tree/a/b'), true)
  assert.equal(await box.files.makeDir('tree/a/b'), false)
  await box.files.write('tree/z', 'z')
  await box.files.write('tree/a/f', 'f')
  const names = async (depth) => (await box.files.list('tree', { depth })).map((entry) => entry.path.slice('/home/user/tree/'.length))
  assert.deepEqual(await names(1), ['a', 'z'])
  assert.deepEqual(await names(5), ['a', 'a/b', 'a/f', 'z'])
  await assert.rejects(box.files.list('tree', { depth: 0 }), InvalidArgumentError)
  const moved = await box.files.rename('tree/a', 'elsewhere/b')
  assert.equal(moved.path, '/home/user/elsewhere/b')
  assert.equal(await box.files.exists('tree/a'), false)
  assert.equal(await box.files.exists('elsewhere/b/f'), true)
  await box.files.remove('tree')
  await box.files.remove('tree')
  assert.equal(await box.files.exists('tree'), false)
})

test('links are followed, and told', LIMIT, async () => {
  await box.commands.run('mkdir -p l; echo x >l/target; ln -s target l/good; ln -s nowhere l/bad; ln -s loop l/loop; ln -s . l/dir')
  const info = await box.files.getInfo('l/good')
  assert.deepEqual([info.type, info.size, info.symlinkTarget], [FileType.FILE, 2, '/home/user/l/target'])
  assert.equal(await box.files.read('l/good'), 'x\n')
  const names = (await box.files.list('l', { depth: 3 })).map((entry) => entry.name)
  assert.deepEqual(names.filter((name) => ['dir', 'good', 'target'].includes(name)), ['dir', 'good', 'target'])
  await assert.rejects(box.files.read('l/loop'))
})

test('names with every character that a name can have', LIMIT, async () => {
  for (const name of ['a b', 'ä+ö', '100%', 'q?&=#', "quote'\"", 'back\\slash', '..dots', '🐎', 'tab\tnew\nline', '~tilde', '*']) {
    await box.files.write(`odd/${name}`, name)
    assert.equal(await box.files.read(`odd/${name}`), name)
    assert.equal((await box.files.getInfo(`odd/${name}`)).name, name)
  }
  assert.equal((await box.files.list('odd')).length, 11)
})

test('what is not there, is a folder, or is no path is the error the SDK knows', LIMIT, async () => {
  await assert.rejects(box.files.read('none'), FileNotFoundError)
  await assert.rejects(box.files.list('none'), FileNotFoundError)
  await assert.rejects(box.files.getInfo('none'), FileNotFoundError)
  await assert.rejects(box.files.rename('none', 'x'), FileNotFoundError)
  await assert.rejects(box.files.read('/tmp'), /directory/i)
  await assert.rejects(box.files.write('/tmp', 'x'))
  await assert.rejects(box.files.makeDir('.bashrc'))
  await assert.rejects(box.files.read('x', { user: 'nobody-here' }), /invalid username/)
  assert.equal(await box.files.exists('/etc/../etc/passwd'), true)
  assert.equal(await box.files.read('.bashrc', { user: 'root' }).then(() => true), true)
})

test('a full disk is told as such and leaves the sandbox whole', { timeout: 180_000 }, async () => {
  const full = await sandbox()
  await full.commands.run('fallocate -l $(($(df --output=avail -B1 / | tail -1) - 3000000)) /tmp/filler', { user: 'root' })
  await assert.rejects(full.files.write('big', 'x'.repeat(8_000_000)), /space/i)
  await full.commands.run('rm /tmp/filler', { user: 'root' })
  await full.files.write('big', 'fits')
  assert.equal(await full.files.read('big'), 'fits')
})

test('signed links work without a token, for their file, for their time', LIMIT, async () => {
  await box.files.write('signed', 'secret')
  const link = await box.downloadUrl('signed', { useSignatureExpiration: 60_000 })
  assert.equal(await (await fetch(link)).text(), 'secret')
  const forever = await box.downloadUrl('signed', { user: 'user' })
  assert.equal(await (await fetch(forever)).text(), 'secret')
  assert.equal((await fetch(link.replace('path=signed', 'path=.bashrc'))).status, 401)
  const old = await box.downloadUrl('signed', { useSignatureExpiration: -10_000 })
  const refused = await fetch(old)
  assert.equal(refused.status, 401)
  assert.deepEqual(await refused.json(), { code: 401, message: 'signature is already expired' })
  const form = new FormData()
  form.append('file', new Blob(['up']), 'uploaded')
  const up = await fetch(await box.uploadUrl('uploaded', { useSignatureExpiration: 60_000 }), { method: 'POST', body: form })
  assert.equal(up.status, 200)
  assert.equal(await box.files.read('uploaded'), 'up')
})

test('a part of a file, and a file that has not changed', LIMIT, async () => {
  await box.files.write('range', '0123456789')
  const link = await box.downloadUrl('range')
  const part = await fetch(link, { headers: { Range: 'bytes=2-4' } })
  assert.deepEqual([part.status, part.headers.get('content-range'), await part.text()], [206, 'bytes 2-4/10', '234'])
  const last = await fetch(link, { headers: { Range: 'bytes=-3' } })
  assert.equal(await last.text(), '789')
  assert.equal((await fetch(link, { headers: { Range: 'bytes=50-' } })).status, 416)
})

test('a watched folder tells of what is made, written, moved, removed in it', LIMIT, async () => {
  await box.files.makeDir('w/sub')
  await box.files.write('w/there', 'x')
  const events = []
  const watch = await box.files.watchDir('w', (event) => void events.push(event), { recursive: true, includeEntry: true })
  const saw = (type, name) => until(`${type} ${name} in ${JSON.stringify(events)}`, () => events.find((event) => event.type === type && event.name === name))
  await box.files.write('w/there', 'y')
  await saw(FilesystemEventType.WRITE, 'there')
  await box.files.write('w/sub/new', 'z')
  const created = await saw(FilesystemEventType.CREATE, 'sub/new')
  assert.equal(created.entry?.path, '/home/user/w/sub/new')
  await box.files.makeDir('w/later/deep')
  await saw(FilesystemEventType.CREATE, 'later')
  await box.files.write('w/later/deep/file', 'x')
  await saw(FilesystemEventType.CREATE, 'later/deep/file')
  await box.files.rename('w/sub/new', 'w/sub/old')
  await saw(FilesystemEventType.RENAME, 'sub/new')
  await box.files.remove('w/sub/old')
  await saw(FilesystemEventType.REMOVE, 'sub/old')
  await box.commands.run('chmod 600 w/there')
  await saw(FilesystemEventType.CHMOD, 'there')
  await watch.stop()
  const count = events.length
  await box.files.write('w/quiet', 'x')
  await sleep(200)
  assert.equal(events.length, count)
  await assert.rejects(box.files.watchDir('none', () => {}), FileNotFoundError)
})

test('a watch ends with its sandbox', LIMIT, async () => {
  const short = await sandbox()
  let ended
  await short.files.watchDir('.', () => {}, { onExit: (error) => void (ended = error ?? 'no error') })
  await short.kill()
  await until('it is told', () => ended)
})
