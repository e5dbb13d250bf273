/** Children that are forked ahead, so that a fork is a change of state. */
@NullMarked
package dev.forkd.pool;

import org.jspecify.annotations.NullMarked;
