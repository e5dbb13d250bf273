/** Forking: many children from one snapshot. */
@NullMarked
package dev.forkd.fork;

import org.jspecify.annotations.NullMarked;
