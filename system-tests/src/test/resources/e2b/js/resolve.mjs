// Names below forkd.test are this machine, as a resolver of its own would say.
import dns from 'node:dns'

const { lookup } = dns
dns.lookup = (name, options, done) => {
  if (typeof options === 'function') [options, done] = [{}, options]
  if (!name.endsWith('forkd.test')) return lookup(name, options, done)
  if (options.all) done(null, [{ address: '127.0.0.1', family: 4 }])
  else done(null, '127.0.0.1', 4)
}
