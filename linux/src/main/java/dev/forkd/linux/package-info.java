/** The few system calls forkd needs, by the foreign function interface; the only native access. */
@NullMarked
package dev.forkd.linux;

import org.jspecify.annotations.NullMarked;
