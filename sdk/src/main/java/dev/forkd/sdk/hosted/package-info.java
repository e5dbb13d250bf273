/**
 * Hosted sandboxes: with a stable id, an end, commands that outlive connections, ports, kernels.
 */
@NullMarked
package dev.forkd.sdk.hosted;

import org.jspecify.annotations.NullMarked;
