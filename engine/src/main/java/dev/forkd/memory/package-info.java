/** Memory images: durable files, and the sealed memory that children map copy-on-write. */
@NullMarked
package dev.forkd.memory;

import org.jspecify.annotations.NullMarked;
