/** What survives the daemon: the data directory, its lock, and the state store. */
@NullMarked
package dev.forkd.state;

import org.jspecify.annotations.NullMarked;
