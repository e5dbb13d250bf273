/** What survives the daemon: the data directory, its lock, and the state store with its journal. */
@NullMarked
package dev.forkd.state;

import org.jspecify.annotations.NullMarked;
