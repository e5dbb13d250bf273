import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sandbox } from 'e2b'
import { LIMIT, TEMPLATE, mine, sandbox, sleep, until } from './lab.mjs'

test('pause and connect keep files, memory and running processes', LIMIT, async () => {
  const box = await sandbox()
  await box.files.write('/home/user/f', 'kept')
  const counter = await box.commands.run('i=0; while true; do i=$((i+1)); echo $i >/dev/shm/i; sleep 0.1; done', { background: true, timeoutMs: 0 })
  await until('it counts', async () => (await box.files.exists('/dev/shm/i')))
  assert.equal(await box.pause(), true)
  assert.equal(await box.pause(), false, 'a second pause says that it is paused')
  assert.equal(await box.isRunning(), false)
  assert.equal((await Sandbox.getInfo(box.sandboxId)).state, 'paused')
  const again = await Sandbox.connect(box.sandboxId)
  assert.equal(again.sandboxId, box.sandboxId)
  assert.equal(await again.files.read('/home/user/f'), 'kept')
  const before = Number(await again.files.read('/dev/shm/i'))
  await until('it counts on', async () => Number(await again.files.read('/dev/shm/i')) > before)
  assert.ok((await again.commands.list()).some((process) => process.pid === counter.pid))
  assert.equal(await again.commands.kill(counter.pid), true)
})

test('a pause without memory, and a resume that wants none, boot anew from the same files', LIMIT, async () => {
  const box = await sandbox()
  const boot = async (where) => (await where.commands.run('cat /proc/sys/kernel/random/boot_id; pgrep -c sleep || true')).stdout.trim().split('\n')
  await box.files.write('f', 'kept')
  await box.files.write('/dev/shm/f', 'not kept')
  await box.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
  const [first, sleeps] = await boot(box)
  assert.equal(sleeps, '1')
  assert.equal(await box.pause({ keepMemory: false }), true)
  const again = await Sandbox.connect(box.sandboxId)
  assert.equal(again.sandboxId, box.sandboxId)
  assert.equal(await again.files.read('f'), 'kept')
  assert.equal(await again.files.exists('/dev/shm/f'), false)
  const [second, none] = await boot(again)
  assert.notEqual(second, first, 'another boot')
  assert.equal(none, '0')
  await again.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
  assert.equal(await Sandbox.betaPause(box.sandboxId), true)
  const fresh = await Sandbox.connect(box.sandboxId, { onResume: 'reboot' })
  const [third, gone] = await boot(fresh)
  assert.ok(third !== second && third !== first)
  assert.equal(gone, '0')
  assert.equal(await fresh.files.read('f'), 'kept')
})

test('expiry pauses where that was wished, and a request resumes', LIMIT, async () => {
  const box = await sandbox({ timeoutMs: 2000, lifecycle: { onTimeout: 'pause', autoResume: true } })
  await box.files.write('f', 'kept')
  await until('it is paused', async () => (await Sandbox.getInfo(box.sandboxId)).state === 'paused')
  assert.equal(await box.files.read('f'), 'kept')
  const info = await box.getInfo()
  assert.equal(info.state, 'running')
  assert.ok(info.endAt.getTime() - Date.now() > 250_000, 'it lives for five minutes at least')
})

test('expiry that pauses without resuming by itself: requests find nothing until connect', LIMIT, async () => {
  const box = await sandbox({ timeoutMs: 1500, lifecycle: { onTimeout: 'pause' } })
  await until('it is paused', async () => (await Sandbox.getInfo(box.sandboxId)).state === 'paused')
  assert.equal(await box.isRunning(), false)
  await assert.rejects(box.files.read('.bashrc'))
  await box.connect()
  assert.equal(await box.isRunning(), true)
})

test('snapshots are made, listed, booted from and deleted, and leave their source alone', LIMIT, async () => {
  const box = await sandbox()
  await box.files.write('f', 'before')
  const snapshot = await box.createSnapshot()
  const named = await Sandbox.createSnapshot(box.sandboxId, { name: 'milestone' })
  await box.files.write('f', 'after')
  const listed = await box.listSnapshots().nextItems()
  assert.deepEqual(new Set(listed.map((one) => one.snapshotId)), new Set([snapshot.snapshotId, named.snapshotId]))
  assert.ok((await Sandbox.listSnapshots().nextItems()).length >= 2)
  const child = mine(await Sandbox.create(snapshot.snapshotId))
  assert.equal(await child.files.read('f'), 'before')
  const other = mine(await Sandbox.create('milestone'))
  assert.equal(await other.files.read('f'), 'before')
  assert.equal(await box.files.read('f'), 'after')
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
  assert.equal(await Sandbox.deleteSnapshot(named.snapshotId), true)
  assert.equal(await child.files.read('f'), 'before', 'it outlives what it was made from')
})

test('forks go on from the same memory and disk, and diverge', LIMIT, async () => {
  const box = await sandbox()
  await box.commands.run('echo one >/home/user/f; echo two >/dev/shm/g')
  const forks = mine(...(await box.fork({ count: 3 })))
  assert.equal(forks.length, 3)
  assert.equal(new Set([box, ...forks].map((one) => one.sandboxId)).size, 4)
  const names = await Promise.all(
    forks.map(async (fork, i) => {
      const result = await fork.commands.run(`cat /home/user/f /dev/shm/g; echo ${i} >/home/user/f; hostname`)
      const [one, two, hostname] = result.stdout.split('\n')
      assert.deepEqual([one, two], ['one', 'two'])
      return hostname
    }),
  )
  assert.equal(new Set(names).size, 3, 'each has a name of its own')
  assert.deepEqual(await Promise.all(forks.map((fork) => fork.files.read('f'))), ['0\n', '1\n', '2\n'])
  assert.equal(await box.files.read('f'), 'one\n')
  await assert.rejects(Sandbox.fork(box.sandboxId, { count: 0 }), /1 to 100|400/)
  await assert.rejects(Sandbox.fork(box.sandboxId, { count: 101 }), /1 to 100|400/)
})

test('a killed sandbox that was paused is gone', LIMIT, async () => {
  const box = await sandbox()
  await box.pause()
  assert.equal(await box.kill(), true)
  await assert.rejects(Sandbox.connect(box.sandboxId), /not found/i)
})
