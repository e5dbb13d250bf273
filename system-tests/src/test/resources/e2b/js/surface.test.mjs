// docs/E2B.md tells of everything that the published SDK lets a program do: it is held against the SDK's own types.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

/** The names in backticks in the first column of the tables under a heading. */
function told(heading) {
  const lines = readFileSync(new URL('E2B.md', import.meta.url), 'utf8').split('\n')
  const begin = lines.findIndex((line) => line === `### ${heading}`)
  assert.ok(begin >= 0, `docs/E2B.md has no heading ${heading}`)
  const names = new Set()
  for (const line of lines.slice(begin + 1)) {
    if (/^##/.test(line)) break
    if (line.startsWith('|')) for (const [, code] of line.split('|')[1].matchAll(/`([^`]*)`/g)) names.add(code.match(/^[A-Za-z0-9_]*/)[0])
  }
  return names
}

/** The public members of a class in a file of types. */
function members(types, name) {
  const lines = types.split('\n')
  const begin = lines.findIndex((line) => new RegExp(`^declare class ${name}\\b`).test(line))
  assert.ok(begin >= 0, `the SDK has no class ${name}`)
  const names = new Set()
  for (const line of lines.slice(begin + 1)) {
    if (line.startsWith('}')) break
    const found = line.match(/^ {2}(?:(?:static|readonly|get|set|abstract) )*([A-Za-z]\w*)\??[<(:]/)
    if (found && found[1] !== 'constructor') names.add(found[1])
  }
  return names
}

const types = (module) => readFileSync(new URL(`node_modules/${module}/dist/index.d.ts`, import.meta.url), 'utf8')

for (const [module, name, heading] of [
  ['e2b', 'E2B', 'Clients'],
  ['e2b', 'Sandbox', 'Sandboxes'],
  ['e2b', 'SandboxApi', 'Sandboxes'],
  ['e2b', 'Commands', 'Commands'],
  ['e2b', 'CommandHandle', 'Handles of commands'],
  ['e2b', 'Pty', 'Terminals'],
  ['e2b', 'Filesystem', 'Files'],
  ['e2b', 'WatchHandle', 'Watches'],
  ['e2b', 'Git', 'Git'],
  ['@e2b/code-interpreter', 'Sandbox', 'Code'],
]) {
  test(`docs/E2B.md tells of all of ${name} of ${module}`, () => {
    const known = told(heading)
    const all = members(types(module), name)
    assert.ok(all.size > 0)
    assert.deepEqual([...all].filter((member) => !known.has(member)), [], `under "${heading}"`)
  })
}
