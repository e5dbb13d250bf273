/** The engine itself: the front's one real implementation, and its start. */
@NullMarked
package dev.forkd.local;

import org.jspecify.annotations.NullMarked;
