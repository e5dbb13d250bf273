/** Live sandboxes: one owner each, run only while there is work. */
@NullMarked
package dev.forkd.sandbox;

import org.jspecify.annotations.NullMarked;
