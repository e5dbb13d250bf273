import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LIMIT, sandbox } from './lab.mjs'

test('a repository in the sandbox: init, commit, branches, remotes, config', { timeout: 180_000 }, async () => {
  const box = await sandbox()
  const repo = '/home/user/repo'
  await box.git.init(repo, { initialBranch: 'main' })
  await box.git.configureUser('Ann', 'ann@example.com')
  assert.equal(await box.git.getConfig('user.name'), 'Ann')
  await box.git.setConfig('core.editor', 'true')
  await box.files.write(`${repo}/a.txt`, 'one\n')
  assert.equal((await box.git.status(repo)).hasUntracked, true)
  await box.git.add(repo)
  await box.git.commit(repo, 'first')
  assert.equal((await box.git.status(repo)).isClean, true)
  await box.git.createBranch(repo, 'topic')
  assert.deepEqual((await box.git.branches(repo)).branches.sort(), ['main', 'topic'])
  await box.git.checkoutBranch(repo, 'main')
  await box.git.deleteBranch(repo, 'topic', { force: true })
  await box.files.write(`${repo}/a.txt`, 'two\n')
  await box.git.restore(repo, { paths: ['a.txt'] })
  assert.equal(await box.files.read(`${repo}/a.txt`), 'one\n')
  await box.commands.run('git init -q --bare /home/user/origin.git')
  await box.git.remoteAdd(repo, 'origin', '/home/user/origin.git')
  assert.equal(await box.git.remoteGet(repo, 'origin'), '/home/user/origin.git')
  await box.git.push(repo, { remote: 'origin', branch: 'main' })
  await box.git.pull(repo, { remote: 'origin', branch: 'main' })
  await box.git.clone('/home/user/origin.git', { path: '/home/user/copy', branch: 'main' })
  assert.equal(await box.files.read('/home/user/copy/a.txt'), 'one\n')
  await box.git.reset(repo, { mode: 'hard' })
  await box.git.dangerouslyAuthenticate({ username: 'ann', password: 'secret' })
  assert.equal(await box.files.read('/home/user/.git-credentials'), 'https://ann:secret@github.com\n')
})
