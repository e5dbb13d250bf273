/**
 * The data interface of E2B's sandboxes, as its published client libraries use it: processes and
 * files of a guest, by Connect and plain HTTP. Read off the clients; nothing of it reaches the
 * engine.
 */
@NullMarked
package dev.forkd.http.envd;

import org.jspecify.annotations.NullMarked;
