/** Series of measurements beside peers; prints, never asserts. */
@NullMarked
package dev.forkd.benchmarks;

import org.jspecify.annotations.NullMarked;
