// A server for a sandbox, with WebSockets that say what they hear, and a client for those.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

export const SERVER = `
const http = require('http'), crypto = require('crypto')
let slow
const server = http.createServer((req, res) => {
  let size = 0
  req.on('data', (d) => (size += d.length))
  req.on('end', () => {
    if (req.url === '/big') { res.write(Buffer.alloc(5e6, 'x')); return res.end() }
    if (req.url === '/slow') { slow = res; return res.write('one') }
    if (req.url === '/go') { slow.end('two'); return res.end() }
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

/** Says a short text to the server's WebSocket by `request` of node:http or node:https. */
export function webSocketEcho(request, { headers, ...where }, text) {
  return new Promise((done, failed) => {
    const upgrade = request({
      ...where,
      headers: {
        ...headers,
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
      const masked = Buffer.from(text).map((byte, i) => byte ^ mask[i % 4])
      socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | masked.length]), mask, masked]))
    })
    upgrade.end()
  })
}
