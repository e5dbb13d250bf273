/** The engine's front: what the controller may ask, in domain words, with no HTTP in sight. */
@NullMarked
package dev.forkd.engine;

import org.jspecify.annotations.NullMarked;
