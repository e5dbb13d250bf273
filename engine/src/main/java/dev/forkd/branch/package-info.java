/** Branching: a running sandbox saved in one short pause. */
@NullMarked
package dev.forkd.branch;

import org.jspecify.annotations.NullMarked;
