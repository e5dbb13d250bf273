// JavaScript that stays: what is declared at the top of one run is there in the next. `await` works at the top.
import { AsyncLocalStorage } from 'node:async_hooks'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import crypto from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import readline from 'node:readline'
import repl from 'node:repl'
import { PassThrough, Writable } from 'node:stream'
import callbackTimers from 'node:timers'
import timers from 'node:timers/promises'
import util from 'node:util'
import vm from 'node:vm'

// Opened again, these are closed in children: what they inherit is only where output goes.
const reopened = (fd, how) => {
  const own = fs.openSync(`/proc/self/fd/${fd}`, how)
  if (fd > 2) fs.closeSync(fd)
  return own
}
const says = Number(process.argv.pop())
const asks = Number(process.argv.pop())
const protocol = reopened(says, 'w')
const questions = new net.Socket({ fd: reopened(asks, 'r'), readable: true, writable: false })

const pause = new Int32Array(new SharedArrayBuffer(4))
const writeAll = (fd, bytes) => {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(fd, bytes, at)
    } catch (e) {
      if (e.code !== 'EAGAIN') throw e
      Atomics.wait(pause, 0, 0, 2)
    }
  }
}
const say = (event) => writeAll(protocol, Buffer.from(JSON.stringify(event) + '\n'))

// What a run has started may come up after that run was interrupted, and knows it by this. Code that awaits something cannot be
// ended, but its timers and what it fetches do not come any more, and what it prints fails.
const runs = new AsyncLocalStorage()
class Interrupted extends Error {
  name = 'KeyboardInterrupt'
  message = 'execution was interrupted'
  stack = 'KeyboardInterrupt'
}
const whileItMay = (deed) => function (...args) {
  if (runs.getStore()?.interrupted) throw new Interrupted()
  return Reflect.apply(deed, this, args)
}
const withCallback = (start) => {
  const wrapped = (callback, ...rest) => {
    const run = runs.getStore()
    if (!run || typeof callback !== 'function') return start(callback, ...rest)
    return start(function (...args) {
      if (!run.interrupted) Reflect.apply(callback, this, args)
    }, ...rest)
  }
  return Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(start))
}
const withPromise = (start) => (...args) => {
  const run = runs.getStore()
  const heard = (tell) => (value) => run.interrupted ? new Promise(() => {}) : tell(value)
  // Not in the run: what Node starts once for all of them, such as the timer of its connections, is no part of this one.
  const promise = runs.exit(() => start(...args))
  return run ? promise.then(heard((value) => value), heard((error) => Promise.reject(error))) : promise
}

// Node's own would make the descriptor non-blocking for children as well, and keep back what a full pipe does not take.
for (const [name, fd] of [['stdout', 1], ['stderr', 2]]) {
  const own = reopened(fd, 'w')
  const stream = new Writable({
    decodeStrings: true,
    write(chunk, _, done) {
      try {
        writeAll(own, chunk)
        done()
      } catch (e) {
        done(e)
      }
    },
  })
  stream.fd = fd
  stream.write = whileItMay(stream.write)
  Object.defineProperty(process, name, { configurable: true, enumerable: true, value: stream })
}
const complain = (text) => runs.exit(() => process.stderr.write(text + '\n'))

