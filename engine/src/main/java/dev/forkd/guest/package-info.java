/** The host's side of the guest agent channel; the protocol is described in guest/PROTOCOL.md. */
@NullMarked
package dev.forkd.guest;

import org.jspecify.annotations.NullMarked;
