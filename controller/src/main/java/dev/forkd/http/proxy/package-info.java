/**
 * The way to what is inside a sandbox: finds out which sandbox and which of its ports a request is
 * for, who may, and passes the request on.
 */
@NullMarked
package dev.forkd.http.proxy;

import org.jspecify.annotations.NullMarked;