// V8 and OpenSSL keep generators of their own in memory, which a fork would copy: these ask the kernel.
const urandom = fs.openSync('/dev/urandom', 'r')
const fill = (view) => {
  const bytes = new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength)
  for (let at = 0; at < bytes.length; ) at += fs.readSync(urandom, bytes, at, bytes.length - at, null)
  return view
}
const pool = new Uint32Array(512)
let left = 0
const word = () => {
  if (left === 0) {
    fill(pool)
    left = pool.length
  }
  return pool[--left]
}
Math.random = () => ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992
const randomBytes = (size, done) => {
  const bytes = fill(Buffer.alloc(size))
  return done ? void process.nextTick(done, null, bytes) : bytes
}
const randomUUID = () => {
  const bytes = fill(Buffer.alloc(16))
  bytes[6] = (bytes[6] & 15) | 64
  bytes[8] = (bytes[8] & 63) | 128
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
crypto.randomBytes = crypto.pseudoRandomBytes = randomBytes
crypto.randomFillSync = (buffer, from = 0, size = buffer.byteLength - from) => (fill(new Uint8Array(buffer.buffer ?? buffer, (buffer.byteOffset ?? 0) + from, size)), buffer)
crypto.randomUUID = randomUUID
crypto.webcrypto.getRandomValues = fill
crypto.webcrypto.randomUUID = randomUUID

// The REPL knows how to let declarations live on and how to await at the top; its evaluation is what is used of it.
const shell = repl.start({
  input: new PassThrough(),
  output: new Writable({ write: (chunk, encoding, done) => done() }),
  prompt: '',
  terminal: false,
  useGlobal: true,
  breakEvalOnSigint: true,
  preview: false,
})
shell.removeAllListeners('SIGINT')
// What code throws goes to the console's domain instead of to whoever asked for its evaluation.
let thrown = (error) => complain(`Uncaught: ${error?.stack ?? error}`)
shell._domain.removeAllListeners('error')
shell._domain.on('error', (error) => error instanceof Interrupted || thrown(error))
globalThis.require = createRequire(path.join(process.cwd(), 'forkd.js'))
globalThis.module = { exports: {} }
globalThis.display = whileItMay((value, ...types) => say({ type: 'result', is_main_result: false, ...bundle(value) }))
// It hides what fails when it writes.
for (const [name, method] of Object.entries(console)) if (typeof method === 'function' && name !== 'Console') console[name] = whileItMay(method)
for (const name of ['setTimeout', 'setInterval', 'setImmediate']) globalThis[name] = callbackTimers[name] = withCallback(globalThis[name])
for (const name of ['setTimeout', 'setImmediate']) timers[name] = withPromise(timers[name])
globalThis.fetch = withPromise(globalThis.fetch)
syncBuiltinESMExports()

function bundle(value) {
  if (value && typeof value === 'object') {
    for (const [name, type] of [['html', 'text/html'], ['svg', 'image/svg+xml'], ['png', 'image/png'], ['jpeg', 'image/jpeg'], ['markdown', 'text/markdown'], ['latex', 'text/latex']]) {
      if (typeof value[type] === 'string') return { [name]: value[type], text: value['text/plain'] }
    }
  }
  const shown = typeof value === 'string' ? value : util.inspect(value, { depth: 4, maxArrayLength: 1000 })
  if (value && typeof value === 'object' && !util.types.isProxy(value) && (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype)) {
    try {
      return { text: shown, json: JSON.parse(JSON.stringify(value)) }
    } catch {
      return { text: shown }
    }
  }
  return { text: shown }
}

let count = 0
let interrupt = () => {}
// While code runs that does not wait, Node has its own way to interrupt it, which a listener would be in the way of.
const onInterrupt = () => interrupt()
process.on('SIGINT', onInterrupt)
process.on('unhandledRejection', (error) => error instanceof Interrupted || complain(`Unhandled rejection: ${error?.stack ?? error}`))

function evaluate(code, state) {
  return new Promise((done, failed) => {
    interrupt = () => {
      state.interrupted = true
      failed(new Interrupted())
    }
    // An object at the beginning is an expression, as in a console.
    const text = /^\s*\{/.test(code) && !/;\s*$/.test(code) ? `(${code.trim()}\n)` : code
    const later = thrown
    const run = (source, retry) => {
      const over = (how) => (value) => {
        thrown = later
        how(value)
      }
      thrown = over(failed)
      process.off('SIGINT', onInterrupt)
      try {
        runs.run(state, () => shell.eval(source, shell.context, 'code', (error, value) => {
          if (error instanceof repl.Recoverable || error?.name === 'SyntaxError') {
            if (retry) return run(retry)
            return over(failed)(error.err ?? error)
          }
          return error ? over(failed)(error) : Promise.resolve(value).then(over(done), over(failed))
        }))
      } finally {
        process.on('SIGINT', onInterrupt)
      }
    }
    run(text + '\n', text === code ? undefined : code + '\n')
  })
}

const imports = (code) =>
  code.replace(/^[ \t]*import\s+([^'"\n]+?)\s+from\s+(['"][^'"]+['"])[ \t]*;?/gm, (_, names, from) => {
    const parts = []
    const rest = names.replace(/\{[^}]*\}/, (list) => (parts.push(`var ${list.replace(/\bas\b/g, ':')} = await import(${from})`), '')).replace(/,\s*$/, '').trim()
    if (/^\*\s+as\s+/.test(rest)) parts.push(`var ${rest.replace(/^\*\s+as\s+/, '')} = await import(${from})`)
    else if (rest) parts.push(`var ${rest} = (await import(${from})).default`)
    return parts.join('; ')
  })

async function run(ask) {
  say({ type: 'number_of_executions', execution_count: ++count })
  const before = {}
  const state = { interrupted: false }
  for (const [name, value] of Object.entries(ask.env ?? {})) {
    before[name] = process.env[name]
    process.env[name] = value
  }
  try {
    const value = await evaluate(imports(ask.code), state)
    if (value !== undefined) say({ type: 'result', is_main_result: true, ...bundle(value) })
  } catch (error) {
    const known = error instanceof Error || (error && typeof error === 'object' && 'stack' in error)
    const interrupted = error?.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED'
    state.interrupted ||= interrupted
    say({
      type: 'error',
      name: interrupted ? 'KeyboardInterrupt' : known ? String(error.name) : 'Error',
      value: known ? String(error.message) : util.inspect(error),
      traceback: known ? String(error.stack) : util.inspect(error),
    })
  } finally {
    interrupt = () => {}
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

let environment = []
for await (const line of readline.createInterface({ input: questions })) {
  const ask = JSON.parse(line)
  say({ type: 'begin', id: ask.id })
  if (ask.do === 'run') await run(ask)
  else if (ask.do === 'environment') {
    for (const name of environment) delete process.env[name]
    Object.assign(process.env, ask.env)
    environment = Object.keys(ask.env)
  } else if (ask.do === 'reseed') left = 0
  else if (ask.do === 'forget') count = 0
  say({ type: 'done' })
}
process.exit(0)
