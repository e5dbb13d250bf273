// What the tests of the published SDK share. E2B_API_URL, E2B_SANDBOX_URL and E2B_API_KEY say where the server is.
import { after } from 'node:test'
import { Sandbox } from 'e2b'

export const TEMPLATE = process.env.FORKD_TEST_TEMPLATE ?? 'base'
export const LIMIT = { timeout: 180_000 }
export const sleep = (millis) => new Promise((done) => setTimeout(done, millis))

const made = new Set()

/** A sandbox that is killed when the file's tests are over, whatever becomes of it. */
export async function sandbox(options = {}, template = TEMPLATE) {
  const box = await Sandbox.create(template, { timeoutMs: 300_000, ...options })
  made.add(box.sandboxId)
  return box
}

export function mine(...boxes) {
  for (const box of boxes) made.add(box.sandboxId)
  return boxes.length === 1 ? boxes[0] : boxes
}

after(async () => {
  await Promise.all([...made].map((id) => Sandbox.kill(id).catch(() => false)))
})

/** Waits until something holds; a condition, never a guess of how long it takes. */
export async function until(what, condition, millis = 60_000) {
  const end = Date.now() + millis
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`not within ${millis} ms: ${what}`)
    await sleep(30)
  }
}

/** What a request to a port of a sandbox is answered, routed by headers as the SDK does it. */
export function portRequest(box, port, path = '/', options = {}) {
  return fetch(`${process.env.E2B_SANDBOX_URL}${path}`, {
    ...options,
    headers: { 'E2b-Sandbox-Id': box.sandboxId ?? box, 'E2b-Sandbox-Port': String(port), ...options.headers },
  })
}
