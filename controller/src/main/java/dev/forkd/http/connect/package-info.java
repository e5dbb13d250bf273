/**
 * A server for the Connect protocol: unary calls and streams from the server, with the JSON codec,
 * over HTTP/1.1. It knows nothing of what is called.
 *
 * @see <a href="https://connectrpc.com/docs/protocol">The protocol</a>
 */
@NullMarked
package dev.forkd.http.connect;

import org.jspecify.annotations.NullMarked;
