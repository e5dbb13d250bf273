/** Places at which tests end the process, as a crash would. */
@NullMarked
package dev.forkd.fault;

import org.jspecify.annotations.NullMarked;
