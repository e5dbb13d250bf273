/** The daemon's edge: the server, who may enter, what may enter, and how failures look. */
@NullMarked
package dev.forkd.http;

import org.jspecify.annotations.NullMarked;
