/** Every meter of the daemon. */
@NullMarked
package dev.forkd.metrics;

import org.jspecify.annotations.NullMarked;
