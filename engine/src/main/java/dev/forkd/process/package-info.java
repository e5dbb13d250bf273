/** Runs other programs with a time limit and bounded output. */
@NullMarked
package dev.forkd.process;

import org.jspecify.annotations.NullMarked;
