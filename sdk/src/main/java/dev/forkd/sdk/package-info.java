/**
 * The Java client of a forkd daemon: fork sandboxes from snapshots, run commands and code in them,
 * branch them. Start with {@link dev.forkd.sdk.Forkd#connect()}.
 */
@NullMarked
package dev.forkd.sdk;

import org.jspecify.annotations.NullMarked;
