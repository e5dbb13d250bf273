/** JUnit 5: a test gets a sandbox of its own, forked from a warmed template. */
@NullMarked
package dev.forkd.junit;

import org.jspecify.annotations.NullMarked;
