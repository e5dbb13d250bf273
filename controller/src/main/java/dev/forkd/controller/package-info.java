/** The daemon's program: flags, token, one owner per data directory, start and stop. */
@NullMarked
package dev.forkd.controller;

import org.jspecify.annotations.NullMarked;
