/** The daemon: wiring, life cycle, main. */
@NullMarked
package dev.forkd.controller;

import org.jspecify.annotations.NullMarked;
