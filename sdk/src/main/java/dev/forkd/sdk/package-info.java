/** The public client of a forkd daemon. */
@NullMarked
package dev.forkd.sdk;

import org.jspecify.annotations.NullMarked;
