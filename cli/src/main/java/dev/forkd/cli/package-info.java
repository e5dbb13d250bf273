/** The command line: one class per command, on top of the SDK. */
@NullMarked
package dev.forkd.cli;

import org.jspecify.annotations.NullMarked;
