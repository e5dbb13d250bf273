/** Fakes, contract suites and fixtures for tests. */
@NullMarked
package dev.forkd.testkit;

import org.jspecify.annotations.NullMarked;
