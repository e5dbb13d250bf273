/** Tests with real microVMs, a real daemon and real clients. */
@NullMarked
package dev.forkd.system;

import org.jspecify.annotations.NullMarked;
